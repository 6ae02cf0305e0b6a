"""``fanlight ablate``: trainings under one budget, judged on the same faces."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from fanlight.ablation.comparison import compare_variants
from fanlight.ablation.jitter import jitter_of
from fanlight.ablation.judging import network_of, predict_one, predictions_file
from fanlight.ablation.plan import Ablation, load_ablation
from fanlight.ablation.render import as_markdown, figure, jitter_figure, verdict
from fanlight.ablation.runner import carry_out
from fanlight.ablation.speed import BATCHES, ROUNDS, faces_per_second
from fanlight.ablation.training import budgeted, network_file, networks, run_folder, train_one
from fanlight.checkpoint import load_checkpoint
from fanlight.cli import app
from fanlight.data.dataset import FaceDataset
from fanlight.data.faces import Faces
from fanlight.data.index import Index
from fanlight.errors import InputError
from fanlight.judging.jitter import measure_jitter
from fanlight.judging.predictions import Predictions, load_predictions
from fanlight.loss import AlignmentLoss
from fanlight.metric import Metric, single
from fanlight.recipe_file import dump_toml
from painted import make_index
from runs import MODEL, Diary, final_weights, held_by_another, make_recipe, rows_of

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = """
title = "Two ways"
recipe = "shared.toml"
seeds = [3, 5]
images = 20
judge = ["dots/val"]
metrics = ["nme_box", "auc_box_0.07"]
speed = false
"""
VARIANTS = """
[variant.plain]
[variant.mse]
title = "heatmap | MSE only"
loss.distance = 0
[variant.peak]
of = "mse"
decoder.kind = "argmax"
"""
CLAIMS = """
[claim.distance]
title = "with against without the distance"
new = "plain"
old = "mse"
[claim.peak]
new = "mse"
old = "peak"
"""


@pytest.fixture
def faces(tmp_path: Path) -> Index:
    return Index.read(make_index(tmp_path))


@pytest.fixture
def write(tmp_path: Path, faces: Index) -> Callable[..., Path]:
    """Write an ablation beside the recipe that it shares, whose validation partition stands apart."""
    recipe = make_recipe(faces, data={"val": ["dots/val"]}, train={"flip": True}).to_dict()
    recipe["model"] = {**MODEL}
    (tmp_path / "shared.toml").write_text(dump_toml(recipe))

    def to(text: str = SHARED + VARIANTS + CLAIMS) -> Path:
        (tmp_path / "two.toml").write_text(text)
        return tmp_path / "two.toml"

    return to


class Silent:
    """Tells nobody how an ablation goes."""

    @contextmanager
    def training(self, name: str, seed: int, number: int, total: int) -> Iterator[Diary]:
        yield Diary()

    @contextmanager
    def looking(self, what: str) -> Iterator[Callable[[int], None]]:
        yield lambda faces: None


def finish(ablation: Ablation, faces: Faces, folder: Path) -> dict[tuple[str, int], Predictions]:
    """Carry an ablation out; gives what its networks found, from where it is kept."""
    carry_out(ablation, faces, folder, "cpu", Silent())
    return {
        (judged.name, seed): load_predictions(predictions_file(folder, judged, seed))
        for variant, seed in networks(ablation)
        for judged in ablation.variants
        if judged.source == variant.name
    }


def invoke(file: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["ablate", str(file), "--out", str(file.parent / "out"), *more])


def test_a_variant_is_the_recipe_but_for_what_it_says(write: Callable[..., Path]) -> None:
    ablation = load_ablation(write(), ["optimiser.lr=0.25"])
    plain, mse, peak = ablation.variants
    assert plain.recipe
    assert mse.recipe
    assert (plain.recipe.loss.distance, mse.recipe.loss.distance) == (0.01, 0)
    assert plain.recipe.optimiser.lr == mse.recipe.optimiser.lr == 0.25
    assert mse.recipe.model_copy(update={"loss": plain.recipe.loss}) == plain.recipe
    assert (plain.title, mse.title) == ("plain", "heatmap | MSE only")
    assert (peak.source, peak.is_trained, peak.decoder.kind, mse.decoder.kind) == (
        "mse", False, "argmax", "centroid",
    )  # fmt: skip
    order = [(variant.name, seed) for variant, seed in networks(ablation)]
    assert order == [("plain", 3), ("mse", 3), ("plain", 5), ("mse", 5)]


def test_a_budget_of_images_is_kept_and_ends_the_schedule(
    write: Callable[..., Path], faces: Index, tmp_path: Path
) -> None:
    ablation = load_ablation(write(), ["schedule.name=cosine", "schedule.final=0.1"])
    train_one(ablation, ablation.variants[0], 3, faces, tmp_path / "out", Diary())
    row = rows_of(run_folder(tmp_path / "out", ablation.variants[0], 3))[-1]
    assert int(row["images"]) == 20  # an epoch has 16
    assert float(row["lr"]) == pytest.approx(3e-4)


def test_a_budget_of_minutes_ends_the_schedule_by_the_clock(write: Callable[..., Path], faces: Index) -> None:
    ablation = load_ablation(write((SHARED + VARIANTS).replace("images = 20", "minutes = 1.5")))
    recipe = budgeted(ablation, ablation.variants[0], 5, faces)
    assert (recipe.train.max_minutes, recipe.schedule.clock, recipe.train.seed) == (1.5, "time", 5)


def test_figures_are_those_of_a_plain_recomputation(
    write: Callable[..., Path], faces: Index, tmp_path: Path
) -> None:
    ablation = load_ablation(write())
    found = finish(ablation, faces, tmp_path / "out")
    part = compare_variants(ablation, faces, found, bootstrap=200)["dots/val"]
    chosen = faces.select(["dots/val"])
    origin = found["plain", 3].origin
    true = FaceDataset(chosen, origin.markup, origin.crop, origin.input_size).landmarks_image
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(chosen), (200, len(chosen)))
    for key in ablation.settings.metrics:

        def value(name: str, seed: int, rows: Any = slice(None), key: str = key) -> float:
            predicted = found[name, seed].of(chosen, True).landmarks(True)
            return single(key, predicted[rows], true[rows], origin.markup)

        plain, mse = ([value(name, seed) for seed in (3, 5)] for name in ("plain", "mse"))
        assert part["variants"]["mse"][key]["seeds"] == pytest.approx(mse)
        assert part["variants"]["mse"][key]["value"] == pytest.approx(np.mean(mse))
        claim = part["claims"]["distance"][key]
        assert claim["seeds"] == pytest.approx(np.subtract(plain, mse))
        resampled = [
            np.mean([value("plain", s, rows) - value("mse", s, rows) for s in (3, 5)]) for rows in draws
        ]
        assert (claim["low"], claim["high"]) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
    assert part["faces"] == len(chosen) == 7
    assert part["variants"]["peak"] != part["variants"]["mse"]  # the same networks, decoded otherwise


class Interrupted(Diary):
    """Stops a training at its first validation."""

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_ablation_goes_on_and_ends_like_another(
    write: Callable[..., Path], faces: Index, tmp_path: Path
) -> None:
    text = (SHARED + VARIANTS).replace("images = 20", "images = 48").replace("seeds = [3, 5]", "seeds = [3]")
    ablation = load_ablation(write(text))
    finish(ablation, faces, tmp_path / "whole")
    first, second = ablation.trained
    train_one(ablation, first, 3, faces, tmp_path / "cut", Diary())
    with pytest.raises(KeyboardInterrupt):
        train_one(ablation, second, 3, faces, tmp_path / "cut", Interrupted())
    finish(ablation, faces, tmp_path / "cut")
    for variant, seed in networks(ablation):
        one, other = (final_weights(run_folder(tmp_path / d, variant, seed)) for d in ("whole", "cut"))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_done_is_not_done_again(write: Callable[..., Path], faces: Index, tmp_path: Path) -> None:
    file = write()
    first = invoke(file, "--device", "cpu")
    assert first.exit_code == 0, first.output

    def kept() -> dict[Path, int]:
        files = [*(tmp_path / "out").rglob("*.ckpt"), *(tmp_path / "out" / "predictions").iterdir()]
        return {path: path.stat().st_mtime_ns for path in files}

    before = kept()
    assert len(before) > 10
    again = invoke(file, "--device", "cpu")
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert kept() == before
    file.write_text(file.read_text().replace('kind = "argmax"', 'kind = "quarter"'))
    assert (
        invoke(file, "--device", "cpu").stdout != first.stdout
    )  # decoded anew, not taken from what was kept
    changed = {path.name for path, time in kept().items() if before[path] != time}
    assert changed == {"peak-seed3.npz", "peak-seed5.npz"}


@pytest.mark.parametrize("change", ["another network", "more faces", "damaged"])
def test_kept_predictions_are_taken_for_what_they_are_only(
    write: Callable[..., Path], faces: Index, tmp_path: Path, change: str
) -> None:
    text = (
        (SHARED + VARIANTS).replace("seeds = [3, 5]", "seeds = [3]").replace('["dots/val"]', '["dots/test"]')
    )
    lines = Path(faces.where).read_text().splitlines(keepends=True)
    three = [line.replace("\tval\t", "\ttest\t", 1) for line in lines if "\tval\t" in line][:3]
    (tmp_path / "more.tsv").write_text("".join(lines + three))
    index = Index.read(tmp_path / "more.tsv")
    ablation = load_ablation(write(text), index=index.where)
    before = finish(ablation, index, tmp_path / "out")["peak", 3].found.plain
    if change == "damaged":
        kept = predictions_file(tmp_path / "out", ablation.variants[2], 3)
        kept.write_bytes(kept.read_bytes()[:100])
    elif change == "more faces":
        text = text.replace('["dots/test"]', '["dots/test", "dots/val"]')
    else:
        text = text.replace('of = "mse"', 'of = "plain"')
    after = finish(load_ablation(write(text), index=index.where), index, tmp_path / "out")[
        "peak", 3
    ].found.plain
    assert len(after) == (10 if change == "more faces" else 3)
    assert np.array_equal(after, before) == (change == "damaged")


def test_the_command_leaves_a_table_figures_and_a_plot(write: Callable[..., Path], tmp_path: Path) -> None:
    result = invoke(write(), "--device", "cpu")
    assert result.exit_code == 0, result.output
    table = (tmp_path / "out" / "table.md").read_text()
    assert table == result.stdout
    assert "| heatmap \\| MSE only | " in table
    assert "| with against without the distance | " in table
    results = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert as_markdown(results) == table
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    axes = figure(
        {**results, "partitions": {**results["partitions"], "more": results["partitions"]["dots/val"]}}
    ).axes
    assert [label.get_text() for label in axes[0].get_yticklabels()] == [
        "with against without the distance", "peak",
    ]  # fmt: skip


def test_other_settings_need_another_folder(write: Callable[..., Path]) -> None:
    file = write(SHARED + "[variant.plain]\n")
    assert invoke(file, "--device", "cpu").exit_code == 0
    with pytest.raises(InputError, match=r"run of other settings \(optimiser.lr\).*another --out"):
        CliRunner().invoke(
            app,
            ["ablate", str(file), "--out", str(file.parent / "out"), "--set", "optimiser.lr=0.5"],
            catch_exceptions=False,
        )


def test_a_given_network_is_judged_and_nothing_is_trained(
    write: Callable[..., Path], faces: Index, tmp_path: Path
) -> None:
    ablation = load_ablation(write(SHARED + "[variant.plain]\n"))
    finish(ablation, faces, tmp_path / "out")
    checkpoint = network_file(tmp_path / "out", ablation.variants[0], 3)
    text = SHARED.replace('recipe = "shared.toml"', "").replace("images = 20", "")
    text += f'[variant.given]\ncheckpoint = "{checkpoint}"\n'
    text += '[variant.peak]\nof = "given"\ndecoder.kind = "argmax"\n'
    text += '[claim.peak]\nnew = "given"\nold = "peak"\n'
    file = write(text)
    with pytest.raises(InputError, match="--index"):
        load_ablation(file)
    given = load_ablation(file, index=faces.where)
    found = finish(given, faces, tmp_path / "again")
    assert sorted(found) == [("given", 3), ("peak", 3)]
    before = compare_variants(ablation, faces, {("plain", 3): found["given", 3]})
    after = compare_variants(given, faces, found)
    assert after["dots/val"]["variants"]["given"] == before["dots/val"]["variants"]["plain"]
    assert not (tmp_path / "again" / "runs").exists()


def test_kept_predictions_of_other_weights_are_made_anew(
    write: Callable[..., Path], faces: Index, tmp_path: Path
) -> None:
    ablation = load_ablation(write(SHARED + "[variant.plain]\n"))
    (plain,), folder = ablation.variants, tmp_path / "out"
    train_one(ablation, plain, 3, faces, folder, Diary())
    before = predict_one(ablation, plain, 3, faces, folder, "cpu")
    train_one(ablation, plain, 5, faces, folder, Diary())
    kept = predictions_file(folder, plain, 3)
    network_file(folder, plain, 5).replace(network_file(folder, plain, 3))
    os.utime(network_file(folder, plain, 3), (0, 0))  # older than what was predicted
    assert kept.exists()
    after = predict_one(ablation, plain, 3, faces, folder, "cpu")
    assert not np.array_equal(before.found.plain, after.found.plain)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("images = 20", "images = 20\nminutes = 1"), "either images or minutes"),
        (("images = 20", ""), "either images or minutes"),
        (('recipe = "shared.toml"', ""), "give recipe"),
        (('recipe = "shared.toml"', 'recipe = "none.toml"'), r"none\.toml"),
        (('judge = ["dots/val"]', 'judge = ["dots/train"]'), "dots/train is judged and learnt from"),
        (("seeds = [3, 5]", "seeds = [3, 3]"), "different whole numbers"),
        (('"auc_box_0.07"', '"auc_box"'), "needs a threshold|is no metric"),
        (("loss.distance = 0", "loss.distanse = 0"), r"variant mse.*loss\.distanse.*did you mean distance"),
        (("decoder.kind", "loss.distance"), "variant.peak: loss: nothing is trained, so only decoder can differ"),
        (("decoder.kind", "decoder.kid"), r"variant peak.*decoder\.kid: unknown setting; known are kind"),
        (('"argmax"', '"argmin"'), "variant peak.*decoder.*argmin"),
        (('of = "mse"', 'of = "peak"'), "no variant with networks of its own"),
        (('of = "mse"', 'of = "mse"\ncheckpoint = "small"'), "of and checkpoint both"),
        (('old = "peak"', 'old = "peek"'), "claim.peak: 'peek' is no variant"),
        (("[variant.peak]", '[variant."a/b"]'), "'a/b': a name has letters"),
        (("title = \"Two ways\"", ""), "title: missing"),
        (("loss.distance = 0", "train.seed = 9"), r"variant\.mse: train\.seed: the same for all variants"),
        (("loss.distance = 0", 'data.index = "x.tsv"'), r"data\.index: the same for all variants"),
        (('decoder.kind = "argmax"', 'decoder = "argmax"'), r"variant peak:.*decoder"),
        (('decoder.kind = "argmax"', "decoder.gamma = true"), r"variant peak:.*decoder\.gamma"),
        (('"nme_box"', '"nme_interpupil"'), "metrics nme_interpupil: not possible with the mark-up"),
        (("[variant.plain]", "[variant.plain"), "cannot read the ablation"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_anything_is_trained(
    write: Callable[..., Path], change: tuple[str, str], said: str
) -> None:
    text = SHARED + VARIANTS + CLAIMS
    assert change[0] in text
    file = write(text.replace(*change))
    with pytest.raises(InputError) as raised:
        load_ablation(file)
    assert re.search(said, str(raised.value), re.DOTALL), raised.value


@pytest.mark.parametrize(
    ("low", "high", "seeds", "expected"),
    [
        (0.1, 0.3, [0.2, 0.2], "new"),
        (0.1, 0.3, [0.5, -0.1], "open"),  # the luck of one training
        (-0.1, 0.3, [0.1, 0.1], "open"),
        (-0.3, -0.1, [-0.2, -0.2], "old"),
    ],
)
def test_a_claim_holds_on_every_seed_and_for_other_faces(
    low: float, high: float, seeds: list[float], expected: str
) -> None:
    opposite = {"new": "old", "old": "new", "open": "open"}[expected]
    estimate = {"value": np.mean(seeds), "low": low, "high": high, "seeds": seeds}
    assert verdict(estimate, Metric.parse("auc_box_0.07")) == expected
    assert verdict(estimate, Metric.parse("nme_box")) == opposite


def test_loaders_are_timed(write: Callable[..., Path], faces: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    ablation = load_ablation(write(SHARED + "[variant.plain]\n[variant.warped]\nloss.warped = true\n"))
    made: list[bool] = []
    targets = AlignmentLoss.targets

    def counted(loss: AlignmentLoss, *given: Any) -> Any:
        made.append(loss.options.warped)
        assert given[2] is not None
        return targets(loss, *given)

    monkeypatch.setattr(AlignmentLoss, "targets", counted)
    rates = faces_per_second(ablation.trained, faces)
    assert list(rates) == ["plain", "warped"]
    assert all(rate > 0 for rate in rates.values())
    assert made.count(True) == made.count(False) == BATCHES * (ROUNDS + 1)


def test_last_checkpoint_is_judged_not_the_best(
    write: Callable[..., Path], faces: Index, tmp_path: Path
) -> None:
    ablation = load_ablation(write(SHARED + "[variant.plain]\n"))
    (plain,), folder = ablation.variants, tmp_path / "out"
    train_one(ablation, plain, 3, faces, folder, Diary())
    judged = load_checkpoint(network_file(folder, plain, 3))
    assert judged.training["step"] == 5


def test_the_example_of_the_page_can_be_read(write: Callable[..., Path]) -> None:
    page = (REPOSITORY / "docs" / "ablation.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    assert [variant.name for variant in load_ablation(write(example)).variants] == [
        "full",
        "snapped",
        "argmax",
    ]


@pytest.mark.parametrize("name", ["faces68_claims", "faces68_jitter"])
def test_shipped_ablations_can_be_read(name: str) -> None:
    ablation = load_ablation(REPOSITORY / "ablations" / f"{name}.toml", index="faces.tsv")
    assert len(ablation.settings.seeds) >= 3
    assert bool(ablation.trained) == (name == "faces68_claims")
    assert ablation.settings.jitter


@pytest.mark.parametrize(("images", "batch"), [(3, 4), (40, 17)])
def test_a_batch_that_nothing_fills_is_told_before_anything_is_trained(
    write: Callable[..., Path], tmp_path: Path, images: int, batch: int
) -> None:
    file = write((SHARED + "[variant.plain]\n").replace("images = 20", f"images = {images}"))
    with pytest.raises(
        InputError, match=f"variant plain: train.batch_size = {batch} is more than the 16 faces"
    ):
        CliRunner().invoke(
            app,
            ["ablate", str(file), "--out", str(tmp_path / "out"), "--set", f"train.batch_size={batch}"],
            catch_exceptions=False,
        )
    assert not (tmp_path / "out").exists()


def test_a_training_that_fails_is_named(write: Callable[..., Path], faces: Index, tmp_path: Path) -> None:
    ablation = load_ablation(write(SHARED + '[variant.wild]\noptimiser.name = "sgd"\noptimiser.lr = 1e30\n'))
    with pytest.raises(InputError, match=r"(?s)wild, seed 3: .*no longer a number.*needs another --out"):
        finish(ablation, faces, tmp_path / "out")


def test_one_process_at_a_time_works_in_a_folder(write: Callable[..., Path], tmp_path: Path) -> None:
    with held_by_another(tmp_path / "out") as process:
        result = invoke(write())
    assert isinstance(result.exception, InputError)
    assert f"{tmp_path / 'out'}: process {process} on " in str(result.exception)


def test_photos_are_moved_where_that_is_asked_for(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(SHARED + "[jitter]\nfaces = 3\nsteps.count = 12\n" + VARIANTS)
    result = invoke(file, "--device", "cpu")
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out" / "ablation.json").read_text())
    part = results["jitter"]["dots/val"]
    assert part["faces"] == 3
    assert list(part["variants"]) == ["plain", "mse", "peak"]
    ideal = {name: figures["ideal"]["jitter_px"]["value"] for name, figures in part["variants"].items()}
    assert ideal["peak"] > 20 * ideal["mse"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "## Jitter, dots/val, 3 faces moved by sub-pixel steps" in table
    (axes,) = jitter_figure(results).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["plain", "heatmap | MSE only", "peak"]
    assert (tmp_path / "out" / "jitter.png").read_bytes().startswith(b"\x89PNG")


def test_a_face_jitters_by_the_mean_over_the_seeds(
    write: Callable[..., Path], faces: Index, tmp_path: Path
) -> None:
    ablation = load_ablation(write(SHARED + "[jitter]\nfaces = 2\nsteps.count = 12\n[variant.plain]\n"))
    finish(ablation, faces, tmp_path)
    (plain,) = ablation.variants
    asked = ablation.settings.jitter
    assert asked is not None
    chosen = faces.select(["dots/val"]).take(np.array([0, 6]))
    alone = [
        measure_jitter(network_of(plain, network_file(tmp_path, plain, seed), "cpu"), chosen, {"": plain.decoder},
                       asked.steps)[""].found.jitter_px
        for seed in (3, 5)
    ]  # fmt: skip
    found = jitter_of(ablation, faces, tmp_path, "cpu")["dots/val"]["variants"]["plain"]["found"]
    assert found["jitter_px"]["value"] == pytest.approx(np.mean(alone))


@pytest.mark.parametrize("name", ["faces68_claims", "faces68_jitter"])
def test_the_page_has_the_results_of_the_shipped_ablations(name: str) -> None:
    results = json.loads((REPOSITORY / "ablations" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    settings = load_ablation(REPOSITORY / "ablations" / f"{name}.toml", index="faces.tsv").settings
    assert results["title"] == settings.title
    assert {name: row["title"] for name, row in results["variants"].items()} == {
        name: variant.title for name, variant in settings.variant.items()
    }
    assert {name: row["title"] for name, row in results["claims"].items()} == {
        name: claim.title for name, claim in settings.claim.items()
    }
    page = (REPOSITORY / "docs" / "ablation.md").read_text(encoding="utf-8")
    assert re.sub("^#", "###", as_markdown(results), flags=re.MULTILINE) in page
