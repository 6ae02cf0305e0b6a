"""The package's layers: imports go downwards only, and inference never pulls in data or training."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src"
PACKAGE = SOURCE / "fanlight"

# Each module may import those before it, and no other; a new module gets its place here. A package with a single
# place, such as data.synthetic, may order its own modules as it likes.
LAYERS = (
    # conventions, and what everything reads
    "errors environment durable toml_file digest locking stopping provenance geometry crop_fit markup_file",
    "markup projection augment_settings jpeg_scans image_header image photos",
    # the parts of the method
    "model heatmap loss adversarial distance resample metric draw plot",
    # what feeds training
    "data.pts data.tsv data.stage data.faces data.fit data.index data.check data.pack_file",
    "data.pack data.shard_writer data.packing data.fetch data.remote data.opening data.photometric data.augment",
    "data.dataset data.shard_order data.synthetic",
    "data.archives data",
    # a run's settings, and networks in use
    "recipe_file provenance_text faults published recipes settings config device soundness stored checkpoint",
    "models network metadata onnx_network detectors detect detector_fit predict results clips export convert",
    "compat",
    # judging and training
    "judging doctor optimise events resumable resuming run running_means sessions loaders sync_norm compiled",
    "learner pace training_state validating progress train reproduction inspection ablation",
    # what people touch
    "report __init__ web cli __main__",
)
ORDER = [f"fanlight.{name}".removesuffix(".__init__") for layer in LAYERS for name in layer.split()]

LIGHT = ("fanlight.predict", "fanlight.export", "fanlight.convert", "fanlight.compat")
HEAVY = ("fanlight.data", "fanlight.train")


def place(module: str) -> int | None:
    """Where a module stands in ORDER, or else the package around it that has a place; None: it has none."""
    if module in ORDER:
        return ORDER.index(module)
    around = module.rpartition(".")[0]
    return None if around in ("", "fanlight") else place(around)


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str, nodes: list[ast.AST]) -> set[str]:
    """The modules of this package that the import statements among ``nodes`` name, relative ones resolved."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            members = {f"{source}.{alias.name}" for alias in node.names}
            found.update(member if member in MODULES else source for member in members)
    return {name for name in found if name.split(".")[0] == "fanlight"}


def all_imports(module: str) -> set[str]:
    """Wherever they stand: at the top, in a function, for type checkers only."""
    return imported(module, list(ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))))


def imports_on_loading(module: str) -> set[str]:
    """Those that run when the module is imported: outside functions and ``if TYPE_CHECKING``."""
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = [ast.parse(MODULES[module].read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return imported(module, nodes)


def loaded_with(module: str) -> set[str]:
    """All modules of this package that ``import module`` runs, the packages around each included."""
    loaded: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name and name in MODULES and name not in loaded:
            loaded.add(name)
            waiting.extend([name.rpartition(".")[0], *imports_on_loading(name)])
    return loaded


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module: str) -> None:
    own = place(module)
    assert own is not None, f"give {module} its place in LAYERS, in tests/test_layers.py"
    upwards = {name for name in all_imports(module) if (at := place(name)) is None or at > own}
    assert not upwards, f"{module} imports {sorted(upwards)}, which do not stand before it in LAYERS"


@pytest.mark.parametrize("module", [name for name in LIGHT if name in MODULES])
def test_inference_is_light(module: str) -> None:
    written = {name for name in all_imports(module) if is_within(name, HEAVY)}
    assert not written, f"{module} imports {sorted(written)}"
    loaded = {name for name in loaded_with(module) if is_within(name, HEAVY)}
    assert not loaded, f"importing {module} also runs {sorted(loaded)}"


def test_the_reader_of_imports_sees_every_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = """
import numpy, fanlight.model
from fanlight import errors
from fanlight.geometry import Box
from . import pts
from .. import heatmap
from ..loss import landmark_distance
if TYPE_CHECKING:
    from fanlight.train import Run
def late():
    from fanlight import predict
"""
    path = tmp_path / "dataset.py"
    path.write_text(code, encoding="utf-8")
    here = {"errors", "geometry", "model", "heatmap", "loss", "predict", "train", "data.pts", "data.dataset"}
    monkeypatch.setattr(f"{__name__}.MODULES", {f"fanlight.{name}": path for name in here})
    top = {f"fanlight.{name}" for name in ("model", "errors", "geometry", "data.pts", "heatmap", "loss")}
    assert imports_on_loading("fanlight.data.dataset") == top
    assert all_imports("fanlight.data.dataset") == top | {"fanlight.train", "fanlight.predict"}


def test_files_beside_the_code_are_shipped() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["fanlight"]
    shipped = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    beside = {
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert not beside - shipped, "these match no pattern of tool.setuptools.package-data in pyproject.toml"
