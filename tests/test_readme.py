"""What README.md and docs/ say is true: their commands, recipes, tables and Python run here, on tiny networks."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from fanlight.checkpoint import load_checkpoint
from fanlight.cli import app
from fanlight.config import Recipe, load_recipe
from fanlight.data.index import Index
from fanlight.data.pts import read_pts, write_pts
from fanlight.data.synthetic import write_faces
from fanlight.data.synthetic.face import draw_face
from fanlight.distance import NORMALISERS
from fanlight.image import read_image, write_image
from fanlight.markup import Markup
from fanlight.metric import Kind, Rule
from fanlight.model import FAN, PRESETS
from fanlight.published import Published

REPOSITORY = Path(__file__).resolve().parent.parent
# Their commands run, or are parsed at least.
PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("flow", "markup", "packs", "devices", "convert", "ablation", "doctor", "provenance")
    ),
)
TINY = (
    *("model.preset=fan1_narrow", "model.features=8", "model.stem_features=4", "model.input_size=64"),
    *("train.epochs=1", "train.batch_size=8", "train.workers=0", "schedule.clock=epochs"),
)
FACES = 20


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    heading: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that a first line such as ``# points5.toml`` says it is."""
        name = re.match(r"# (\S+\.toml)\n", self.text)
        return name[1] if name else None


def read_blocks(page: str) -> list[Block]:
    blocks, heading = [], ""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for match in re.finditer(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            blocks.append(Block(page, heading, match[2], match[3]))
    return blocks


BLOCKS = [block for page in PAGES for block in read_blocks(page)]
LINES = [
    (block.page, line)
    for block in BLOCKS
    for line in block.text.splitlines()
    if block.language == "sh" and line.strip()
]


def arguments(line: str) -> list[str]:
    """The words after ``fanlight``, whatever starts it."""
    words = shlex.split(line, comments=True)
    assert "fanlight" in words, f"not a command of fanlight: {line}"
    return words[words.index("fanlight") + 1 :]


def run(line: str, *more: str) -> None:
    """Run a line in this process; anything but success raises."""
    assert not app(args=[*arguments(line), *more], standalone_mode=False)


def files_of(page: str) -> dict[str, str]:
    return {block.file: block.text for block in BLOCKS if block.page == page and block.file}


# ---------------------------------------------------------------------------- without running anything


def test_there_is_something_to_check() -> None:
    assert {page for page, _ in LINES} == set(PAGES)
    assert {"data synth", "data check", "data show"} <= {" ".join(arguments(line)[:2]) for _, line in LINES}
    assert {"train", "eval", "predict"} <= {arguments(line)[0] for _, line in LINES}


@pytest.mark.parametrize(("page", "line"), LINES)
def test_command_takes_these_words(page: str, line: str) -> None:
    command, words = typer.main.get_command(app), arguments(line)
    while words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
        if not words:
            break
    command.make_context("fanlight", list(words))
    with pytest.raises(Exception, match=r"(?i)no such option"):
        command.make_context("fanlight", [*words, "--no-such-option"])


@pytest.mark.parametrize(
    "command",
    [
        [],
        *(
            [c]
            for c in (
                *(
                    "train",
                    "ablate",
                    "reproduce",
                    "info",
                    "eval",
                    "compare",
                    "predict",
                    "export",
                    "convert",
                    "serve",
                    "models",
                    "recipes",
                ),
                "data",
            )
        ),
        *(["data", c] for c in ("check", "show", "pack", "synth", "prepare", "fit-crop")),
    ],
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert not app(args=[*command, "--help"], standalone_mode=False)
    assert "Usage" in capsys.readouterr().out


def test_make_has_the_commands() -> None:
    text = "".join((REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`make (\w+)", text))
    targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test"} <= named <= set(targets)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert file.exists(), f"{page}: {target}"
        headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_pictures_are_small() -> None:
    for picture in (REPOSITORY / "docs" / "images").glob("*.jpg"):
        assert picture.stat().st_size <= 150_000, picture.name


def documented(heading: str) -> dict[str, str]:
    """The rows of the tables under a heading of docs/flow.md: first cell -> second cell."""
    text = (REPOSITORY / "docs" / "flow.md").read_text(encoding="utf-8")
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, heading
    rows = re.findall(r"^\| `([^`|]+)` \| (.+?) \|", section[1], re.MULTILINE)
    return dict(rows)


def defaults() -> dict[str, Any]:
    data = {"index": "index.tsv", "train": ["a/train"], "val": ["a/val"]}
    return {**Recipe.from_dict({"data": data}).to_dict(), "published": Published().model_dump()}


@pytest.mark.parametrize("table", [t for t in defaults() if t != "augment"] + ["augment.geometry"])
def test_recipe_tables_give_every_key_and_default(table: str) -> None:
    values: dict[str, Any] = defaults()
    for name in table.split("."):
        values = values[name]
    rows = {key: text for key, text in documented(f"[{table}]").items() if key not in PRESETS}
    said = {k: tomllib.loads(f"v = {v.strip('`')}")["v"] for k, v in rows.items() if v != "needed"}
    assert said == {k: v for k, v in values.items() if k in said}
    assert set(rows) == set(values) - {"points"}


def test_default_augmentation_is_as_shown() -> None:
    block = next(b for b in BLOCKS if b.language == "toml" and b.text.startswith("[[augment.photometric]]"))
    assert tomllib.loads(block.text)["augment"]["photometric"] == defaults()["augment"]["photometric"]


def test_every_table_of_a_recipe_is_described() -> None:
    text = (REPOSITORY / "docs" / "flow.md").read_text(encoding="utf-8")
    tables = {name.split(".")[0] for name in re.findall(r"^### \[+([\w.]+)\]", text, re.MULTILINE)}
    assert tables == set(Recipe.model_fields)


def test_presets_are_as_described() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d) \| (\d+).*? \| (\d+) px \| (\w+) \| ([\d.]+) M \|",
        (REPOSITORY / "docs" / "flow.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    found = []
    for name, preset in PRESETS.items():
        options = preset(68)
        with torch.device("meta"):
            count = sum(p.numel() for p in FAN(options).parameters())
        numbers = (options.stacks, options.features, options.input_size, options.pooling)
        found.append((name, *map(str, numbers), f"{count / 1e6:.2f}"))
    assert rows == found


def test_metrics_are_all_described() -> None:
    rows = documented("Metrics")
    assert set(rows) == {*NORMALISERS, *Kind.__args__, *Rule.__args__}


# ---------------------------------------------------------------------------- all of it, run


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages take for granted: photos with labels of five points, boxes, the recipes."""
    folder = tmp_path_factory.mktemp("reader")
    write_faces(folder / "faces", FACES, size=96)
    shutil.copytree(REPOSITORY / "recipes", folder / "recipes")
    (folder / "photos").mkdir()
    rows = ["image,left,top,right,bottom"]
    for sample in Index.read(folder / "faces" / "index.tsv"):
        photo = shutil.copy(sample.image_path, folder / "photos")
        points = read_pts(sample.landmarks_path)
        five = [points[36:42].mean(0), points[42:48].mean(0), *points[[30, 48, 54]]]
        write_pts(Path(photo).with_suffix(".pts"), five)
        rows.append(",".join([f"photos/{sample.image_path.name}", *map(str, sample.face_box)]))
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")
    for name in ("photo.jpg", "anna.jpg", "bert.jpg"):
        face = read_image(folder / "faces" / "images" / "00009.jpg")
        write_image(
            folder / name, face.repeat(5, 0).repeat(5, 1)
        )  # as large as the boxes of the pages take it for
    for page in PAGES:
        for name, text in files_of(page).items():
            (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def walked(workplace: Path) -> Path:
    """The five steps of the README, as it gives them."""
    steps = [b for b in BLOCKS if b.page == "README.md" and b.heading.startswith("Train on your own points")]
    with contextlib.chdir(workplace):
        exec(next(b.text for b in steps if b.language == "python"), {})
        for line in next(b.text for b in steps if b.language == "sh").splitlines():
            tiny = (
                [word for setting in TINY for word in ("--set", setting)] if "train" in line.split() else []
            )
            run(line, *tiny)
    return workplace


def test_own_points_in_five_steps(walked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Index.read(walked / "index.tsv").partitions() == {"mine/test": 2, "mine/val": 2, "mine/train": 16}
    checkpoint = load_checkpoint(walked / "runs" / "mine" / "checkpoints" / "best.ckpt")
    assert checkpoint.markup == Markup.load(walked / "points5.toml")
    assert (walked / "sheet.png").exists()
    assert "mine/test" in (walked / "report" / "report.html").read_text(encoding="utf-8")


def test_label_of_step_two_fits_the_markup(walked: Path) -> None:
    text = next(b.text for b in BLOCKS if b.page == "README.md" and b.text.startswith("version: 1"))
    (walked / "label.pts").write_text(text)
    assert len(read_pts(walked / "label.pts")) == Markup.load(walked / "points5.toml").count


def test_landmarks_are_found_as_the_readme_says(walked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the network and the detector that come with fanlight, on a rendered face."""
    first = next(line for page, line in LINES if page == "README.md" and arguments(line)[0] == "predict")
    block = next(b for b in BLOCKS if b.heading == "Find landmarks" and b.language == "python")
    write_image(walked / "photo.jpg", draw_face(0, 9, 384).image)
    with contextlib.chdir(walked):
        run(first)
        capsys.readouterr()
        exec(block.text, {})
    assert "(68, 2)" in capsys.readouterr().out
    assert len(read_pts(walked / "predictions" / "photo.pts")) == 68
    assert (walked / "predictions" / "photo_overlay.png").exists()


def test_the_flow(walked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = next(b.text for b in BLOCKS if b.page == "docs/flow.md" and b.text.startswith("image,"))
    (walked / "boxes.csv").write_text(boxes)
    lines = [line for page, line in LINES if page == "docs/flow.md" and not line.startswith("torchrun")]
    with contextlib.chdir(walked):
        for line in lines:
            more: list[str] = []
            if arguments(line)[:2] == ["data", "synth"]:
                continue  # the faces are there, fewer of them
            if arguments(line)[0] == "train" and "--resume" not in line:
                more = [w for s in (*TINY, "data.index=faces/index.tsv") for w in ("--set", s)]
            if "--json" in line:
                capsys.readouterr()
            run(line, *more)
            if "--json" in line:
                compare_json(json.loads(capsys.readouterr().out))
        for block in BLOCKS:
            if block.page == "docs/flow.md" and block.language == "python":
                exec(block.text, {})
    # Two faces by boxes.csv, then one: the whole photo.
    assert [path.name for path in (walked / "predictions").glob("anna*.pts")] == ["anna.pts"]
    assert (walked / "predictions" / "bert.pts").exists()
    left = {path.name for path in (walked / "runs" / "demo").iterdir()}
    assert {"recipe.toml", "metrics.csv", "checkpoints"} <= left


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_packs_are_made_and_read_as_their_page_says(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(workplace):
        for page, line in LINES:
            if page == "docs/packs.md":
                run(line)
        capsys.readouterr()
        exec(next(b.text for b in BLOCKS if b.page == "docs/packs.md" and b.language == "python"), {})
    assert "00000000 (96, 96, 3)" in capsys.readouterr().out


def compare_json(printed: dict[str, Any]) -> None:
    """What is shown has the keys, in the order, of what is printed; of the parts it shows the first."""
    shown = json.loads(next(b.text for b in BLOCKS if b.language == "json"))
    ours, theirs = (d["partitions"]["synthetic/test"] for d in (shown, printed))
    assert list(shown) == list(printed)
    assert list(ours) == list(theirs)
    assert ours["nme_box"].keys() == theirs["nme_box"].keys()
    assert list(ours["parts"]["jaw"]) == list(theirs["parts"]["jaw"])


def test_recipes_on_the_pages_load(workplace: Path) -> None:
    with contextlib.chdir(workplace):
        for name in ("mine.toml", "300w.toml"):
            assert load_recipe(name).data.index.endswith("index.tsv")


def test_300w_is_the_public_recipe(workplace: Path) -> None:
    recipe = load_recipe(workplace / "300w.toml")
    assert (recipe.model.stacks, recipe.model.input_size) == (2, 256)
    assert (recipe.train.epochs, recipe.train.batch_size) == (60, 32)
    assert (recipe.optimiser.name, recipe.optimiser.lr) == ("rmsprop", 5e-4)
    assert (recipe.schedule.factor, recipe.schedule.step_epochs) == (0.7, 8)


@pytest.mark.parametrize("name", ["points5.toml", "points12.toml"])
def test_markups_on_the_pages_load(workplace: Path, name: str) -> None:
    assert Markup.load(workplace / name).name == name.removesuffix(".toml")


def test_both_pages_show_the_same_small_markup() -> None:
    assert files_of("README.md")["points5.toml"] == files_of("docs/markup.md")["points5.toml"]


def test_every_key_of_a_markup_is_described() -> None:
    from fanlight import markup_file

    text = (REPOSITORY / "docs" / "markup.md").read_text(encoding="utf-8")
    keys = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert keys == {*markup_file._REQUIRED, *markup_file._OPTIONAL}
    example = tomllib.loads(files_of("docs/markup.md")["points12.toml"])
    assert set(example) == keys
