"""The machine's own limits: matrix products and memory."""

from __future__ import annotations

from benchmarks.limits import NAMES
from benchmarks.plan import Plan
from benchmarks.result import Result


def measure(plan: Plan) -> Result:
    """What one core does at most; other subjects are held against it."""
    limits = plan.limits
    peaks = {NAMES[dtype]: peak / 1e9 for dtype, peak in limits.products.items()}
    notes = [f"peak of {name} products: {peak:.0f} GFLOP/s" for name, peak in peaks.items()]
    return Result("machine", "a call", limits.figures, {"peak_gflops": peaks}, notes)
