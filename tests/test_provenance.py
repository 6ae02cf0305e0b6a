"""Where files come from: the command, the code, the versions, and the sessions of a run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from fanlight import provenance
from fanlight.checkpoint import load_checkpoint, save_checkpoint
from fanlight.data.index import Index
from fanlight.errors import InputError
from fanlight.provenance import code_digest, command, commit_of, file_digest, made_by
from fanlight.sessions import changed_settings, sessions_of
from fanlight.train import train
from painted import make_index
from runs import Diary, make_recipe, rows_of, run

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def data(tmp_path: Path) -> Index:
    return Index.read(make_index(tmp_path))


# ---------------------------------------------------------------------------- of any file


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/opt/some where/bin/fanlight", "fanlight"),
        ("/opt/lib/python3/site-packages/fanlight/__main__.py", "fanlight"),
        ("Scripts\\fanlight.exe" if sys.platform == "win32" else "fanlight.exe", "fanlight"),
        ("mine.py", "mine.py"),
        ("/srv/other/__main__.py", "/srv/other/__main__.py"),
        ("", "''"),
    ],
)
def test_the_command_can_be_typed_again(program: str, name: str) -> None:
    words = ["train", "my recipe.toml", "--set", "data.index=it's.tsv"]
    text = command([program, *words])
    assert text.startswith(f"{name} train")
    assert shlex.split(text)[1:] == words


def test_a_process_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fanlight", "train", "a b.toml"])
    found = made_by()
    assert found["command"] == "fanlight train 'a b.toml'"
    assert found["fanlight"] == version("fanlight")
    assert found["packages"]["torch"] == version("torch")
    assert found["packages"]["jinja2"] == version("jinja2")
    assert not {"pytest", "ruff", "fanlight"} & found["packages"].keys()
    assert len(found["code_sha256"]) == 64
    assert json.loads(json.dumps(found)) == found


def test_the_commit_is_that_of_a_clone_of_fanlight_only(tmp_path: Path) -> None:
    package = tmp_path / "src" / "fanlight"
    package.mkdir(parents=True)

    def git(*words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    settings = tmp_path / "pyproject.toml"
    settings.write_text('[project]\nname = "fanlight"\n', encoding="utf-8")
    assert commit_of(package) is None  # no clone
    git("init", "-q")
    assert commit_of(package) is None  # of nothing yet
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert commit_of(package) == commit
    settings.write_text('[project]\nname = "fanlight"\nversion = "2"\n', encoding="utf-8")
    assert commit_of(package) == f"{commit}+"
    settings.write_text('[project]\nname = "another"\n', encoding="utf-8")
    assert commit_of(package) is None  # a copy within another project's clone
    settings.write_text("damaged", encoding="utf-8")
    assert commit_of(package) is None


def test_no_git_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "fanlight"\n', encoding="utf-8")
    (tmp_path / ".git").mkdir()
    assert commit_of(tmp_path / "src" / "fanlight") is None  # git refuses: it is no clone
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path / "src" / "fanlight") is None


def test_the_code_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\ny = 2\n")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.toml").write_bytes(b"z = 3\n")
    before = code_digest(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"anything")
    (tmp_path / "a.py").write_bytes(b"x = 1\r\ny = 2\r\n")  # as a clone on Windows has it
    assert code_digest(tmp_path) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    renamed = code_digest(tmp_path)
    (tmp_path / "tables" / "t.toml").write_bytes(b"z = 4\n")
    assert len({before, renamed, code_digest(tmp_path)}) == 3


def test_git_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made_by()
    monkeypatch.setattr(provenance, "commit_of", lambda package: pytest.fail("asked again"))
    made_by()


# ---------------------------------------------------------------------------- of a training


def test_a_checkpoint_says_how_it_was_trained(data: Index, tmp_path: Path) -> None:
    run(make_recipe(data, train={"epochs": 1, "seed": 7}), data, tmp_path / "run")
    for name, step in (("step00000002", 2), ("last", 4)):
        found = load_checkpoint(tmp_path / "run" / "checkpoints" / f"{name}.ckpt").provenance
        assert found["index"] == data.where
        assert found["index_sha256"] == found["source_sha256"] == file_digest(data.path)
        assert (found["seed"], found["step"], found["from_step"], found["faces"]) == (7, step, 0, len(data))
        assert (found["device"], found["precision"], found["processes"]) == ("cpu", "float32", 1)
        assert found["code_sha256"] == made_by()["code_sha256"]
        assert found["began"].endswith("+00:00")
        assert "earlier" not in found
        assert json.loads(json.dumps(found)) == found


def test_a_run_of_three_sittings_tells_all_three(data: Index, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for sitting, epochs in enumerate((1, 2, 3)):
        recipe = make_recipe(data, train={"epochs": epochs})
        run(recipe, data, folder, resume=sitting > 0)
    last = load_checkpoint(folder / "checkpoints" / "last.ckpt").provenance
    sessions = sessions_of(last)
    assert [session["from_step"] for session in sessions] == [0, 4, 8]
    assert [session.get("settings") for session in sessions] == [
        {"train.epochs": 1.0},
        {"train.epochs": 2.0},
        None,
    ]
    assert all(session["packages"] and session["command"] and session["began"] for session in sessions)
    assert (last["step"], last["seed"]) == (12, 0)


def test_a_checkpoint_that_knows_less_is_gone_on_with(data: Index, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(make_recipe(data, train={"epochs": 1}), data, folder)
    path = folder / "checkpoints" / "last.ckpt"
    old = load_checkpoint(path)
    known = {"command": "fanlight train old.toml", "torch": "2.9.0", "index_sha256": data.sha256}
    save_checkpoint(path, replace(old, provenance=known))
    run(make_recipe(data, train={"epochs": 2}), data, folder, resume=True)
    first, second = sessions_of(load_checkpoint(path).provenance)
    assert first == {"command": known["command"], "torch": "2.9.0", "settings": {"train.epochs": 1.0}}
    assert second["from_step"] == 4


def test_what_a_run_began_from_is_known_by_its_content(data: Index, tmp_path: Path) -> None:
    first = run(make_recipe(data, train={"epochs": 1}), data, tmp_path / "first").best
    start = {"start_from": str(first), "epochs": 1}
    folder = tmp_path / "second"
    run(make_recipe(data, train=start), data, folder)
    expected = {"file": str(first), "sha256": file_digest(first)}
    assert load_checkpoint(folder / "checkpoints" / "best.ckpt").provenance["start_from"] == expected
    save_checkpoint(first, load_checkpoint(tmp_path / "first" / "checkpoints" / "last.ckpt"))  # another now
    run(make_recipe(data, train={**start, "epochs": 2}), data, folder, resume=True)
    assert load_checkpoint(folder / "checkpoints" / "last.ckpt").provenance["start_from"] == expected


def test_settings_that_changed_are_named() -> None:
    before = {"train": {"epochs": 1, "seed": 0}, "data": {"repeat": {}, "train": ["a"]}, "old": {"x": 1}}
    now = {"train": {"epochs": 2, "seed": 0}, "data": {"repeat": {"a": 2}, "train": ["a"]}}
    assert changed_settings(before, now) == {"train.epochs": 1, "data.repeat": {}, "old.x": 1}


def test_a_run_can_end_at_a_step_as_if_it_went_on(data: Index, tmp_path: Path) -> None:
    recipe = make_recipe(data, train={"epochs": 3}, schedule={"name": "cosine"})
    run(recipe, data, tmp_path / "whole")
    outcome = train(recipe, data, tmp_path / "part", Diary(), until=5)
    assert outcome is not None
    assert outcome.stopped == "step"
    whole, part = rows_of(tmp_path / "whole"), rows_of(tmp_path / "part")
    assert [row["step"] for row in part] == ["2", "4", "5"]
    assert [row["lr"] for row in part][:2] == [row["lr"] for row in whole][:2]
    path = tmp_path / "part" / "checkpoints" / "last.ckpt"
    assert load_checkpoint(path).provenance["step"] == 5


def test_a_start_that_is_gone_is_named(data: Index, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.ckpt"):
        run(make_recipe(data, train={"start_from": str(tmp_path / "none.ckpt")}), data, tmp_path / "run")
