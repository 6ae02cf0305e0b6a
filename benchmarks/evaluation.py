"""Evaluation: judging 180,000 faces, about as many as 300W-LP has, and the memory it takes."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.plan import Plan
from benchmarks.result import Figure, Result
from benchmarks.timing import Call
from fanlight.data.index import Index, Sample
from fanlight.data.pts import write_pts
from fanlight.data.synthetic import draw_face
from fanlight.geometry import Floats
from fanlight.judging.evaluate import judge
from fanlight.judging.faces import Wanted
from fanlight.judging.predictions import Found, Origin, Predictions, load_predictions, save_predictions
from fanlight.markup import Markup
from fanlight.metric import SUMMARY_KEYS, summarise
from fanlight.metric import measure as values_of

FACES = 180_000
RESAMPLES = 1000


def measure(plan: Plan) -> Result:
    """Metrics of 180,000 faces with and without intervals, from arrays; reading predictions and labels.

    Intervals are of 1000 bootstrap resamples, for all metrics of the whole face and of its parts. The last figure
    has everything: a file of predictions and label files in, a judgement out, without and with mirroring.
    """
    markup, count, few = Markup.load("ibug68"), plan.size(FACES, 500), plan.size(4000, 50)
    predicted, true = made_landmarks(count)
    with tempfile.TemporaryDirectory() as folder:
        index = labelled(Path(folder), true[:few])
        path = save_predictions(Path(folder) / "predictions.npz", predictions(index, predicted[:few], markup))
        arrays: dict[str, Call] = {
            "metrics": lambda: values_of(SUMMARY_KEYS, predicted, true, markup),
            "metrics with intervals": lambda: summarise(predicted, true, markup, bootstrap=RESAMPLES),
        }
        files: dict[str, Call] = {
            "read predictions": lambda: load_predictions(path),
            "read and judge, twice": lambda: judge(load_predictions(path), index, ["made/test"], Wanted()),
        }
        few_rounds = Plan(min(plan.rounds, 3), plan.quick)
        times = {**few_rounds.time(arrays, count), **plan.time(files, few)}
        peak = peak_bytes(arrays["metrics with intervals"])
    figures = [Figure(name, took, rate_unit="faces") for name, took in times.items()]
    seconds = times["metrics with intervals"].cpu_ms.median * count / 1000
    facts = {
        "faces": count,
        "faces_in_files": few,
        "resamples": RESAMPLES,
        "landmarks_mib": (predicted.nbytes + true.nbytes) / 2**20,
        "extra_memory_mib": peak / 2**20,
    }
    notes = [
        f"{count:,} faces with intervals: {seconds:.1f} s, and {peak / 2**20:,.0f} MiB beside the landmarks' "
        f"{facts['landmarks_mib']:,.0f}"
    ]
    return Result("evaluation", "a face", figures, facts, notes)


def made_landmarks(count: int) -> tuple[Floats, Floats]:
    """Predicted and true landmarks (N, 68, 2) in image px, with errors spread as a trained network's are."""
    numbers = np.random.default_rng(0)
    true = draw_face(0, 0).landmarks + numbers.normal(0, 2, (count, 68, 2))
    return true + numbers.normal(0, 1, true.shape) * numbers.gamma(2, 1.5, (count, 1, 1)), true


def labelled(folder: Path, true: Floats) -> Index:
    """An index with label files; all faces share a photo, which nothing reads."""
    photo = folder / "photo.jpg"
    photo.touch()
    left, top, right, bottom = draw_face(0, 0).face_box.tolist()
    samples = []
    for number, landmarks in enumerate(true):
        labels = folder / f"{number}.pts"
        write_pts(labels, landmarks)
        samples.append(Sample("made", "test", -1, photo, labels, (left, top, right, bottom)))
    Index.write(folder / "index.tsv", samples)
    return Index.read(folder / "index.tsv")


def predictions(index: Index, predicted: Floats, markup: Markup) -> Predictions:
    """Predictions for an index, mirrored ones included."""
    count, points = predicted.shape[:2]
    scores, spread = np.ones((count, points)), np.broadcast_to(np.eye(2), (count, points, 2, 2))
    found = Found(index.line_numbers.astype(np.int64), predicted, predicted + 0.1, scores, spread)
    return Predictions(Origin("made", markup), index.sha256, found)


def peak_bytes(call: Callable[[], object]) -> int:
    """How much more memory a call holds at its peak than before it."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
