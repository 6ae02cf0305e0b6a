"""Many processes, started by torchrun as users do: they learn what one learns, and one of them writes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fanlight.checkpoint import load_checkpoint
from fanlight.data.index import Index
from fanlight.judging.evaluate import evaluate
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor
from fanlight.recipe_file import dump_toml
from fanlight.run import open_recipe
from painted import make_index
from runs import PLAIN, assert_close, assert_equal_runs, curves, final_weights, make_recipe, rows_of, run

pytestmark = pytest.mark.slow
BATCH_NORM = {**PLAIN, "model": {"norm": "batch"}}
STILL_START = {
    "weight": 1.0,
    "epsilon": 0.02,
    "alpha": 0.01,
    "steps": 2,
    "random_start": False,
}  # each draws its own
TWO = ("--standalone", "--nproc-per-node=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """16 faces to learn from, 7 to validate on."""
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


def start(launch: Sequence[str], program: Sequence[str]) -> subprocess.Popen[str]:
    """Start torchrun with its own words and a program."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *launch, *program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


def launch(launch: Sequence[str], program: Sequence[str]) -> str:
    """What a program prints under torchrun; it has to succeed."""
    process = start(launch, program)
    printed, _ = process.communicate(timeout=500)
    assert process.returncode == 0, printed
    return printed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def training(recipe: Path, folder: Path, *more: str) -> list[str]:
    return ["-m", "fanlight", "train", str(recipe), "--out", str(folder), *more]


def losses_of(folder: Path) -> list[float]:
    return [float(row["train_total"]) for row in rows_of(folder)]


@pytest.mark.parametrize(
    ("tables", "more", "same"),
    [
        (PLAIN, (), True),
        ({**PLAIN, "adversary": STILL_START}, (), True),
        (BATCH_NORM, ("--set", "train.sync_batch_norm=true"), True),
        (BATCH_NORM, (), False),
    ],
    ids=["instance norm", "adversarial", "synchronised", "not synchronised"],
)
def test_two_processes_equal_one(
    data: Index, tmp_path: Path, tables: dict[str, dict[str, object]], more: tuple[str, ...], same: bool
) -> None:
    """The same faces meet in a step, so losses and weights differ by the order of float32 sums only.

    That is 1e-7 of a value in each step, and grows over 8 of them to less than 1e-5 of the losses and, for weights
    of about 0.1, to less than 1e-5, or 1e-4 behind batch norms, which magnify small differences. Batch norm over
    each process's own 4 faces instead of all 8 is another training.
    """
    recipe = make_recipe(data, **tables, train={"batch_size": 8, "epochs": 4})
    run(recipe, data, tmp_path / "one")
    launch(TWO, training(tmp_path / "one/recipe.toml", tmp_path / "two", *more))
    rows = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    for name in ("step", "epoch", "images", "lr"):
        assert [row[name] for row in rows[0]] == [row[name] for row in rows[1]]
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert one[-1] < 0.9 * one[0]  # the steps do something
    apart = max(abs(a - b) / a for a, b in zip(one, two, strict=True))
    if same:
        assert apart < 1e-5
        atol = 1e-4 if tables is BATCH_NORM else 1e-5
        assert_close(final_weights(tmp_path / "one"), final_weights(tmp_path / "two"), atol)
    else:
        assert apart > 1e-3


def test_two_processes_share_the_trainings_of_an_ablation(data: Index, tmp_path: Path) -> None:
    """One after the other, without meeting anew; the leading process judges them all."""
    recipe = make_recipe(data, **PLAIN, train={"batch_size": 8})
    (tmp_path / "shared.toml").write_text(dump_toml(recipe.to_dict()))
    (tmp_path / "two.toml").write_text(
        'title = "Two"\nrecipe = "shared.toml"\nimages = 16\nseeds = [0, 1]\njudge = ["dots/val"]\nspeed = false\n'
        "[variant.a]\n[variant.b]\nloss.foreground = 2\n"
    )
    printed = launch(
        TWO, ["-m", "fanlight", "ablate", str(tmp_path / "two.toml"), "--out", str(tmp_path / "out")]
    )
    assert printed.count("# Two") == 1
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 4
    alone = make_recipe(data, **PLAIN, train={"batch_size": 8, "epochs": 1, "seed": 1})
    run(alone, data, tmp_path / "one")
    assert_close(final_weights(tmp_path / "one"), final_weights(tmp_path / "out/runs/a/seed1"), 1e-5)


def test_two_machines_equal_one(data: Index, tmp_path: Path) -> None:
    """A torchrun for each, which find each other at an address; see above for the tolerance."""
    address = f"localhost:{free_port()}"
    recipe = make_recipe(data, **PLAIN, train={"batch_size": 8, "epochs": 2})  # type: ignore[arg-type]
    run(recipe, data, tmp_path / "one")
    words = (
        *("--nnodes=2", "--nproc-per-node=1", "--rdzv-id=7", "--rdzv-backend=c10d"),
        f"--rdzv-endpoint={address}",
    )
    machines = [start(words, training(tmp_path / "one/recipe.toml", tmp_path / "two")) for _ in range(2)]
    printed = [machine.communicate(timeout=500)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], printed
    assert sorted("all epochs are done" in text for text in printed) == [False, True]
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(tmp_path / "one"), rel=1e-5)
    assert_close(final_weights(tmp_path / "one"), final_weights(tmp_path / "two"), atol=1e-5)


OWN_FOLDERS = """
import os, sys
from pathlib import Path
sys.argv[sys.argv.index("--out") + 1] += os.environ["RANK"]
Path(sys.argv[sys.argv.index("--out") + 1] + ".pid").write_text(str(os.getpid()))
from fanlight.cli import main
main()
"""


@pytest.fixture
def own_folders(tmp_path: Path) -> Path:
    """A program that is ``fanlight``, but each process gets a folder of its own: ``--out`` and its rank."""
    program = tmp_path / "own_folders.py"
    program.write_text(OWN_FOLDERS)
    return program


def test_only_the_first_process_writes(data: Index, tmp_path: Path, own_folders: Path) -> None:
    """And it writes the same files as one process, with the metrics of the checkpoint that it saves.

    With batch norm, whose running statistics differ between processes; 7 faces do not divide by two.
    """
    recipe = make_recipe(data, train={"batch_size": 8, "epochs": 1, "workers": 1})
    run(recipe, data, tmp_path / "one")
    words = training(tmp_path / "one/recipe.toml", tmp_path / "two")
    launch(TWO, [str(own_folders), *words[2:]])
    assert not (tmp_path / "two1").exists()
    assert (tmp_path / "two1.pid").exists()  # it was there
    files, alone = (
        {path.relative_to(folder) for path in folder.rglob("*") if "tfevents" not in path.name}
        for folder in (tmp_path / "two0", tmp_path / "one")
    )
    assert files == alone
    checkpoint = load_checkpoint(tmp_path / "two0" / "checkpoints" / "last.ckpt")
    judged = evaluate(Predictor(TorchNetwork(checkpoint)), data, ["dots/val"], flip=False)[0].summary
    assert judged["n"] == 7
    for key in ("nme_box", "macc_box_0.07"):
        assert checkpoint.metrics[key] == pytest.approx(judged[key]["value"], rel=1e-4)


def test_a_killed_process_ends_the_run_which_goes_on_with_any_number(
    data: Index, tmp_path: Path, own_folders: Path
) -> None:
    """torchrun ends the others; one process alone then takes the steps that two would have taken."""
    recipe = make_recipe(data, **PLAIN, train={"batch_size": 8, "epochs": 100_000})  # type: ignore[arg-type]
    (tmp_path / "recipe.toml").write_text(dump_toml(recipe.to_dict()))
    words = training(tmp_path / "recipe.toml", tmp_path / "run")
    launcher = start(TWO, [str(own_folders), *words[2:]])
    last = tmp_path / "run0" / "checkpoints" / "last.ckpt"
    while not last.exists() and launcher.poll() is None:
        time.sleep(0.2)
    os.kill(int((tmp_path / "run1.pid").read_text()), signal.SIGKILL)
    printed, _ = launcher.communicate(timeout=500)
    assert launcher.returncode == 1
    assert "SIGKILL" in printed
    assert (
        "go on from the last validation by" in printed
    )  # said by the other, whether it noticed or was stopped
    assert f"--resume {tmp_path / 'run0'}" in printed
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "run0.pid").read_text()), 0)
    step = load_checkpoint(last).training["step"]
    settings = tmp_path / "run0" / "recipe.toml"
    settings.write_text(settings.read_text().replace("epochs = 100000", f"epochs = {step // 2 + 2}"))
    outcome = run(open_recipe(tmp_path / "run0"), data, tmp_path / "run0", resume=True)
    assert outcome.stopped == "epochs"
    assert load_checkpoint(last).training["step"] == 2 * (step // 2 + 2)


WITH_PIDS = """
import os, sys
from pathlib import Path
Path(sys.argv[-1] + "." + os.environ["RANK"]).write_text(str(os.getpid()))
from fanlight.cli import main
main()
"""


@pytest.mark.parametrize("stop", ["terminated", "killed"])
def test_two_processes_that_were_stopped_end_bit_for_bit_like_two_that_were_not(
    data: Index, tmp_path: Path, stop: str
) -> None:
    """By SIGTERM to torchrun, and by SIGKILL to it and both processes, after two validations; resumed by two.

    With batch norm, whose running statistics differ between processes, and a moving average.
    """
    program = tmp_path / "with_pids.py"
    program.write_text(WITH_PIDS)
    settings = {"batch_size": 8, "epochs": 30, "ema": 0.9, "keep_best": 2, "workers": 1}
    recipe = make_recipe(data, augment={"geometry": {"mirror": 0.5, "probability": 1}}, train=settings)
    (tmp_path / "recipe.toml").write_text(dump_toml(recipe.to_dict()))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    launch(TWO, training(tmp_path / "recipe.toml", whole))
    launcher = start(TWO, [str(program), *training(tmp_path / "recipe.toml", parts)[2:]])
    rows = parts / "metrics.csv"
    while not (rows.exists() and rows.read_text().count("\n") > 2) and launcher.poll() is None:
        time.sleep(0.02)
    if stop == "terminated":
        launcher.terminate()
    else:
        launcher.kill()
        for rank in (0, 1):
            os.kill(int(parts.with_name(f"parts.{rank}").read_text()), signal.SIGKILL)
    printed, _ = launcher.communicate(timeout=500)
    assert ("which is saved" in printed) == (stop == "terminated"), printed
    assert load_checkpoint(parts / "checkpoints" / "last.ckpt").training["step"] < 60
    launch(TWO, ["-m", "fanlight", "train", "--resume", str(parts)])
    assert_equal_runs(parts, whole)
    assert curves(parts) == curves(whole)


# Stand-ins for SLURM's programs: two machines, both of them this one.
SRUN = (
    """trap 'kill -TERM $ONE $OTHER; wait; exit 1' TERM; "$@" & ONE=$!; "$@" & OTHER=$!; wait -n && wait -n"""
)
SCONTROL = 'if [ $1 = requeue ]; then touch "requeued-$2"; else echo localhost; echo another; fi'
TORCHRUN = f'exec "{sys.executable}" -m torch.distributed.run "$@"'


def test_the_script_for_slurm_trains_and_goes_on(data: Index, tmp_path: Path) -> None:
    """As docs/devices.md has it, but for the port; sent a second time it finds the run and goes on with it."""
    page = Path(__file__).resolve().parent.parent / "docs" / "devices.md"
    script = page.read_text().partition("```bash\n")[2].partition("```")[0]
    (tmp_path / "train.sbatch").write_text(script.replace("29500", str(free_port())))
    recipe = make_recipe(data, **PLAIN, train={"batch_size": 8, "epochs": 1})  # type: ignore[arg-type]
    (tmp_path / "300w.toml").write_text(dump_toml(recipe.to_dict()))
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("torchrun", TORCHRUN)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(0o755)
    slurm = {"JOB_ID": "7", "JOB_NUM_NODES": "2", "GPUS_ON_NODE": "1", "JOB_NODELIST": "two"}
    environment = {
        **os.environ,
        **{f"SLURM_{name}": value for name, value in slurm.items()},
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    for words in ("epoch   1.00", "going on after step 2 of 2"):
        job = subprocess.run(
            ["bash", "train.sbatch"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert job.returncode == 0, job.stderr
        assert words in job.stderr
        assert job.stdout.count("all epochs are done") == 1
    assert not (tmp_path / "requeued-7").exists()

    checkpoints = tmp_path / "runs" / "300w" / "checkpoints"
    (checkpoints / "last.ckpt").rename(checkpoints / "previous.ckpt")
    settings = tmp_path / "runs" / "300w" / "recipe.toml"
    settings.write_text(settings.read_text().replace("epochs = 1.0", "epochs = 100000.0"))
    stopped = subprocess.Popen(
        ["bash", "train.sbatch"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    rows = tmp_path / "runs" / "300w" / "metrics.csv"
    while rows.read_text().count("\n") < 6 and stopped.poll() is None:
        time.sleep(0.2)
    stopped.send_signal(signal.SIGTERM)
    _, told = stopped.communicate(timeout=500)
    assert stopped.returncode != 0
    said = re.search(r"stopped after step (\d+), which is saved; go on .* --resume runs/300w", told)
    assert said, told
    state = load_checkpoint(tmp_path / "runs" / "300w" / "checkpoints" / "last.ckpt").training
    assert state["step"] == int(said[1])
    assert (tmp_path / "requeued-7").exists()
