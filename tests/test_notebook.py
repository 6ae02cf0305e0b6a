"""The notebook in examples/ runs, uses nothing but what is documented, and is committed as it ran."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

import fanlight

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOK = REPOSITORY / "examples" / "experiments.ipynb"
LARGEST = 600_000  # bytes


@pytest.fixture(scope="module")
def committed() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parsed(notebook: NotebookNode) -> ast.Module:
    """The code of all cells, without lines that only IPython understands."""
    return ast.parse(
        re.sub(r"^%.*$", "", "\n".join(cell.source for cell in code_cells(notebook)), flags=re.M)
    )


def kinds(cell: NotebookNode) -> list[Any]:
    """What the outputs of a cell are: names of streams, types of pictures and texts."""
    return [output.get("name") or sorted(output.data) for output in cell.outputs]


def texts(notebook: NotebookNode) -> str:
    """All that is printed in the outputs."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "\n".join(output.get("text") or output.data.get("text/plain", "") for output in outputs)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> NotebookNode:
    """Run the notebook with other parameters, and nothing of Jupyter's from outside the environment."""
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(folder / name.lower()))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    cell.source = "\n".join([cell.source, f'folder = Path("{folder.as_posix()}/work")', *lines])
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(notebook, kernel_name="python3", resources=where).execute()


def test_it_is_committed_as_it_ran(committed: NotebookNode) -> None:
    nbformat.validate(committed)
    assert (committed.nbformat, committed.nbformat_minor) == (4, 5)
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells if cell.id != "parameters")
    assert {output.get("name", "stdout") for cell in cells for output in cell.outputs} == {"stdout"}


def test_anybody_can_read_it(committed: NotebookNode) -> None:
    assert NOTEBOOK.stat().st_size <= LARGEST
    assert set(committed.metadata) <= {"kernelspec", "language_info"}
    assert {name for cell in committed.cells for name in cell.metadata} <= {"tags"}
    assert {
        kind
        for cell in code_cells(committed)
        for output in kinds(cell)
        if output != "stdout"
        for kind in output
    } == {
        *("image/png", "image/jpeg", "text/plain"),
    }
    assert not re.search(r"\x1b|\r|(?<![\w.])/\w+/|[A-Z]:\\", texts(committed)), (
        "an escape code, or a path of some machine"
    )


def test_it_uses_documented_names_only(committed: NotebookNode) -> None:
    page = (REPOSITORY / "docs" / "flow.md").read_text(encoding="utf-8")
    table = re.search(r"^\| module \|.*?^$", page, re.M | re.S)
    assert table
    documented = set(re.findall(r"`(fanlight\.[\w.]+)`", table[0]))
    for node in ast.walk(parsed(committed)):
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_"), node.attr
        if isinstance(node, ast.ImportFrom) and node.module == "fanlight":
            assert {alias.name for alias in node.names} <= set(fanlight.__all__)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("fanlight"):
            assert any(f"{node.module}.".startswith(f"{module}.") for module in documented), node.module
            assert not any(alias.name.startswith("_") for alias in node.names)


def test_it_runs(committed: NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(tmp_path, monkeypatch, faces=20, epochs=1)
    assert "Warning" not in texts(ran)
    for before, now in zip(code_cells(committed), code_cells(ran), strict=True):
        assert kinds(now) == kinds(before), now.source


@pytest.mark.slow
def test_it_runs_on_photos(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partitions = {"learn_from": "synthetics/train", "choose_by": "lfpw/val", "judge_on": "lfpw/val"}
    ran = run(
        tmp_path, monkeypatch, own_faces=str(shared_data / "faces68" / "index.tsv"), epochs=1, **partitions
    )
    assert "lfpw/val 105 faces" in texts(ran)
