"""Values that are no numbers: finding them among tensors, and saying which they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def named_tensors(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in mappings and sequences, by the keys that lead to it, joined by dots."""
    if isinstance(content, Tensor):
        yield name, content
        return
    pairs: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(content, Mapping):
        pairs = iter(content.items())
    elif isinstance(content, list | tuple):
        pairs = enumerate(content)
    for key, value in pairs:
        yield from named_tensors(value, f"{name}.{key}" if name else str(key))


def all_finite(tensors: Sequence[Tensor]) -> Tensor:
    """Whether each tensor holds numbers only, (N,) bool, on their device and without waiting for it."""
    return torch.stack([values.isfinite().all() for values in tensors])


def not_numbers(content: Any) -> list[str]:
    """The tensors among ``content`` that hold NaN or infinity, by their names."""
    named = dict(named_tensors(content))
    finite = all_finite(list(named.values())).tolist() if named else []
    return [name for name, good in zip(named, finite, strict=True) if not good]


def in_short(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are.

    >>> in_short(["conv1.weight"]), in_short(["conv1.weight", "bn1.bias", "l0.bias"])
    ('conv1.weight', 'conv1.weight and 2 more')
    """
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
