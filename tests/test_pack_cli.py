"""``fanlight data pack``, and the other commands on what it makes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fanlight.cli import main
from fanlight.data.pack import Pack
from painted import make_index

Result = tuple[int, str, str]
Run = Callable[..., Result]

RECIPE = """\
[data]
index = "pack"
markup = "five.toml"
train = ["dots/train"]
val = ["dots/val"]

[augment]
photometric = []

[model]
stacks = 1
features = 8
depth = 2
stem_features = 8
stem_pool = 1
input_size = 32

[decoder]
radius = 0.3

[train]
epochs = 2
batch_size = 4
workers = 0
device = "cpu"
"""


@pytest.fixture
def fanlight(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; gives exit code, standard output and standard error."""

    def run(*words: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["fanlight", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capfd.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with faces.tsv, five.toml and a recipe that trains from the folder ``pack``."""
    make_index(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_whole_flow_goes_from_a_pack(work: Path, fanlight: Run) -> None:
    code, out, _ = fanlight("data", "pack", "faces.tsv", "--out", "pack", "--markup", "five.toml")
    assert code == 0
    assert "23 faces" in out
    assert "2 tar files; 0 photos as they were, 0 cut out, 23 others stored anew" in out
    code, out, _ = fanlight("data", "check", "pack")
    assert (code, out.splitlines()[-1]) == (0, "all 23 faces can be used (five, 5 points)")
    assert fanlight("data", "show", "pack", "--out", "sheet.png", "-n", "4")[0] == 0
    assert (work / "sheet.png").exists()
    assert fanlight("train", "recipe.toml", "--out", "run")[0] == 0
    assert fanlight("train", "--resume", "run")[0] == 0
    judge = ["--index", "pack", "--partition", "dots/val", "--no-flip", "--workers", "0"]
    code, out, err = fanlight("eval", "run/checkpoints/best.ckpt", *judge, "--json", "--report", "report")
    assert code == 0
    assert json.loads(out)["partitions"]["dots/val"]["n"] == 7
    assert "chosen on these faces" in err
    _, _, err = fanlight(
        "eval", "run/checkpoints/best.ckpt", "--index", "faces.tsv", "--partition", "dots/train", "--no-flip"
    )
    assert "learnt from these faces" in err  # the pack was made of this index
    both = ["run/checkpoints/best.ckpt", "run/checkpoints/last.ckpt"]
    assert fanlight("compare", *both, *judge)[0] == 0


def test_some_partitions_can_be_packed(work: Path, fanlight: Run) -> None:
    words = ("--partition", "dots/val", "--markup", "five.toml", "--format", "raw")
    assert fanlight("data", "pack", "faces.tsv", "--out", "pack", *words)[0] == 0
    assert Pack.open(work / "pack").partitions() == {"dots/val": 7}
    code, _, err = fanlight("train", "recipe.toml", "--out", "run")
    assert code == 2
    assert "no partition 'dots/train'; there are: dots/val (7 faces)" in err


def test_all_faults_are_told_before_anything_is_packed(work: Path, fanlight: Run) -> None:
    (work / "train 3.png").write_bytes(b"no photo")
    (work / "val 1.pts").unlink()
    words = ("data", "pack", "faces.tsv", "--out", "pack", "--markup", "five.toml")
    code, _, err = fanlight(*words)
    assert code == 2
    assert "2 of 23 faces cannot be used" in err
    assert "train 3.png" in err
    assert "val 1.pts" in err
    assert not (work / "pack").exists()
    code, _, err = fanlight(*words, "--skip-invalid")
    assert code == 0
    assert "left out 2 of 23 faces, listed in pack/skipped.tsv" in err
    assert Pack.open(work / "pack").partitions() == {"dots/train": 15, "dots/val": 6}
    assert len((work / "pack" / "skipped.tsv").read_text().splitlines()) == 3


def test_wrong_uses_are_told(work: Path, fanlight: Run) -> None:
    assert fanlight("data", "pack", "faces.tsv", "--out", "pack", "--markup", "five.toml")[0] == 0
    for words, told in (
        (("data", "pack", "faces.tsv", "--out", "pack", "--markup", "five.toml"), "pack: is there already"),
        (("data", "pack", "pack", "--out", "again"), "no such index file"),
        (("data", "pack", "faces.tsv", "--out", "new", "--margin", "0.2"), "--margin 0.2: at least 1"),
        (("data", "check", "pack", "--markup", "ibug68"), "packed with the 5 points of five"),
        (("data", "check", "."), "a folder without pack.json"),
    ):
        code, _, err = fanlight(*words)
        assert code == 2, words
        assert told in err
    data = bytearray((work / "pack" / "dots-val-000000.tar").read_bytes())
    data[3000] ^= 1
    (work / "pack" / "dots-val-000000.tar").write_bytes(data)
    code, _, err = fanlight("data", "check", "pack")
    assert code == 2
    assert "dots-val-000000.tar: its content is not what was packed" in err
