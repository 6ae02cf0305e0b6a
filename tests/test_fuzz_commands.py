"""Odd command lines: exit code 0, or 2 with a message; no traceback, no hanging, nothing written elsewhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import fanlight.web.server
from fanlight.checkpoint import save_checkpoint
from fanlight.cli import app, main
from fanlight.recipe_file import dump_toml
from fuzzing import bounded, few_or_many
from painted import make_index, untrained
from runs import make_recipe

FILES = (
    "faces.tsv", "five.toml", "recipe.toml", "dots.ckpt", "val 0.png", "val 0.pts", "evaluation.json", "empty",
    "noise.onnx", "noise.npz", "noise.ckpt", "noise.mp4", "deep.json", "folder", "missing", "missing/x.toml",
    "wörter und \U0001f600.png", "run", "link",
)  # fmt: skip
WORDS = (
    "", " ", "-", "--", "-1", "0", "1", "2", "3.5", "1e3", "nan", "inf", "-inf", "1e999", "0x10", "\u0663", "1_0",
    "9" * 30, "9" * 5000, "x", "x" * 5000, "\U0001f600", "\udcff", "a/b", "dots/val", "dots/train", "cpu",
    "cuda:0", "cuda:²", "auto", "none", "small", "haar", "five", "ibug68", "train.epochs=0", "train.epochs=0.25",
    "model=3", "a.b.c=1", "=", "[bold]", "%s", "{0}", "$(touch sprung)", "../box", ".", "/dev/null", "/dev/zero",
    "/dev/full", "/proc/self/mem", "C:\\x", "http://[", "::", "onnx", "jpeg", "csv", "pts,csv,json", "box",
    "300w", "list:x",
)  # fmt: skip
COUNTS = ("1", "2", "10", "-1", "0", "", "x", "nan", "1.5")  # of what would take long
VARIABLES = (
    "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "XDG_CACHE_HOME", "HOME",
    "TERM", "NO_COLOR", "OPENCV_LOG_LEVEL", "OPENCV_IO_MAX_IMAGE_PIXELS", "LANG", "TMPDIR",
)  # fmt: skip
VALUES = ("", "abc", "-1", "0", "3", "1.5", "9" * 50, "²", "\udcff", "/dev/null", "x" * 5000)


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = list(commands())


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("commands") / "box"
    index = make_index(folder, 4, 3)
    save_checkpoint(folder / "dots.ckpt", untrained(folder))
    from fanlight.data.index import Index

    recipe = make_recipe(Index.read(index), train={"epochs": 0.25})
    (folder / "recipe.toml").write_text(dump_toml(recipe.to_dict()))
    numbers = random.Random(0)
    for name in ("noise.onnx", "noise.npz", "noise.ckpt", "noise.mp4", "wörter und \U0001f600.png"):
        (folder / name).write_bytes(numbers.randbytes(900))
    (folder / "empty").touch()
    (folder / "deep.json").write_text("[" * 900 + "]" * 900)
    (folder / "evaluation.json").write_text(json.dumps({"checkpoint": "x", "partitions": {"a/b": {"n": 3}}}))
    (folder / "folder").mkdir()
    (folder / "run" / "checkpoints").mkdir(parents=True)
    (folder / "link").symlink_to("link")
    return folder


def odd_line(numbers: random.Random) -> list[str]:
    """A command with some of its arguments and options, and anything as their values."""
    path, command = numbers.choice(COMMANDS)
    words = list(path)
    for given in command.params:
        is_option = given.param_type_name == "option"
        if given.name in ("show", "host"):
            continue
        if numbers.random() > (0.95 if given.required else 0.8 if not is_option else 0.25):
            continue
        counts = given.name in ("count", "workers", "every", "detect_every", "faces", "pictures", "calibrate")
        pool = COUNTS if counts else WORDS if numbers.random() < 0.4 else FILES
        value = numbers.choice(pool)
        if is_option:
            words.append(numbers.choice(given.opts))
            if given.is_flag:
                continue
        if not is_option or numbers.random() < 0.97:  # else the value is missing
            words.append(value)
    if numbers.random() < 0.1:
        words.insert(
            numbers.randrange(len(words) + 1), numbers.choice(["--no-such", "-z", "--out", "--", *WORDS])
        )
    if path == ("serve",):
        words += ["--no-open", "--port", "0"]
    return [*words, *(["--workers", "0"] if path == ("data", "synth") else [])]


@few_or_many(20, 1000)
def test_odd_command_lines(
    cases: int, box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One in ten with an odd variable in the environment."""
    monkeypatch.setattr(fanlight.web.server, "run", lambda *_: None)
    codes: Counter[int] = Counter()
    for seed in range(cases):
        numbers = random.Random(f"command {seed}")
        shutil.rmtree(tmp_path / "box", ignore_errors=True)
        shutil.copytree(box, tmp_path / "box", symlinks=True)
        line = odd_line(numbers)
        with monkeypatch.context() as here:
            here.chdir(tmp_path / "box")
            here.setattr(sys, "argv", ["fanlight", *line])
            case = seed, line
            if numbers.random() < 0.1:
                variable = numbers.choice(VARIABLES), numbers.choice(VALUES)
                here.setenv(*variable)
                case += variable  # type: ignore[assignment]
            code = code_of(case)
        said = capfd.readouterr()
        assert code in (0, 2), (case, code, said.err[-2000:])
        assert "Traceback" not in said.err, (case, said.err[-2000:])
        assert code == 0 or said.err.strip(), case
        assert [path.name for path in tmp_path.iterdir()] == ["box"], case
        assert not list(tmp_path.rglob("sprung")), case
        codes[code] += 1
    print(f"command lines: {cases} cases, {codes[0]} done, {codes[2]} told")


def code_of(case: object) -> int:
    """The exit code of the command in this process; the line stands in ``sys.argv``."""
    try:
        with bounded():
            main()
    except SystemExit as left:
        return int(left.code or 0)
    except (Exception, KeyboardInterrupt) as error:
        raise AssertionError(f"{case}: {error!r}") from error
    return 0


@few_or_many(2, 40)
def test_odd_command_lines_as_processes(cases: int, box: Path, tmp_path: Path) -> None:
    """With all that leaving a process takes, and names as the system has them."""
    codes: Counter[int] = Counter()
    shutil.copytree(box, tmp_path / "box", symlinks=True)
    source = str(Path(fanlight.__file__).parents[1])
    for seed in range(cases):
        line = odd_line(random.Random(f"process {seed}"))
        if line[:1] == ["serve"]:
            continue  # which goes on until it is stopped
        ended = subprocess.run(
            [sys.executable, "-m", "fanlight", *line],
            cwd=tmp_path / "box", env={**os.environ, "PYTHONPATH": source}, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode in (0, 2), (seed, line, ended)
        assert b"Traceback" not in ended.stderr, (seed, line, ended.stderr)
        assert [path.name for path in tmp_path.iterdir()] == ["box"], (seed, line)
        codes[ended.returncode] += 1
    print(f"command lines as processes: {codes.total()} cases, {codes[0]} done, {codes[2]} told")


@pytest.mark.parametrize("name", ["evaluation.json", "comparison.json", "findings.json", "report.html"])
@pytest.mark.parametrize("depth", [60, 400, 100_000])
def test_results_nested_without_end_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, depth: int
) -> None:
    deep = '{"checkpoint": "x", "partitions": ' + '{"a": [' * depth + "]}" * depth + "}"
    page = f'<title>x</title><script type="application/json" id="provenance">{deep}</script>'
    (tmp_path / name).write_text(page if name.endswith("html") else deep)
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["fanlight", "info", str(tmp_path / name), *more])
        assert code_of(name) == 2
        assert name in capfd.readouterr().err


NUMBERS = (
    "1",
    "-1",
    "1e999",
    "9" * 400,
    "9" * 5000,
    "NaN",
    "null",
    "true",
    '"x"',
    '"\\ud800"',
    "[]",
    "{}",
    "[[[]]]",
)


@few_or_many(40, 2000)
def test_odd_results(
    cases: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Evaluations, comparisons and provenance with anything anywhere, shown by ``fanlight info``."""
    path, codes = tmp_path / "evaluation.json", Counter[int]()
    whole = {
        "checkpoint": "x", "flip": True, "a": "x", "b": "y", "title": "x", "counts": {"x": 1}, "facts": {"x": "y"},
        "partitions": {"a/b": {"n": 3, "nme_box": {"value": 0.5, "low": 0.1, "high": 0.6}}}, "annotations": [],
        "provenance": {"fanlight": "1", "networks": [{"name": "x", "provenance": {}, "recipe": {"x": {"y": 1}}}],
                       "earlier": [{"x": 1}], "index_sha256": "0", "packages": {"x": "1"}},
        "results": {"x": 1}, "info": {}, "images": [], "findings": [], "variants": {}, "environment": {"x": 1},
    }  # fmt: skip
    for seed in range(cases):
        numbers = random.Random(f"results {seed}")
        content: dict[str, Any] = json.loads(json.dumps(whole))
        for name in numbers.sample(list(content), numbers.randrange(8)):
            del content[name]
        for _ in range(numbers.choice([1, 2, 4])):
            table = content
            while isinstance(table, dict) and table:
                key = numbers.choice(list(table))
                if not isinstance(table[key], dict) or numbers.random() < 0.3:
                    table[key] = f"@{numbers.randrange(len(NUMBERS))}@"
                    break
                table = table[key]
        text = json.dumps(content)
        for number, value in enumerate(NUMBERS):
            text = text.replace(f'"@{number}@"', value)
        path.write_text(text)
        words = ["fanlight", "info", str(path), *numbers.choice([[], ["--json"], ["--recipe"]])]
        monkeypatch.setattr(sys, "argv", words)
        code, said = code_of((seed, text)), capfd.readouterr()
        assert code == 0 or (code == 2 and str(path.name) in said.err), (seed, text, said.err)
        codes[code] += 1
    print(f"results: {cases} cases, {codes[0]} right, {codes[2]} told")
