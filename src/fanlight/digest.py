"""The SHA-256 of plain values and tensors, by which a checkpoint knows that nothing in it has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...


def sha256_of(value: Any) -> str:
    """The SHA-256 of a value: of the types, lengths and contents of all that is in it, in its order.

    A tensor counts by its type, shape, strides and all of the memory that it lies in, as PyTorch saves it; so it
    takes no longer than its file is large, whatever its shape says. Kinds of mappings are not told apart.

    Args:
        value: mappings, lists, tuples, tensors on any device, and values that their ``repr`` tells whole.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: _Hash, value: Any) -> None:
    if isinstance(value, Tensor):
        place = tuple(value.shape), value.stride(), value.storage_offset()
        _add(digest, ("tensor", str(value.dtype), *place))
        memory = torch.empty(0, dtype=torch.uint8).set_(value.untyped_storage().cpu())
        digest.update(memory.numpy())
    elif isinstance(value, Mapping):
        digest.update(f"mapping of {len(value)}\n".encode())
        for entry in value.items():
            _add(digest, entry)
    elif isinstance(value, list | tuple):
        digest.update(f"{type(value).__name__} of {len(value)}\n".encode())
        for entry in value:
            _add(digest, entry)
    else:
        digest.update(f"{type(value).__name__} {value!r}\n".encode())
