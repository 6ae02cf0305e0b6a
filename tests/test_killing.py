"""Trainings whose process is killed at random moments, saving included, end as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fanlight.data.index import Index
from fanlight.data.packing import PackOptions, write_pack
from fanlight.markup import Markup
from fanlight.recipe_file import dump_toml
from painted import MARKUP_TOML, make_index
from runs import assert_equal_runs, curves, make_recipe, steps_written

VARIED = {
    "augment": {
        "geometry": {"mirror": 0.5, "probability": 1},
        "photometric": [{"name": "RandomBrightnessContrast", "p": 0.5}],
    },
    "schedule": {"name": "cosine", "warmup": 0.3},
    "optimiser": {"name": "rmsprop", "lr": 1e-3},
}
RUN = {"epochs": 3, "ema": 0.9, "keep_best": 2, "rank_by": "nme_box", "validations_per_epoch": 4}


@pytest.mark.parametrize(
    "kills", [pytest.param(5, id="20"), pytest.param(25, id="100", marks=pytest.mark.slow)]
)
def test_a_killed_run_ends_like_one_that_was_not(tmp_path: Path, kills: int) -> None:
    """Four times 5 kills, or 25, of runs over files and packs, with 0 and 2 workers, that save after every step.

    Weights, moving average, optimiser, position, sums, the ranked checkpoints and the best, rows and curves are
    compared bit for bit.
    """
    files = Index.read(make_index(tmp_path / "faces"))
    folder = tmp_path / "packs" / "dots"
    write_pack(files, Markup.load(files.path.parent / "five.toml"), folder, PackOptions(format="raw"))
    (folder / "five.toml").write_text(MARKUP_TOML)
    (tmp_path / "runs").mkdir()
    for name, index in (("files", str(files.path)), ("pack", str(folder))):
        for workers in (0, 2):
            order = {"index": index, "shuffle": "shards" if name == "pack" and workers else "all"}
            recipe = make_recipe(files, **VARIED, train=RUN | {"workers": workers}, data=order)  # type: ignore[arg-type]
            (tmp_path / "runs" / f"{name}{workers}.toml").write_text(dump_toml(recipe.to_dict()))
    program = [sys.executable, str(Path(__file__).with_name("killing.py"))]
    ended = subprocess.run(
        [*program, str(tmp_path / "runs"), "0", str(kills)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    done = json.loads(ended.stdout)
    assert len(done) == 4
    for name, counts in done.items():
        assert counts["kills"] == kills
        whole = tmp_path / "runs" / name / "whole"
        for number in range(counts["runs"]):
            killed = whole.with_name(f"killed{number}")
            assert_equal_runs(killed, whole, previous=True)
            assert curves(killed) == curves(whole)
            assert steps_written(killed) == steps_written(whole)  # whoever reads them: none twice
            assert [path.name for path in killed.rglob(".*")] == [".lock"]
