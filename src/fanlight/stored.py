"""What a file of plain values and tensors may hold, looked at before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from fanlight.model import FAN, FANOptions

Kind = TypeVar("Kind")

_MOST = 1_000_000  # values; a checkpoint of the largest network has some thousands
_DEEPEST = 50  # tables and lists inside each other
_LARGEST = 1 << 64


def check_values(content: Any) -> None:
    """Refuse what would take forever to walk through, and tensors that are not plain.

    A list may hold itself, or stand in another twice, which stands in another twice, and so on.

    Raises:
        ValueError: there is such a thing.
    """
    left, waiting = _MOST, [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        left -= 1
        inner: list[Any] = []
        if isinstance(value, Mapping):
            inner = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            inner = list(value)
        elif isinstance(value, Tensor):
            _check_tensor(value)
        elif isinstance(value, int) and abs(value) >= _LARGEST:
            raise ValueError("a whole number in it is beyond 64 bits")
        left -= len(inner)
        if left < 0 or depth > _DEEPEST:
            raise ValueError("it has too many values, or too deep inside each other")
        waiting += [(entry, depth + 1) for entry in inner]


def _check_tensor(values: Tensor) -> None:
    is_short = values.is_floating_point() and values.element_size() == 1  # which nothing can be done with
    if values.layout is not torch.strided or values.is_quantized or values.device.type != "cpu" or is_short:
        raise ValueError(f"a tensor in it is not plain ({values.layout}, {values.dtype}, {values.device})")
    if values.numel() * values.element_size() > 2 * values.untyped_storage().nbytes() + 1024:
        raise ValueError(f"a tensor in it is larger than what it is made of ({tuple(values.shape)})")


def options_of(kind: type[Kind], values: Any) -> Kind:
    """Make a dataclass of numbers and words from a table, whose values have to be of its types.

    Raises:
        ValueError: a key is unknown, or a value of another type or no finite number.
    """
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__}: expected a table")
    named = {entry.name: hints[entry.name] for entry in fields(kind)}  # type: ignore[arg-type]
    strange = [str(name)[:50] for name in values if name not in named]
    strange += [name for name, type_ in named.items() if name in values and not _fits(values[name], type_)]
    if strange:
        raise ValueError(f"{kind.__name__}: {', '.join(strange)}: unknown, or of the wrong type")
    return kind(**values)


def _fits(value: Any, type_: Any) -> bool:
    if get_origin(type_) is Literal:
        return isinstance(value, str) and value in get_args(type_)
    if type_ is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is type_


def check_weights(weights: Any, options: FANOptions) -> None:
    """Refuse weights that are not those of a network.

    Raises:
        ValueError: one is missing, too many, or of another shape or kind of number.
    """
    if not isinstance(weights, Mapping):
        raise ValueError("weights: expected a table of tensors")
    with torch.device("meta"):
        expected = FAN(options).state_dict()
    wrong = [str(name)[:80] for name in weights if name not in expected]
    wrong += [name for name, like in expected.items() if not _is_like(weights.get(name), like)]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"its weights are not those of its network: {', '.join(wrong[:5])}{more}")


def _is_like(values: Any, like: Tensor) -> bool:
    if not isinstance(values, Tensor) or values.shape != like.shape or values.is_complex():
        return False
    return values.is_floating_point() == like.is_floating_point() and values.dtype != torch.bool
