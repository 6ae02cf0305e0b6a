"""Recognising a Face Alignment Network by its tensors."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fanlight.errors import InputError
from fanlight.model import FAN, FANOptions, Norm

COUNTER = "num_batches_tracked"  # of batch norms; old weights lack it, and nothing in use reads it


@dataclass(frozen=True)
class Shape:
    """What the tensors of a network show of its options; see ``FANOptions``."""

    points: int
    stacks: int
    features: int
    depth: int
    norm: Norm
    stem_features: int
    stem_kernel: int


def recognise(tensors: Mapping[str, Tensor]) -> Shape:
    """Find out the shape of a network.

    Where tensors are missing or contradict each other, it is the likeliest one; ``fitting`` finds what is wrong.

    Raises:
        InputError: the tensors are not those of a Face Alignment Network.
    """
    stacks = _numbers(tensors, r"(?:m|top_m_|conv_last|bn_end|l)(\d+)\.")
    levels = _numbers(tensors, r"m\d+\.b[13]_(\d+)\.")
    if not stacks or not levels:
        some = ", ".join(list(tensors)[:4])
        raise InputError(
            f"holds another network, with {len(tensors)} tensors such as {some}; expected those of a Face "
            "Alignment Network, such as conv1.weight, m0.b1_4.conv1.weight and l0.weight"
        )
    return Shape(
        points=_usual(tensors, r"l\d+\.weight", 0, 68),
        stacks=max(stacks) + 1,
        features=_usual(tensors, r"(conv_last|l|bl)\d+\.weight", 1, 256),
        depth=max(levels),
        norm="batch" if any(name.endswith("running_mean") for name in tensors) else "instance",
        stem_features=_usual(tensors, r"conv1\.weight", 0, 64),
        stem_kernel=_usual(tensors, r"conv1\.weight", 2, 7),
    )


def fitting(tensors: Mapping[str, Tensor], options: FANOptions) -> dict[str, Tensor]:
    """The tensors as a network of these options takes them, in its order.

    Raises:
        InputError: one is missing, too many, of another shape, or does not hold numbers; all are named.
    """
    with torch.device("meta"):
        expected = FAN(options).state_dict()
    missing = [name for name in expected if name not in tensors and not name.endswith(COUNTER)]
    unknown = [name for name in tensors if name not in expected]
    problems = []
    if missing:
        problems.append(f"missing: {', '.join(missing)}")
    if unknown:
        problems.append(f"not part of such a network: {', '.join(unknown)}")
    for name in expected.keys() & tensors.keys():
        problem = _problem(tensors[name], expected[name])
        if problem:
            problems.append(f"{name}: {problem}")
    if problems:
        raise InputError.collect(
            sorted(problems, key=lambda problem: problem.startswith(("missing", "not part")), reverse=True),
            f"does not hold a whole Face Alignment Network of {options.stacks} stacks, {options.features} "
            f"features and {options.points} points; copy it again, or give the file of such a network:",
        )
    counted = torch.zeros((), dtype=torch.long)
    return {
        name: tensors.get(name, counted).detach().to(like.dtype, copy=True).contiguous()
        for name, like in expected.items()
    }


def _problem(found: Tensor, expected: Tensor) -> str | None:
    """Why a tensor cannot be taken for another."""
    if found.shape != expected.shape:
        return f"has shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    if found.layout is not torch.strided or found.is_quantized or found.is_meta:
        return f"is not a plain tensor ({found.layout}, {found.dtype}, {found.device})"
    is_short = found.is_floating_point() and found.element_size() == 1  # which nothing can be done with
    if found.is_floating_point() != expected.is_floating_point() or found.is_complex() or is_short:
        return f"is of type {found.dtype}, expected {expected.dtype}"
    if not found.isfinite().all():
        return "holds values that are not finite"
    return None


def _numbers(tensors: Mapping[str, Tensor], pattern: str) -> list[int]:
    """The numbers in the names that begin with a pattern; no network has more than two digits of anything."""
    found = (re.match(pattern, name) for name in tensors)
    return [int(match[1]) for match in found if match and len(match[1]) <= 2]


def _usual(tensors: Mapping[str, Tensor], pattern: str, axis: int, otherwise: int) -> int:
    """The size that most of the kernels with such names have along an axis."""
    kernels = (
        values for name, values in tensors.items() if re.fullmatch(pattern, name) and values.dim() == 4
    )
    sizes = [values.shape[axis] for values in kernels]
    return statistics.mode(sizes) if sizes else otherwise
