"""Odd values, and the places in tables of values and tensors that they are put in."""

from __future__ import annotations

import collections
import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import torch


def laughs(depth: int = 60) -> list[Any]:
    """A list that is small in a file, and has 2 ** depth entries written out."""
    values: list[Any] = ["ha"]
    for _ in range(depth):
        values = [values, values]
    return values


def endless() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


def deep() -> list[Any]:
    values: list[Any] = []
    for _ in range(400):
        values = [values]
    return values


ODD: tuple[Callable[[], Any], ...] = (
    lambda: None, lambda: True, lambda: 0, lambda: 1, lambda: -1, lambda: 3, lambda: 10**9,
    lambda: 2**31, lambda: 2**63,
    lambda: 10**4000, lambda: 0.5, lambda: 2.0, lambda: math.nan, lambda: math.inf, lambda: 1e308,
    lambda: 3j, lambda: "",
    lambda: "x", lambda: "max", lambda: "x" * 100_000, lambda: "\ud800", lambda: b"x",
    lambda: bytearray(9), list,
    lambda: [1, 2, 3], lambda: (1.0, 2.0), dict, lambda: {"x": 1}, lambda: {3: 4},
    lambda: {None: torch.ones(2)},
    lambda: {1, 2}, lambda: collections.OrderedDict(a=1), lambda: torch.Size([3]),
    lambda: torch.float16, laughs, endless,
    deep, lambda: torch.ones(2), lambda: torch.tensor(3), lambda: torch.tensor(0.5), lambda: torch.empty(0),
    lambda: torch.ones(1).expand(10**11), lambda: torch.zeros(1).expand(10**5, 10**5),
    lambda: torch.eye(3).to_sparse(),
    lambda: torch.full((8,), math.nan), lambda: torch.ones(8, dtype=torch.complex64),
    lambda: torch.ones(8, dtype=torch.bool),
    lambda: torch.quantize_per_tensor(torch.ones(8), 0.1, 0, torch.qint8), lambda: torch.ones(8,
    dtype=torch.int8),
    lambda: torch.empty(8, device="meta"), lambda: torch.nn.Parameter(torch.ones(8)),
    lambda: torch.ones(8, dtype=torch.float64),
)  # fmt: skip


def tensor_like(numbers: random.Random, values: torch.Tensor) -> torch.Tensor:
    """A tensor that might nearly be taken for another."""
    if values.layout is not torch.strided or values.is_quantized or values.is_meta:
        return torch.ones(2)  # odd already
    if not 0 < values.numel() < 10**6:
        return torch.ones(2)  # odd already
    spoiled = values.clone(memory_format=torch.contiguous_format)
    if spoiled.is_floating_point():
        spoiled.view(-1)[numbers.randrange(spoiled.numel())] = numbers.choice([math.nan, math.inf, 1e38])
    kinds = (
        torch.float16,
        torch.float64,
        torch.bfloat16,
        torch.int64,
        torch.complex64,
        torch.bool,
        torch.float8_e4m3fn,
    )
    options = [
        lambda: spoiled,
        lambda: values.to(numbers.choice(kinds)),
        lambda: values[..., None],
        lambda: values.flatten()[:-1],
        lambda: values.flatten()[:1].expand(values.numel()).view(values.shape),
        lambda: values.transpose(0, -1),
        lambda: values.to_sparse(),
        lambda: values.to("meta"),
    ]
    return numbers.choice(options)() if values.dim() else torch.ones(2)


def spoil(numbers: random.Random, content: dict[str, Any]) -> None:
    """Put something odd somewhere, take something away, or add something."""
    table, key = content, numbers.choice(list(content))
    while isinstance(table[key], dict) and table[key] and numbers.random() < 0.85:
        table = table[key]
        key = numbers.choice(list(table))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = numbers.random()
        if kind < 0.1:
            del table[key]
        elif kind < 0.2:
            table[numbers.choice(["x", 3, "l0.weight", "__class__", ""])] = numbers.choice(ODD)()
        elif isinstance(table[key], torch.Tensor) and kind < 0.8:
            table[key] = tensor_like(numbers, table[key])
        elif isinstance(table[key], list) and table[key] and kind < 0.7:
            table[key] = list(table[key])
            table[key][numbers.randrange(len(table[key]))] = numbers.choice(ODD)()
        else:
            table[key] = numbers.choice(ODD)()
