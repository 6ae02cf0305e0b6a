"""Training: it learns, goes on exactly, survives accidents, and leaves behind what it should."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fanlight
from fanlight.checkpoint import load_checkpoint, save_checkpoint
from fanlight.data.dataset import Batch
from fanlight.data.index import Index
from fanlight.data.pack import Pack
from fanlight.data.packing import PackOptions, write_pack
from fanlight.errors import InputError
from fanlight.judging.evaluate import evaluate
from fanlight.learner import Learner
from fanlight.markup import Markup
from fanlight.metric import Metric
from fanlight.run import open_recipe
from fanlight.train import train
from painted import MARKUP_TOML, make_faces, make_index, paint
from runs import Diary, assert_equal_runs, assert_same, final_weights, make_recipe, rows_of, run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """16 faces to learn from, 7 to validate on."""
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def packed(data: Index, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """The same faces, packed, with their mark-up beside the pack's files."""
    folder = tmp_path_factory.mktemp("packs") / "dots"
    write_pack(data, Markup.load(data.path.parent / "five.toml"), folder, PackOptions(format="raw"))
    (folder / "five.toml").write_text(MARKUP_TOML)
    return Pack.open(folder)


def after_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Any) -> None:
    """Do something to the learner right after the ``number``-th step that is taken from now on."""
    take_step = Learner.step
    taken = 0

    def step(self: Learner, batch: Batch, lr: float) -> dict[str, Tensor]:
        nonlocal taken
        taken += 1
        losses = take_step(self, batch, lr)
        return act(self, losses) or losses if taken == number else losses

    monkeypatch.setattr(Learner, "step", step)


def die(learner: Learner, losses: dict[str, Tensor]) -> None:
    raise KeyboardInterrupt


# ------------------------------------------------------------------ learning


def test_four_faces_are_learnt_by_heart(tmp_path: Path) -> None:
    """Judged on the same four photos: an error of 5 % is 0.16 px of the 16 px heatmaps; it begins near 250 %."""
    faces = make_faces(tmp_path, 4, partition=("dots", "train"))
    index_path = make_index(tmp_path / "markup", 1, 1).parent / "four.tsv"
    Index.write(index_path, [*faces, *(type(f)("dots", "val", -1, *_paths(f), f.face_box) for f in faces)])
    index = Index.read(index_path)
    recipe = make_recipe(
        index,
        train={"epochs": 150, "validations_per_epoch": 0.02, "rank_by": "nme_box"},
        schedule={"name": "cosine", "warmup": 0.1},
        optimiser={"lr": 5e-3},
    )
    outcome = run(recipe, index, tmp_path / "run")
    losses = [float(row["train_heatmap"]) for row in rows_of(tmp_path / "run")]
    assert outcome.metrics["nme_box"] < 0.05
    assert losses[-1] < losses[0] / 5
    judged = evaluate(fanlight.load(outcome.best, "cpu"), index, ["dots/val"], flip=False)[0]
    assert judged.summary["nme_box"]["value"] == pytest.approx(outcome.metrics["nme_box"], rel=1e-4)


def _paths(face: Any) -> tuple[Path, Path]:
    return face.image_path, face.landmarks_path


# ------------------------------------------------------------------ going on


VARIED = {
    "augment": {
        "geometry": {"mirror": 0.5, "probability": 1},
        "photometric": [{"name": "RandomBrightnessContrast", "p": 0.5}],
    },
    "schedule": {"name": "cosine", "warmup": 0.3},
    "optimiser": {"name": "rmsprop", "lr": 1e-3},
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["index", "pack", "shards"])
def test_an_interrupted_run_equals_an_uninterrupted_one(
    data: Index, packed: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, workers: int
) -> None:
    """Killed in its second epoch, a step after the validation in the middle of it, and again at step 10."""
    faces = data if kind == "index" else packed
    settings = {"epochs": 3, "ema": 0.9, "workers": workers, "keep_best": 2, "rank_by": "nme_box"}
    order = {"shuffle": "shards" if kind == "shards" else "all"}
    recipe = make_recipe(faces, **VARIED, train=settings, data=order)  # type: ignore[arg-type]
    run(recipe, faces, tmp_path / "whole")
    for taken, resume, last in ((7, False, 6), (4, True, 8)):
        with monkeypatch.context() as patch:
            after_step(patch, taken, die)
            with pytest.raises(KeyboardInterrupt):
                run(recipe, faces, tmp_path / "parts", resume)
        checkpoint = load_checkpoint(tmp_path / "parts" / "checkpoints" / "last.ckpt")
        assert checkpoint.training["step"] == last
    run(open_recipe(tmp_path / "parts"), faces, tmp_path / "parts", resume=True)

    assert [row["step"] for row in rows_of(tmp_path / "whole")] == ["2", "4", "6", "8", "10", "12"]
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")


def test_a_run_from_a_pack_equals_the_run_from_files(data: Index, packed: Pack, tmp_path: Path) -> None:
    for name, faces in (("files", data), ("pack", packed)):
        run(make_recipe(faces, **VARIED), faces, tmp_path / name)  # type: ignore[arg-type]
    files, pack = ([row | {"minutes": ""} for row in rows_of(tmp_path / name)] for name in ("files", "pack"))
    assert files == pack


def test_a_finished_run_stays_as_it_is(data: Index, tmp_path: Path) -> None:
    recipe = make_recipe(data, train={"epochs": 1})
    first = run(recipe, data, tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    again = run(recipe, data, tmp_path, resume=True)
    assert (again.best, again.metrics, again.stopped) == (first.best, first.metrics, "epochs")
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before
    assert len(rows_of(tmp_path)) == 2


def test_rows_after_the_last_checkpoint_are_written_anew(
    data: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between writing a row and saving its checkpoint."""
    recipe = make_recipe(data, train={"epochs": 2})
    run(recipe, data, tmp_path / "a")
    with monkeypatch.context() as patch:
        after_step(patch, 5, die)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, data, tmp_path / "b")
    row = (tmp_path / "b" / "metrics.csv").read_text().splitlines()[-1]
    with (tmp_path / "b" / "metrics.csv").open("a") as file:
        file.write("6" + row[row.index(",") :] + "\n")
    run(recipe, data, tmp_path / "b", resume=True)
    assert [row["step"] for row in rows_of(tmp_path / "b")] == ["2", "4", "6", "8"]
    assert rows_of(tmp_path / "b")[2]["nme_box"] == rows_of(tmp_path / "a")[2]["nme_box"]


def test_what_cannot_be_gone_on_with_is_refused(data: Index, tmp_path: Path) -> None:
    recipe = make_recipe(data, train={"epochs": 1})
    with pytest.raises(InputError, match=r"not a run: it has no recipe\.toml"):
        open_recipe(tmp_path)
    with pytest.raises(InputError, match=r"last\.ckpt: no such checkpoint"):
        run(recipe, data, tmp_path, resume=True)
    outcome = run(recipe, data, tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(InputError, match=r"model is now .*, and was "):
        run(make_recipe(data, model={"stacks": 2}), data, tmp_path, resume=True)
    with pytest.raises(InputError, match=r"data\.repeat is now \{'dots/train': 2\}, and was \{\}"):
        run(make_recipe(data, data={"repeat": {"dots/train": 2}}), data, tmp_path, resume=True)
    last.write_bytes(outcome.best.read_bytes())
    last.with_name("previous.ckpt").unlink()
    with pytest.raises(InputError, match="holds no training state"):
        run(recipe, data, tmp_path, resume=True)


# ------------------------------------------------------------------ accidents


def test_a_loss_that_is_no_number_stops_the_run(
    data: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 5, noticed at the validation of step 6; the checkpoints of step 4 stay and load."""
    recipe = make_recipe(data)
    after_step(monkeypatch, 5, lambda learner, losses: {k: v * math.nan for k, v in losses.items()})
    with pytest.raises(InputError) as caught:
        run(recipe, data, tmp_path)
    message = str(caught.value)
    best = tmp_path / "checkpoints" / "best.ckpt"
    for word in ("the loss is no longer a number", "total = nan", "step 6", str(best.parent), "optimiser.lr"):
        assert word in message
    assert load_checkpoint(tmp_path / "checkpoints" / "last.ckpt").training["step"] == 4
    assert len(fanlight.load(best, "cpu").predict(paint(np.full((5, 2), 30.0), 64, 64, 2.0), "whole")) == 1
    assert len(rows_of(tmp_path)) == 2


def test_broken_weights_stop_the_run_though_the_loss_is_a_number(
    data: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step before a validation gets a gradient that is none: nothing of it may be saved."""

    def spoil(learner: Learner, losses: dict[str, Tensor]) -> None:
        next(learner.model.parameters()).register_hook(lambda gradient: gradient * math.nan)

    after_step(monkeypatch, 3, spoil)
    with pytest.raises(InputError, match=r"no longer numbers: conv1.weight and .* more .*step 4"):
        run(make_recipe(data), data, tmp_path)
    last = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last.training["step"] == 2
    assert all(values.isfinite().all() for values in last.training["weights"].values())


def test_a_run_that_breaks_at_once_says_that_nothing_was_saved(data: Index, tmp_path: Path) -> None:
    recipe = make_recipe(data, optimiser={"name": "sgd", "lr": 1e30})
    with pytest.raises(InputError, match=r"no longer a number .*step 2: .*there is no checkpoint yet"):
        run(recipe, data, tmp_path)
    assert os.listdir(tmp_path / "checkpoints") == []


def test_the_time_limit_ends_with_a_usable_best_checkpoint(data: Index, tmp_path: Path) -> None:
    recipe = make_recipe(
        data, train={"epochs": 100_000, "max_minutes": 0.02}, schedule={"name": "cosine", "clock": "time"}
    )
    outcome = run(recipe, data, tmp_path)
    assert outcome.stopped == "time"
    rows = rows_of(tmp_path)
    assert float(rows[-1]["minutes"]) >= 0.02
    assert float(rows[-1]["lr"]) < 0.2 * float(rows[0]["lr"])  # the cosine ends when the time does
    assert fanlight.load(outcome.best, "cpu").predict(np.zeros((40, 40, 3), np.uint8), "whole")
    assert run(recipe, data, tmp_path, resume=True).stopped == "time"
    assert len(rows_of(tmp_path)) == len(rows)


def test_data_that_cannot_be_used_is_refused_before_anything_is_written(data: Index, tmp_path: Path) -> None:
    for tables, words in (
        ({"data": {"train": ["dots/trian"]}}, "dots/trian"),
        ({"data": {"markup": "ibug68"}}, "mark-up ibug68 has 68"),
        ({"train": {"batch_size": 17}}, "at most 16"),
        ({"augment": {"photometric": [{"name": "Bluur"}]}}, "Bluur"),
        ({"train": {"precision": "float16"}}, "float16"),
    ):
        with pytest.raises(InputError, match=words):
            run(make_recipe(data, **tables), data, tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------ what a run leaves behind


def test_a_recipe_brings_its_faces(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    faces = Index.read(make_index(tmp_path / "data", train=4, val=2))
    recipe = make_recipe(faces, train={"epochs": 1})
    outcome = train(recipe, recipe.data.faces(), tmp_path / "run")
    assert outcome is not None
    assert rows_of(tmp_path / "run")
    assert capfd.readouterr() == ("", "")

    broken = faces[faces.members("dots/val")[1]].image_path
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match=rf"(?s)1 of 6 faces cannot be used.*{broken.name}"):
        recipe.data.faces()


def test_the_runs_folder(data: Index, tmp_path: Path) -> None:
    recipe = make_recipe(data, train={"epochs": 2, "ema": 0.5})
    diary = Diary()
    outcome = train(recipe, data, tmp_path, diary)
    assert outcome is not None
    names = {path.name for path in tmp_path.iterdir()}
    (events,) = (name for name in names if name.startswith("events.out.tfevents"))
    assert names == {"recipe.toml", "metrics.csv", "checkpoints", "run.id", ".lock", events}
    assert (tmp_path / events).stat().st_size > 200
    steps = [f"step{step:08d}.ckpt" for step in (2, 4, 6, 8)]
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best.ckpt", "last.ckpt", "previous.ckpt", *steps]
    assert open_recipe(tmp_path) == recipe

    rows = rows_of(tmp_path)
    assert list(rows[0]) == [
        "step", "epoch", "minutes", "images", "lr", "crop_size", "train_total", "train_heatmap", "train_distance",
        "nme_box", "nme_interocular", "auc_box_0.07", "fr_box_0.07", "macc_box_0.07",
    ]  # fmt: skip
    assert [row["epoch"] for row in rows] == ["0.5", "1.0", "1.5", "2.0"]
    assert [row["images"] for row in rows] == ["8", "16", "24", "32"]
    assert [{k: str(v) for k, v in row.items()} for row in diary.rows] == rows
    assert diary.began == [(8, 0)]
    assert diary.advanced == [(step, step / 8) for step in range(1, 9)]

    last, best = (load_checkpoint(tmp_path / "checkpoints" / name) for name in ("last.ckpt", "best.ckpt"))
    assert set(last.training) == {
        "weights",
        "updates",
        "optimiser",
        "scaler",
        "step",
        "seconds",
        "ranked",
        "due",
        "means",
        "run",
    }
    assert best.training == {}
    assert best.recipe == recipe.to_dict()
    assert best.provenance["index_sha256"] == data.sha256
    assert best.metrics == outcome.metrics
    assert max(float(row["macc_box_0.07"]) for row in rows) == best.metrics["macc_box_0.07"]
    assert any(
        not torch.equal(v, last.weights[k]) for k, v in last.training["weights"].items()
    )  # the average


@pytest.mark.parametrize("rank_by", ["nme_box", "auc_box_0.5"])
def test_the_best_checkpoints_stay(data: Index, tmp_path: Path, rank_by: str) -> None:
    recipe = make_recipe(data, train={"epochs": 3, "keep_best": 2, "rank_by": rank_by})
    outcome = run(recipe, data, tmp_path)
    values = {int(row["step"]): float(row[rank_by]) for row in rows_of(tmp_path)}
    assert len(values) == 6
    ranked = sorted(values, key=values.__getitem__, reverse=Metric.parse(rank_by).larger_is_better)
    expected = {f"step{step:08d}.ckpt" for step in ranked[:2]}
    assert set(os.listdir(tmp_path / "checkpoints")) == {"best.ckpt", "last.ckpt", "previous.ckpt", *expected}
    assert outcome.metrics[rank_by] == values[ranked[0]]
    for name, step in (("best.ckpt", ranked[0]), (f"step{ranked[1]:08d}.ckpt", ranked[1])):
        assert load_checkpoint(tmp_path / "checkpoints" / name).metrics[rank_by] == values[step]


def test_ranking_by_a_weighted_metric(tmp_path: Path) -> None:
    """Validation faces 0, 1, ... steps away from the original pose; the weights of the best are recomputed."""
    plain = Index.read(make_index(tmp_path))
    samples = [replace(s, aug_idx=number % 7 if s.split == "val" else -1) for number, s in enumerate(plain)]
    Index.write(tmp_path / "turned.tsv", samples)
    faces = Index.read(tmp_path / "turned.tsv")
    rank_by = "nme_box_weighted"
    recipe = make_recipe(faces, train={"epochs": 3, "keep_best": 2, "rank_by": rank_by})
    outcome = run(recipe, faces, tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    weighted = [float(row[rank_by]) for row in rows]
    assert list(rows[0])[-2:] == ["macc_box_0.07", rank_by]
    assert outcome.metrics[rank_by] == min(weighted)
    assert all(
        float(row["nme_box"]) != pytest.approx(value) for row, value in zip(rows, weighted, strict=True)
    )

    val = faces.select(["dots/val"])
    predictor = fanlight.load(tmp_path / "run" / "checkpoints" / "best.ckpt", device="cpu")
    errors = evaluate(predictor, faces, ["dots/val"], flip=False)[0].errors_box
    weights = [math.ceil(5 * 0.8**sample.aug_idx) for sample in val]
    assert sorted(set(weights)) == [2, 3, 4, 5]
    total = sum(weight * error for weight, error in zip(weights, errors.tolist(), strict=True))
    assert total / sum(weights) == pytest.approx(min(weighted), rel=1e-4)


def test_the_last_step_is_always_validated(data: Index, tmp_path: Path) -> None:
    run(make_recipe(data, train={"epochs": 3, "validations_per_epoch": 0.5}), data, tmp_path)
    assert [row["step"] for row in rows_of(tmp_path)] == ["8", "12"]


def test_the_learning_rate_follows_the_schedule_at_every_step(
    data: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 steps, a quarter of them to warm up: 0, half, full; then the step schedule halves each epoch."""
    rates = []
    take_step = Learner.step

    def step(self: Learner, batch: Batch, lr: float) -> dict[str, Tensor]:
        losses = take_step(self, batch, lr)
        rates.append({group["lr"] for group in self.optimiser.param_groups})
        return losses

    monkeypatch.setattr(Learner, "step", step)
    schedule = {"name": "step", "warmup": 0.25, "step_epochs": 1, "factor": 0.5}
    recipe = make_recipe(
        data, schedule=schedule, optimiser={"lr": 0.008}, train={"validations_per_epoch": 0.5}
    )
    run(recipe, data, tmp_path)
    assert rates == [{r} for r in (0, 0.004, 0.008, 0.008, 0.004, 0.004, 0.004, 0.004)]


def test_long_gradients_are_shortened(data: Index, tmp_path: Path) -> None:
    """SGD without momentum: one step moves the weights by lr times the clipped norm, at most."""
    optimiser = {"name": "sgd", "lr": 1.0, "momentum": 0.0, "clip_norm": 1e-3}
    recipe = make_recipe(data, optimiser=optimiser, train={"epochs": 1, "batch_size": 16})
    training = {}

    def note(self: Learner, losses: dict[str, Tensor]) -> None:
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        training["norm"] = torch.nn.utils.get_total_norm(grads).item()

    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, 1, note)
        run(recipe, data, tmp_path)
    assert training["norm"] == pytest.approx(1e-3, rel=1e-3)


# ------------------------------------------------------------------ precision and seed


def test_low_precision_learns_alike(data: Index, tmp_path: Path) -> None:
    """bfloat16 convolutions keep 8 bits: the loss falls by about as much."""
    falls = {}
    for precision in ("float32", "bfloat16"):
        run(
            make_recipe(data, train={"precision": precision, "epochs": 12, "validations_per_epoch": 0.5}),
            data,
            tmp_path / precision,
        )
        losses = [float(row["train_total"]) for row in rows_of(tmp_path / precision)]
        falls[precision] = 1 - losses[-1] / losses[0]
    assert falls["float32"] > 0.2
    assert falls["bfloat16"] == pytest.approx(falls["float32"], rel=0.2)
    assert falls["bfloat16"] != falls["float32"]


def test_the_seed_decides(data: Index, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run(make_recipe(data, train={"seed": seed, "epochs": 1}), data, tmp_path / name)
    a, b, c = (final_weights(tmp_path / name) for name in "abc")
    assert_same(a, b)
    assert not torch.equal(a["conv1.weight"], c["conv1.weight"])


def test_checkpoints_of_a_run_can_be_saved_again(data: Index, tmp_path: Path) -> None:
    """Nothing in them is tied to the run."""
    outcome = run(make_recipe(data, train={"epochs": 1}), data, tmp_path)
    copy = save_checkpoint(tmp_path / "copy.ckpt", load_checkpoint(outcome.best))
    assert_same(load_checkpoint(copy).weights, load_checkpoint(outcome.best).weights)


def test_a_lost_process_is_told_with_the_way_on(
    data: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(learner: Learner, losses: dict[str, Tensor]) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer")

    after_step(monkeypatch, 1, lose)
    with pytest.raises(InputError, match=r"process 0 of 1: another .* gone .*reset by peer.* --resume .*run"):
        run(make_recipe(data), data, tmp_path / "run")
