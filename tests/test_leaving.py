"""Processes of ``fanlight train`` that are stopped, or lose photos or a loader: they save, say so, and go on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fanlight.data.index import Index
from fanlight.data.packing import PackOptions, write_pack
from fanlight.markup import Markup
from fanlight.recipe_file import dump_toml
from painted import make_index
from runs import assert_equal_runs, curves, make_recipe

RUN = {"epochs": 3, "ema": 0.9, "keep_best": 2, "validations_per_epoch": 1}  # validated at steps 4, 8 and 12
TOLD = {
    "ctrl_c": (
        130,
        r"stopped after step 5, which is saved; go on from the last checkpoint by fanlight train",
    ),
    "sigterm": (
        143,
        r"stopped after step 5, which is saved; go on from the last checkpoint by fanlight train",
    ),
    "photos": (2, r"training stopped after step [5-8], which is saved; when that is mended, go on from"),
    "loader": (
        2,
        r"a loader process was killed .* training stopped after step [5-8], which is saved; when that",
    ),
}


@pytest.mark.parametrize(
    ("kind", "workers", "deeds"),
    [
        ("files", 2, ("ctrl_c",)),
        *(
            pytest.param(kind, workers, deeds, marks=pytest.mark.slow)
            for kind, workers, deeds in (
                ("files", 0, ("ctrl_c", "sigterm", "photos")),
                ("files", 1, ("ctrl_c", "sigterm", "photos", "loader")),
                ("files", 2, ("sigterm", "photos", "loader")),
                ("pack", 0, ("photos",)),
                ("pack", 2, ("ctrl_c", "sigterm", "photos", "loader")),
            )
        ),
    ],
)
def test_a_run_that_leaves_early_goes_on_to_the_same_end(
    tmp_path: Path, kind: str, workers: int, deeds: tuple[str, ...]
) -> None:
    """Ctrl-C, SIGTERM, photos that vanish, a killed loader: exit code, message, nothing left, the same result."""
    files = Index.read(make_index(tmp_path / "faces"))
    index, folder = str(files.path), tmp_path / "packs" / "dots"
    if kind == "pack":
        write_pack(files, Markup.load(files.path.parent / "five.toml"), folder, PackOptions(format="raw"))
        index = str(folder)
    recipe = make_recipe(files, train=RUN | {"workers": workers}, data={"index": index})
    plan = tmp_path / "recipe.toml"
    plan.write_text(dump_toml(recipe.to_dict()))
    program = [sys.executable, str(Path(__file__).with_name("leaving.py")), str(plan), str(tmp_path / "runs")]
    ended = subprocess.run(
        [*program, *deeds],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "1000"},
    )
    assert ended.returncode == 0, ended.stderr
    done = json.loads(ended.stdout)
    assert done["whole"] == [0]
    whole = tmp_path / "runs" / "whole"
    for deed in deeds:
        code, told = TOLD[deed]
        run = whole.with_name(deed)
        log = run.with_suffix(".log").read_text()
        assert done[deed] == [code, False, 0], log
        assert re.search(told, log), log
        assert f"--resume {run}" in log
        assert "Traceback" not in log
        assert_equal_runs(run, whole)
        assert curves(run) == curves(whole)
