"""Large trainings on paper: the page holds what the script prints, and the script's sums are right."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.projection import Assumptions, Measured, Projection
from benchmarks.step_cost import StepCost, count_weights, step_cost
from fanlight.errors import InputError
from fanlight.model import PRESETS
from fanlight.models import count_flops

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_page_holds_the_tables_that_its_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")
    command = next(
        line for line in page.splitlines() if line.startswith("python -m benchmarks.scale benchmarks/")
    )
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", shlex.split(command)[2:])
    scale.main()
    tables = re.findall(r"(?:^\|.*\n)+", capsys.readouterr().out, re.MULTILINE)
    assert len(tables) == 6
    for table in tables:
        assert table in page, "the page is out of date: put this table into it"


def test_the_counts_are_those_of_the_network() -> None:
    options = PRESETS["fan1_narrow"]()
    cost, recomputed = step_cost("fan1_narrow"), step_cost("fan1_narrow", recompute=True)
    # Backward takes twice forward, but nobody asks for the gradient of the photo: the first convolution, 7 x 7 of
    # three channels, stride 2.
    first = 2 * 7**2 * 3 * options.stem_features * (options.input_size // 2) ** 2
    assert cost.flops == 3 * count_flops(options) - first
    assert recomputed.flops > cost.flops
    assert recomputed.kept < cost.kept < cost.traffic
    assert count_weights("fan2") == 12_106_504


def paper(**given: float) -> Projection:
    """A step of 3 TFLOP and 1.6 TB a face on a GPU that reaches 3 TFLOP/s and 1.6 TB/s; a thousand operators."""
    measured = Measured(3000, 1000, 1, 1, 1, 1, 1, (1, 1))
    made = Projection(measured, Assumptions(gpu_tflops=10, **given))  # type: ignore[arg-type]
    made.__dict__["cost"] = StepCost(flops=3e12, traffic=1.6e12, kept=1, operators=1000)
    made.__dict__["weights"] = 1_000_000_000
    return made


def test_a_step_takes_its_longest_part() -> None:
    assert paper().face_s == pytest.approx(1)
    assert paper(memory_share=0.4).face_s == pytest.approx(2)
    assert paper().compute_s(5) == pytest.approx(5)
    assert paper(launch_us=7000).compute_s(5) == pytest.approx(7)
    assert paper().loader_cores == pytest.approx(3)


def test_the_exchange_counts_where_the_backward_pass_does_not_hide_it() -> None:
    # 4 GB around a ring of 16: 2 x 15 / 16 x 4 GB = 7.5 GB at 12.5 GB/s; in a machine of 8, 7 GB at 200 GB/s.
    assert paper().exchange_s(16) == pytest.approx(0.6)
    assert paper().exchange_s(8) == pytest.approx(0.035)
    assert paper().exchange_s(1) == 0
    slow = paper(network_gbit=10)  # 6 s, of which two thirds of a step are hidden
    assert slow.step_s(16, 3) == pytest.approx(3 + 6 - 2)
    assert slow.hidden_from(16) == pytest.approx(9)
    assert slow.step_s(16, 9) == pytest.approx(9)
    # One validation: 10 faces of a third of a second, or of 1 s on three cores; 4 x 6 GB at 0.3 GB/s.
    assert paper().validation_s(10, 1) == pytest.approx(10 / 3 + 80)


def test_figures_that_are_missing_are_named(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps({"results": {"loader": {}}}))
    with pytest.raises(
        InputError, match=r"figures\.json: step, evaluation, start_up not measured there.*--only step"
    ):
        Measured.read([figures])
    figures.write_text("[]")
    with pytest.raises(InputError, match=r"figures\.json: holds no figures"):
        Measured.read([figures])
    with pytest.raises(InputError, match=r"none\.json: cannot be read: No such file"):
        Measured.read([tmp_path / "none.json"])
