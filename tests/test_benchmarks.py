"""The benchmarks run from end to end, small, and give what they promise; how fast anything is, is not tested."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import BY_THEMSELVES, SUBJECTS, listing, main
from benchmarks.faces import make_faces, some_faces
from benchmarks.plan import Plan
from benchmarks.result import Figure, Other, Result, shown
from benchmarks.timing import Spread, Times, take_turns
from fanlight.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a quick run of everything prints and keeps."""
    path = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text(encoding="utf-8"))


def test_a_quick_run_measures_every_subject(quick: tuple[str, dict[str, Any]]) -> None:
    printed, kept = quick
    assert kept["plan"] == {"rounds": 2, "quick": True, "partitions": []}
    assert {"processor", "bound_to_core", "packages", "threads", "load"} <= set(kept["environment"])
    assert tuple(kept["results"]) == SUBJECTS
    for name, result in kept["results"].items():
        assert f"\n{name}: ms for {result['unit']}" in printed
        assert result["figures"]
        for figure in result["figures"].values():
            for times in (figure["ms"], figure["cpu_ms"]):
                assert 0 < times["min"] <= times["median"] <= times["max"]


def test_the_public_codes_times_and_the_limits_stand_beside(quick: tuple[str, dict[str, Any]]) -> None:
    results = quick[1]["results"]
    full = results["loader"]["figures"]["loader, full"]
    took = full["cpu_ms"]["median"]
    assert full["reference"]["times_faster"] == pytest.approx(1000 / 43 / took)
    assert full["limit"]["share"] == pytest.approx(full["limit"]["ms"] / took)
    assert full["rate"] == {"value": pytest.approx(1000 / took), "unit": "faces/s"}
    assert results["heatmaps"]["figures"]["encode, kept"]["reference"]["ms"] == 16.5
    assert results["inference"]["figures"]["PyTorch, batch 1"]["limit"]["name"] == "the float32 bound"
    assert results["machine"]["facts"]["peak_gflops"]["float32"] > 0
    assert results["evaluation"]["facts"]["extra_memory_mib"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "speed"], f"'speed' (choose from {SUBJECTS[0]}"),
        (["--rounds", "0"], "--rounds: 0: give 1 or more"),
        (["--json", "none/figures.json"], "none/figures.json: there is no folder none: make it first"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_measuring(
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err.replace("'machine'", "machine")


def test_the_list_says_what_each_measures() -> None:
    printed = listing()
    assert "losses      Losses: each term" in printed
    assert all(f"  {name}" in printed for name in (*SUBJECTS, *BY_THEMSELVES))


@pytest.mark.parametrize("name", BY_THEMSELVES)
def test_those_with_arguments_of_their_own_show_them(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"benchmarks.{name}").main()
    assert f"usage: python -m benchmarks.{name}" in capsys.readouterr().out


def test_real_faces_are_spread_over_the_partitions_asked_for(tmp_path: Path) -> None:
    index = make_faces(tmp_path, points=5, count=6, size=32)
    assert Plan().faces(4) is None
    with some_faces(Plan(index=index.path, partitions=("made/train",)), 4) as faces:
        assert [sample.image_path.name for sample in faces] == ["0.jpg", "1.jpg", "3.jpg", "5.jpg"]
    with pytest.raises(InputError, match=r"no partition 'made/val'"):
        Plan(index=index.path, partitions=("made/val",)).faces(4)


def test_calls_take_turns() -> None:
    order: list[str] = []
    times = take_turns(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, units=1, rounds=3, least_ms=0
    )
    assert "".join(order) == "aabb" + "ab" * 3  # two calls each to warm up and to see how long they take
    assert set(times) == {"a", "b"}


def test_a_table_holds_ratios_of_the_processors_time() -> None:
    times = Times(ms=Spread(4.0, 3.0, 9.0), cpu_ms=Spread(2.0, 2.0, 2.0))
    figure = Figure("encode", times, Other("the public code", 16.0), Other("memory", 0.5), 1, "faces")
    table = Result(
        "heatmaps", "a face", [figure], {"faces": 32, "nested": {"not": "shown"}}, ["a note"]
    ).table()
    assert table.splitlines()[0] == "heatmaps: ms for a face; faces 32"
    row = "encode 4 3 - 9 2 500 faces/s 8 x the public code 25 % of memory"
    assert " ".join(table.splitlines()[2].split()) == row
    assert table.endswith("\n  a note")
    assert [shown(value) for value in (12345.6, 0.123456, 180000, "text")] == [
        *("12,346", "0.1235", "180,000", "text")
    ]
