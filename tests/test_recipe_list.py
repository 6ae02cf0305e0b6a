"""``fanlight recipes``: published results beside those of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fanlight.cli import app
from fanlight.errors import InputError
from fanlight.recipes import EVALUATION, list_recipes

PUBLISHED = """
[published.results]
ours = 0.6
theirs = 0.5
[published.partitions]
ours = ["a/test", "b/test"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """recipes/one.toml with published results, recipes/more/two.toml without."""
    (tmp_path / "recipes" / "more").mkdir(parents=True)
    (tmp_path / "recipes" / "base.toml").write_text(PUBLISHED)
    (tmp_path / "recipes" / "one.toml").write_text('base = "base.toml"\n')
    (tmp_path / "recipes" / "more" / "two.toml").write_text("[train]\nepochs = 1\n")
    return tmp_path


def judge(folder: Path, **changes: Any) -> None:
    """An evaluation of the run ``one`` as fanlight eval writes it."""
    summary = {"flip": True, "n": 3, "auc_box_0.07": {"value": 0.625, "low": 0.5, "high": 0.7}}
    content = {"flip": True, "partitions": {"a/test": summary, "b/test": summary}, "all": summary, **changes}
    path = folder / "runs" / "one" / EVALUATION
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def invoke(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(
        app, ["recipes", str(folder / "recipes"), "--runs", str(folder / "runs"), *more]
    )


def test_published_results_stand_beside_ours(folder: Path) -> None:
    judge(folder)
    result = invoke(folder)
    assert result.exit_code == 0, result.output
    lines = [line.replace("│", " ").split() for line in result.output.splitlines()]
    assert ["one.toml", "60.0", "62.5", "50.0"] in lines
    assert ["more/two.toml"] in lines
    assert not any(line[:1] == ["base.toml"] for line in lines)


def test_as_json(folder: Path) -> None:
    judge(folder)
    two, one = json.loads(invoke(folder, "--json").output)
    assert (two["results"], two["ours"]) == ({}, {})
    assert (one["results"], one["ours"]) == ({"ours": 0.6, "theirs": 0.5}, {"ours": 0.625})
    assert (one["metric"], one["flip"]) == ("auc_box_0.07", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"flip": False},
        {"partitions": {"a/test": {}, "c/test": {}}},
        {"all": {}},
        {"partitions": {"a/test": {}}},
    ],
)
def test_only_what_was_judged_alike_is_compared(folder: Path, changes: dict[str, Any]) -> None:
    judge(folder, **changes)
    facts, _ = list_recipes(folder / "recipes", folder / "runs")
    (one,) = (entry for entry in facts if entry.path.stem == "one")
    assert one.ours == {}


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    path = folder / "runs" / "one" / EVALUATION
    judge(folder)
    path.write_text("{}")
    _, (fault,) = list_recipes(folder / "recipes", folder / "runs")
    assert "evaluation.json: not as fanlight eval wrote it" in str(fault)
    with pytest.raises(InputError, match="no recipes there"):
        list_recipes(folder / "runs", folder / "runs")
    wrong = folder / "recipes" / "one.toml"
    wrong.write_text('[published]\nmetric = "auc"\nresults = { ours = 1.5 }\nresult = 1\n')
    (two,), (fault,) = list_recipes(folder / "recipes", folder / "runs")
    assert two.path.stem == "two"
    told = fault.problems
    assert any(p.startswith("line 2: published.metric: ") for p in told), told
    assert any(p.startswith("line 3: published.results.ours: ") for p in told), told
    assert any(p.startswith("line 4: published.result: unknown setting") for p in told), told


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_one_at_fault_does_not_hide_the_others(folder: Path, more: tuple[str, ...]) -> None:
    wrong = folder / "recipes" / "more" / "two.toml"
    wrong.write_text("[train\n")
    result = invoke(folder, *more)
    assert "one" in result.stdout
    assert "two" not in result.stdout
    assert isinstance(result.exception, InputError)  # exit code 2
    assert str(result.exception).startswith(f"{wrong}: cannot read the recipe: ")
