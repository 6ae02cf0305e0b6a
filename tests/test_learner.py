"""One optimiser step by other ways: in parts, with less memory, compiled; and never waiting for the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fanlight.checkpoint import load_checkpoint
from fanlight.compiled import CompiledNetwork
from fanlight.data.dataset import Batch
from fanlight.data.index import Index
from fanlight.device import Team
from fanlight.errors import InputError
from fanlight.learner import Learner
from fanlight.model import FAN, FANOptions
from fanlight.sync_norm import SyncBatchNorm
from painted import make_index
from runs import MODEL, PLAIN, assert_close, final_weights, make_recipe, rows_of, run

ALONE = Team(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """16 faces to learn from, 7 to validate on."""
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


def make_batch(size: int = 4) -> Batch:
    """Noise, and landmarks anywhere in it."""
    numbers = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(256, (size, 32, 32, 3), generator=numbers, dtype=torch.uint8),
        "landmarks": 32 * torch.rand(size, 5, 2, generator=numbers),
        "weight": torch.ones(size),
    }


def after_steps(index: Index, number: int, **tables: Any) -> dict[str, Tensor]:
    """Weights and buffers after some steps on one batch."""
    learner = Learner(make_recipe(index, **tables), ALONE)
    for _ in range(number):
        learner.step(make_batch(), 1e-3)
    return learner.model.state_dict()


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_targets_may_be_warped_with_the_photo(data: Index) -> None:
    """Crops that did not move have the same targets; magnified ones have wider Gaussians."""
    loss = {"warped": True, "subpixel": False, "distance": 0}
    still = {**make_batch(), "motion": torch.eye(2, 3).expand(4, 2, 3)}
    larger = {**still, "motion": torch.tensor([[1.5, 0.0, -0.25], [0.0, 1.5, -0.25]]).expand(4, 2, 3)}
    plain = Learner(make_recipe(data, loss={**loss, "warped": False}), ALONE).step(make_batch(), 1e-3)
    for batch, same in ((still, True), (larger, False)):
        got = Learner(make_recipe(data, loss=loss), ALONE).step(batch, 1e-3)
        assert (abs(got["heatmap"] - plain["heatmap"]) < 1e-6) == same


# ------------------------------------------------------------------ in parts


def test_accumulated_parts_equal_the_whole_batch(data: Index, tmp_path: Path) -> None:
    """Up to the order in which float32 sums are taken: 1e-6 for weights of about 0.1 after 8 steps."""
    for parts in (1, 2):
        recipe = make_recipe(data, **PLAIN, train={"accumulate": parts})  # type: ignore[arg-type]
        run(recipe, data, tmp_path / str(parts))
    start = make_recipe(data, **PLAIN, train={"epochs": 1})  # type: ignore[arg-type]
    run(start, data, tmp_path / "half")
    one, two, half = (final_weights(tmp_path / name) for name in ("1", "2", "half"))
    assert_close(one, two, atol=1e-6)
    assert max((one[n] - half[n]).abs().max() for n in one) > 1e-4  # the steps do move the weights
    for a, b in zip(rows_of(tmp_path / "1"), rows_of(tmp_path / "2"), strict=True):
        assert float(a["train_total"]) == pytest.approx(float(b["train_total"]), rel=1e-4)


def test_batch_norm_uses_the_statistics_of_each_part(data: Index) -> None:
    """So parts are not the whole batch, as docs/devices.md says."""
    plain = {**PLAIN, "model": {"norm": "batch"}}
    whole, parts = (after_steps(data, 2, **plain, train={"accumulate": n}) for n in (1, 2))
    assert whole["bn1.num_batches_tracked"] == 2
    assert parts["bn1.num_batches_tracked"] == 4
    assert largest_difference(whole, parts) > 1e-3


# ------------------------------------------------------------------ less memory


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recomputing_changes_nothing(data: Index, norm: str, precision: str) -> None:
    """Weights and running statistics, bit for bit: the second pass does what the first did, and counts nothing."""
    kept, recomputed = (
        after_steps(
            data,
            3,
            model={"norm": norm, "stacks": 2},
            train={"recompute": recompute, "precision": precision, "accumulate": 2},
        )
        for recompute in (False, True)
    )
    for name, values in kept.items():
        assert torch.equal(values, recomputed[name]), name
    if norm == "batch":
        assert kept["m1.b1_1.bn1.num_batches_tracked"] == 6
        assert kept["m1.b1_1.bn1.running_mean"].abs().max() > 0


def bytes_kept(model: FAN, images: Tensor) -> int:
    """Bytes of activations that wait for the backward pass, without the weights."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        heatmaps = model(images)  # held: storage that is freed would be counted under another's address
    weights = {values.untyped_storage().data_ptr() for values in model.state_dict().values()}
    assert heatmaps
    return sum(size for address, size in sizes.items() if address not in weights)


def test_recomputing_keeps_less() -> None:
    """What is kept grows with the stacks by the hourglasses' inputs and heatmaps only."""
    kept = {}
    for recompute in (False, True):
        for stacks in (2, 4):
            model = FAN(FANOptions(points=5, **{**MODEL, "features": 32, "stacks": stacks}))  # type: ignore[arg-type]
            model.recompute = recompute
            kept[recompute, stacks] = bytes_kept(model, torch.zeros(2, 3, 32, 32))
    growth = [kept[recompute, 4] - kept[recompute, 2] for recompute in (False, True)]
    assert 0 < growth[1] < growth[0] / 5


def test_compiling_and_recomputing_at_once_is_refused(data: Index) -> None:
    with pytest.raises(InputError, match=r"train: .*compile and recompute .* take one of the two"):
        make_recipe(data, train={"compile": True, "recompute": True})


# ------------------------------------------------------------------ compiled


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from inside torch's compiler
def test_a_compiled_network_learns_alike(data: Index, tmp_path: Path) -> None:
    """Other kernels, other rounding; and its checkpoints load without compiling."""
    for name, compiled in (("eager", False), ("compiled", True)):
        run(make_recipe(data, **PLAIN, train={"compile": compiled}), data, tmp_path / name)  # type: ignore[arg-type]
    assert_close(final_weights(tmp_path / "eager"), final_weights(tmp_path / "compiled"), atol=1e-4)
    assert load_checkpoint(tmp_path / "compiled" / "checkpoints" / "best.ckpt").build()


class Compiled:
    """Stands in for ``torch.compile``: gives what the network gives, times a factor, or fails."""

    def __init__(self, factor: float = 1.0, failure: Exception | None = None) -> None:
        self.factor, self.failure, self.calls = factor, failure, 0

    def __call__(self, network: nn.Module) -> Any:
        def compiled(images: Tensor) -> list[Tensor]:
            self.calls += 1
            if self.failure:
                raise self.failure
            return [heatmaps * self.factor for heatmaps in network(images)]

        return compiled


def test_a_compiled_network_is_compared_once_at_each_size(
    data: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch compiles anew for crops of another size, and the comparison leaves running statistics alone."""
    model = FAN(FANOptions(points=5, **MODEL))  # type: ignore[arg-type]
    calls: list[int] = []
    model.register_forward_hook(lambda _, given, __: calls.append(given[0].shape[-1]))
    monkeypatch.setattr(torch, "compile", Compiled())
    network = CompiledNetwork(model, model, torch.float32)
    for side in (32, 32, 64, 64, 32):
        network(torch.rand(2, 3, side, side))
    assert calls == [32, 32, 32, 64, 64, 64, 32]  # the first of each size twice
    monkeypatch.setattr(torch, "compile", Compiled(1.001))
    compared = after_steps(data, 3, train={"compile": True})
    assert compared["bn1.num_batches_tracked"] == 3
    plain = after_steps(data, 3)
    torch.testing.assert_close(compared["bn1.running_mean"], plain["bn1.running_mean"], rtol=0.05, atol=1e-3)


def test_a_compiled_network_that_computes_something_else_is_refused(
    data: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", Compiled(1.5))
    with pytest.raises(
        InputError, match=r"heatmaps are 50 % away .* 1 % at most: set train\.compile = false"
    ):
        after_steps(data, 1, train={"compile": True})


def test_a_machine_that_cannot_compile_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    monkeypatch.setattr(torch, "compile", Compiled(failure=TorchDynamoException("no compiler\nand more")))
    model = FAN(FANOptions(points=5, **MODEL))  # type: ignore[arg-type]
    network = CompiledNetwork(model, model, torch.float32)
    with pytest.raises(InputError, match=r"\(no compiler\).*g\+\+.*train\.compile = false"):
        network(torch.zeros(1, 3, 32, 32))


# ------------------------------------------------------------------ batch norm of all processes


def test_synchronised_norms_round_as_pytorchs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 a mean far from zero would cost two digits if scale and shift were rounded, too."""
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "all_reduce", lambda values: None)
    numbers = torch.Generator().manual_seed(0)
    images = (100 + 3 * torch.randn(4, 8, 16, 16, generator=numbers)).bfloat16()
    own, theirs = SyncBatchNorm(8), nn.BatchNorm2d(8)
    found = own(images)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), theirs(images).float(), rtol=0.01, atol=0.01)
    torch.testing.assert_close(own.running_var, theirs.running_var)


# ------------------------------------------------------------------ no waiting


class Waits(TorchDispatchMode):
    """Notes each operation that a host would wait for on a GPU: a value read, or a size that depends on values."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "is_nonzero", "item")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self.NAMES or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["rmsprop", "adamw", "sgd"])
def test_a_step_waits_for_nothing(data: Index, precision: str, name: str) -> None:
    """Losses, decoder, clipping, moving average and all; float16's scaling alone has to look."""
    recipe = make_recipe(
        data,
        loss={"distance": 0.1, "foreground": 20},
        optimiser={"name": name, "clip_norm": 1.0},
        train={"precision": precision, "ema": 0.9, "accumulate": 2},
    )
    learner = Learner(recipe, ALONE)
    with Waits() as waits:
        losses = learner.step(make_batch(), 1e-3)
    assert waits.found == []
    with Waits() as waits:
        float(losses["total"])
        values = torch.arange(3)
        values[values > 0]
    assert waits.found == ["_local_scalar_dense", "index"]
