"""The command as a user types it: the whole flow on tiny synthetic faces, and every way to be wrong."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fanlight.cli import main
from fanlight.data.index import Index
from fanlight.data.pts import read_pts, write_pts
from fanlight.image import read_image

RECIPE = """\
[data]
index = "{index}"
train = ["synthetic/train"]
val = ["synthetic/val"]

[model]
preset = "fan1_narrow"
features = 16
stem_features = 8
depth = 2
input_size = 64

[optimiser]
name = "adamw"
lr = 3e-3

[train]
epochs = 2
batch_size = 8
workers = 0
rank_by = "nme_box"
"""

Result = tuple[int, str, str]
Run = Callable[..., Result]


@pytest.fixture
def fanlight(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; gives exit code, standard output and standard error."""

    def run(*words: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["fanlight", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        printed = capfd.readouterr()
        return int(code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 40 synthetic faces, a recipe, and a finished run."""
    folder = tmp_path_factory.mktemp("work")
    for words in (
        ["data", "synth", "--out", "faces", "-n", "40", "--seed", "3", "--workers", "0"],
        ["train", "recipe.toml", "--out", "run"],
    ):
        (folder / "recipe.toml").write_text(RECIPE.format(index=folder / "faces" / "index.tsv"))
        with pytest.MonkeyPatch.context() as here:
            here.chdir(folder)
            here.setattr(sys, "argv", ["fanlight", *words])
            with pytest.raises(SystemExit, match=r"^0$"):
                main()
    return folder


def test_a_run_leaves_what_it_should(work: Path) -> None:
    run = work / "run"
    assert {"best.ckpt", "last.ckpt"} <= {path.name for path in (run / "checkpoints").iterdir()}
    assert list(run.glob("events.out.tfevents.*"))
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]  # 32 faces, batches of 8, twice an epoch
    assert float(rows[-1]["nme_box"]) > 0
    assert "preset" not in (run / "recipe.toml").read_text()  # resolved: every option by its own name
    assert "points = 68" in (run / "recipe.toml").read_text()


def test_a_run_is_not_overwritten(work: Path, fanlight: Run) -> None:
    code, _, err = fanlight("train", work / "recipe.toml", "--out", work / "run")
    assert code == 2
    assert f"--resume {work / 'run'}" in err


def test_eval_prints_the_contract_as_json(work: Path, fanlight: Run) -> None:
    code, out, err = fanlight(
        "eval", work / "run/checkpoints/best.ckpt", "--index", work / "faces/index.tsv",
        "--partition", "synthetic/test", "--partition", "synthetic/val", "--json", "--workers", "0",
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["flip"] is True
    assert result["checkpoint"].endswith("best.ckpt")
    assert list(result["partitions"]) == ["synthetic/val", "synthetic/test"]
    assert result["all"]["n"] == 8
    part = result["partitions"]["synthetic/test"]
    assert part["n"] == 4
    for key in (
        "nme_box", "nme_interocular", "auc_box_0.07", "auc_interocular_0.08", "fr_box_0.07",
        "fr_interocular_0.08", "macc_box_0.07",
    ):  # fmt: skip
        assert set(part[key]) == {"value", "low", "high"}
        assert part[key]["low"] <= part[key]["value"] <= part[key]["high"]
    assert {"jaw", "nose", "mouth"} <= set(part["parts"])
    assert "synthetic/val: the checkpoint was chosen on these faces" in err


def test_eval_prints_each_metric_on_a_line_of_its_own(work: Path, fanlight: Run) -> None:
    """Also where the output is no terminal, and three columns do not fit into 80 characters."""
    code, out, _ = fanlight(
        "eval", work / "run/checkpoints/best.ckpt", "--index", work / "faces/index.tsv",
        "--partition", "synthetic/test", "--partition", "synthetic/val", "--workers", "0",
    )  # fmt: skip
    assert code == 0
    (line,) = (line for line in out.splitlines() if "AUC@0.08 interocular" in line)
    assert len(re.findall(r"\d+\.\d\d \[\d+\.\d\d, \d+\.\d\d\]", line)) == 3


def test_eval_with_and_without_mirroring_differ(work: Path, fanlight: Run) -> None:
    values = []
    for flag in ("--flip", "--no-flip"):
        _, out, _ = fanlight(
            "eval", work / "run/checkpoints/best.ckpt", "--index", work / "faces/index.tsv",
            "--partition", "synthetic/test", "--json", "--workers", "0", flag,
        )  # fmt: skip
        values.append(json.loads(out)["partitions"]["synthetic/test"]["nme_box"]["value"])
    assert values[0] != values[1]


def test_eval_writes_a_report_that_needs_nothing_else(work: Path, fanlight: Run) -> None:
    code, out, err = fanlight(
        "eval", work / "run/checkpoints/best.ckpt", "--index", work / "faces/index.tsv",
        "--partition", "synthetic/test", "--report", work / "report", "--workers", "0",
    )  # fmt: skip
    assert code == 0
    assert "AUC@0.07 box" in out
    page = (work / "report/report.html").read_text(encoding="utf-8")
    assert str(work / "report/report.html") in err
    assert "synthetic/test" in page
    assert "<svg" in page
    assert 'src="http' not in page


def test_data_check_and_show(work: Path, fanlight: Run) -> None:
    code, out, _ = fanlight("data", "check", work / "faces/index.tsv")
    assert code == 0
    assert "all 40 faces can be used (ibug68, 68 points)" in out
    for flags in ([], ["--augmented", "--recipe", work / "recipe.toml"]):
        code, _, _ = fanlight(
            "data", "show", work / "faces/index.tsv", "--out", work / "sheet.png", "-n", "6", *flags
        )
        assert code == 0
        assert min(read_image(work / "sheet.png").shape[:2]) > 300


def broken_copy(work: Path, folder: Path) -> Path:
    """The index with one label missing and one photo cut off; both named by their place in the index."""
    index = Index.read(work / "faces/index.tsv")
    samples = list(index)
    lost, cut = folder / "lost.pts", folder / "cut.jpg"
    cut.write_bytes(samples[1].image_path.read_bytes()[:900])
    from dataclasses import replace

    samples[0] = replace(samples[0], landmarks_path=lost)
    samples[1] = replace(samples[1], image_path=cut)
    Index.write(folder / "index.tsv", samples)
    return folder / "index.tsv"


def test_bad_faces_are_reported_together_before_training(work: Path, tmp_path: Path, fanlight: Run) -> None:
    index = broken_copy(work, tmp_path)
    code, _, err = fanlight(
        "train", work / "recipe.toml", "--set", f"data.index={index}", "--out", tmp_path / "run"
    )
    assert code == 2
    assert "lost.pts" in err
    assert "cut.jpg" in err
    assert "2 of 36 faces" in err
    assert "--skip-invalid" in err
    assert not (tmp_path / "run" / "checkpoints").exists()
    code, _, err = fanlight("data", "check", index)
    assert code == 2
    assert "lost.pts" in err


def test_skip_invalid_goes_on_and_writes_the_list(work: Path, tmp_path: Path, fanlight: Run) -> None:
    index = broken_copy(work, tmp_path)
    code, _, err = fanlight(
        "train", work / "recipe.toml", "--set", f"data.index={index}", "--set", "train.epochs=1",
        "--out", tmp_path / "run", "--skip-invalid",
    )  # fmt: skip
    assert code == 0
    assert "left out 2 of 36 faces" in err
    listed = (tmp_path / "run/skipped.tsv").read_text()
    assert "lost.pts" in listed
    assert "cut.jpg" in listed


def test_a_run_without_a_checkpoint_begins_anew(work: Path, tmp_path: Path, fanlight: Run) -> None:
    """As one leaves it that was interrupted before its first validation."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    shutil.copy(work / "run/recipe.toml", tmp_path / "run")
    code, _, err = fanlight("train", "--resume", tmp_path / "run")
    assert code == 2
    assert "before its first validation" in err
    again = f"fanlight train {tmp_path}/run/recipe.toml --out {tmp_path}/run"
    assert again in err
    code, _, _ = fanlight(*again.split()[1:], "--set", "train.epochs=1")
    assert code == 0
    assert (tmp_path / "run/checkpoints/best.ckpt").exists()


def wrong_calls(work: Path) -> dict[str, tuple[list[str | Path], str]]:
    checkpoint, index = work / "run/checkpoints/best.ckpt", work / "faces/index.tsv"
    judge: list[str | Path] = ["eval", checkpoint, "--index", index, "--partition"]
    return {
        "no recipe": (["train"], "give a recipe"),
        "missing recipe": (["train", "none.toml"], "none.toml"),
        "unknown setting": (
            ["train", work / "recipe.toml", "--set", "train.epoch=1", "--out", "x"],
            "train.epoch",
        ),
        "no run": (["train", "--resume", work / "faces"], "not a run"),
        "no checkpoint": (["eval", "none.ckpt", "--index", index, "--partition", "a/b"], "none.ckpt"),
        "not a checkpoint": (["eval", index, "--index", index, "--partition", "a/b"], "index.tsv"),
        "no partition": ([*judge, "synthetic/tset"], "synthetic/test"),
        "no device": ([*judge, "synthetic/test", "--device", "cuda:99"], "cuda:99"),
        "no index": (["data", "check", "none.tsv"], "none.tsv"),
        "no such option": (["eval", checkpoint, "--indx", index], "--indx"),
        "unknown mark-up": (["data", "check", index, "--markup", "ibug86"], "ibug68"),
        "another mark-up": (["data", "check", index, "--markup", "faces21"], "21"),
        "foreign folder": (["data", "synth", "--out", work, "-n", "1"], str(work)),
    }


@pytest.mark.parametrize("case", list(wrong_calls(Path())))
def test_wrong_use_is_a_message_and_exit_code_2(case: str, work: Path, fanlight: Run) -> None:
    words, told = wrong_calls(work)[case]
    code, _, err = fanlight(*words)
    assert code == 2
    assert told in err
    assert "Traceback" not in err


def test_a_run_goes_on_with_its_own_data_only(work: Path, tmp_path: Path, fanlight: Run) -> None:
    fanlight("train", work / "recipe.toml", "--out", tmp_path / "run", "--set", "train.epochs=1")
    recipe = tmp_path / "run/recipe.toml"
    recipe.write_text(recipe.read_text().replace("batch_size = 8\n", "batch_size = 4\n"))
    code, _, err = fanlight("train", "--resume", tmp_path / "run")
    assert code == 2
    assert "train.batch_size is now 4, and was 8" in err


def test_resume_goes_on(work: Path, tmp_path: Path, fanlight: Run) -> None:
    """A run stopped after one epoch and resumed with two ends like the one that was never stopped."""
    fanlight("train", work / "recipe.toml", "--out", tmp_path / "run", "--set", "train.epochs=1")
    recipe = tmp_path / "run/recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 1.0\n", "epochs = 2.0\n"))
    code, _, err = fanlight("train", "--resume", tmp_path / "run")
    assert code == 0
    assert "going on after step 4 of 8" in err
    with (tmp_path / "run/metrics.csv").open() as ours, (work / "run/metrics.csv").open() as whole:
        rows = [
            [{k: v for k, v in row.items() if k != "minutes"} for row in csv.DictReader(f)]
            for f in (ours, whole)
        ]
    assert rows[0] == rows[1]


def test_a_face_of_one_point_too_few_names_the_file(work: Path, tmp_path: Path, fanlight: Run) -> None:
    samples = list(Index.read(work / "faces/index.tsv"))
    short = tmp_path / "short.pts"
    write_pts(short, read_pts(samples[0].landmarks_path)[:-1])
    from dataclasses import replace

    Index.write(tmp_path / "index.tsv", [replace(samples[0], landmarks_path=short), *samples[1:]])
    code, _, err = fanlight("data", "check", tmp_path / "index.tsv", "--markup", "ibug68")
    assert code == 2
    assert "short.pts" in err
    assert "67" in err


def relabelled(work: Path, folder: Path, points: int) -> Path:
    """The index with labels that have fewer points than the mark-up."""
    from dataclasses import replace

    samples = []
    for number, sample in enumerate(Index.read(work / "faces/index.tsv")):
        label = folder / f"{number}.pts"
        write_pts(label, read_pts(sample.landmarks_path)[:points])
        samples.append(replace(sample, landmarks_path=label))
    Index.write(folder / "index.tsv", samples)
    return folder / "index.tsv"


def test_labels_of_another_markup_are_told_in_a_few_lines(work: Path, tmp_path: Path, fanlight: Run) -> None:
    index = relabelled(work, tmp_path, 21)
    code, _, err = fanlight(
        "eval", work / "run/checkpoints/best.ckpt", "--index", index, "--partition", "synthetic/test"
    )
    assert code == 2
    assert "has 21 points, and the checkpoint predicts the 68 of ibug68" in err
    assert len(err.splitlines()) == 1
    code, _, err = fanlight("data", "check", index, "--markup", "ibug68")
    assert code == 2
    assert "... and 36 more files: has 21 points" in err
    assert len(err.splitlines()) == 6


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_says_how_to_go_on(
    work: Path, tmp_path: Path, fanlight: Run, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals
) -> None:
    from fanlight.cli.train import TrainingBar

    monkeypatch.setattr(TrainingBar, "validated", lambda *words: signal.raise_signal(stop))
    code, _, err = fanlight("train", work / "recipe.toml", "--out", tmp_path / "run")
    assert code == 128 + stop
    assert f"fanlight train --resume {tmp_path / 'run'}" in err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_commands_that_take_one_process_say_so(monkeypatch: pytest.MonkeyPatch, fanlight: Run) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    code, printed, message = fanlight("eval", "small", "--index", "index.tsv", "--partition", "a/b")
    assert (code, printed) == (2, "")
    assert re.search(
        r"fanlight eval takes one process, and was started as 4, .*\s+without\s+torchrun", message
    )
