"""Lays a model's constants one after the other into one block of weights; equal ones are kept once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm

from lepton_compiler.build.plan_memory import align

PAGE_BYTES = 4096
"""Alignment of the block in memory."""
_LARGE_BYTES = 64 << 10
_WITHIN_PAGE = 192
"""Where in a page large constants begin: off its beginning, where large tensors of the arena are. Products of Winograd
layers, whose weights come from memory, took up to 1.7 times as long at other places, by what happened to lie in front
of them in the library; of six places that were tried on a Zen 5 this one was the fastest."""


@dataclass(frozen=True)
class ConstantsPool:
    """Offsets of the constants in bytes, in the order given; size and SHA-256 of the block."""

    offsets: tuple[int, ...]
    size_bytes: int
    sha256: str


def write_constants(constants: Iterable[tvm.runtime.Tensor], path: Path) -> ConstantsPool:
    """Writes the block to ``path``, one constant at a time, so that a large model is never in memory twice."""
    offsets: list[int] = []
    offset_of: dict[tuple[bytes, int], int] = {}
    whole = hashlib.sha256()
    end = 0
    with path.open("wb") as file:

        def append(data: memoryview | bytes) -> None:
            file.write(data)
            whole.update(data)

        for constant in constants:
            data = _bytes_of(constant)
            key = (hashlib.sha256(data).digest(), data.nbytes)
            if key not in offset_of:
                start = _start(end, data.nbytes)
                append(bytes(start - end))
                offset_of[key] = start
                append(data)
                end = start + data.nbytes
            offsets.append(offset_of[key])
        # Kernels may read a whole vector at the end; an empty array is no C.
        append(bytes(align(end + 1) - end))
    return ConstantsPool(tuple(offsets), align(end + 1), whole.hexdigest())


def _start(end: int, size: int) -> int:
    """Where a constant of ``size`` bytes begins behind ``end``."""
    start = align(end)
    return start + (_WITHIN_PAGE - start) % PAGE_BYTES if size >= _LARGE_BYTES else start


def _bytes_of(constant: tvm.runtime.Tensor) -> memoryview:
    array = np.ascontiguousarray(constant.numpy())
    return memoryview(array.reshape(-1).view(np.uint8))
