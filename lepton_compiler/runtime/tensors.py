"""NumPy arrays as the tensors of ``lepton.h``, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lepton_compiler.core.abi import ALIGNMENT, DTYPES, MAX_RANK
from lepton_compiler.core.errors import InputError, RunError
from lepton_compiler.core.manifest import TensorEntry
from lepton_compiler.runtime.library import CTensor

_NAMES = {code: name for name, code in DTYPES.items()}


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy type of an element type's name; bfloat16 comes from ``ml_dtypes``."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def aligned_empty(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """An uninitialised C-contiguous array that starts at a multiple of ``ALIGNMENT`` bytes.

    Raises:
        RunError: There is not that much memory.
    """
    size = dtype.itemsize
    for dim in shape:
        size *= dim
    try:
        memory = np.empty(size + ALIGNMENT, dtype=np.uint8)
    except (MemoryError, ValueError) as error:
        # NumPy's ValueError: a size beyond what it can represent.
        raise RunError(
            f"out of memory: an array of shape {format_shape(shape)} and dtype {dtype} needs {size} bytes"
        ) from error
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def collect_inputs(
    entries: Sequence[TensorEntry], arrays: Sequence[np.ndarray], named: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Brings positional and named inputs into the model's order, as C-contiguous arrays of the right dtype and rank.

    Raises:
        InputError: An input is missing, given twice or unknown, or its dtype or rank is wrong.
    """
    names = [entry.name for entry in entries]
    if len(arrays) > len(names):
        raise InputError(f"the model has {len(names)} inputs ({', '.join(names)}), given {len(arrays)}")
    given = dict(zip(names, arrays, strict=False))
    for name, array in named.items():
        if name not in names:
            raise InputError(f'the model has no input "{name}"; its inputs are {", ".join(names) or "none"}')
        if name in given:
            raise InputError(f'input "{name}" is given twice, by position and by name')
        given[name] = array
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(f"no value is given for input {', '.join(missing)}")
    return [_check_input(entry, np.asarray(given[entry.name])) for entry in entries]


def _check_input(entry: TensorEntry, array: np.ndarray) -> np.ndarray:
    expected = numpy_dtype(entry.dtype)
    if array.dtype != expected:
        raise InputError(
            f'input "{entry.name}" must have dtype {entry.dtype}, given {array.dtype}: '
            f'convert it with .astype("{entry.dtype}")'
        )
    if array.ndim != len(entry.shape):
        raise InputError(
            f'input "{entry.name}" must have rank {len(entry.shape)} (shape {format_shape(entry.shape)}), '
            f"given shape {format_shape(array.shape)}"
        )
    if array.flags.c_contiguous:
        return array
    copy = aligned_empty(array.shape, expected)
    copy[...] = array
    return copy


def format_shape(shape: Sequence[int | str]) -> str:
    """``[batch, 3]``."""
    return f"[{', '.join(map(str, shape))}]"


def describe(entry: TensorEntry, array: np.ndarray, out: CTensor) -> None:
    """Lets ``out`` point at a C-contiguous array, which must outlive it."""
    out.data = array.ctypes.data
    out.dtype = DTYPES[entry.dtype]
    out.rank = array.ndim
    out.shape[: array.ndim] = array.shape
    out.bytes = array.nbytes


def allocate(tensor: CTensor) -> np.ndarray:
    """A new array of the shape and dtype that ``tensor`` describes; its data is made to point there."""
    array = aligned_empty(tensor.shape[: tensor.rank], numpy_dtype(_NAMES[tensor.dtype]))
    tensor.data = array.ctypes.data
    return array


def check_entry(kind: str, entry: TensorEntry) -> str | None:
    """What keeps an entry of a manifest from being passed through ``lepton.h``; None where nothing does."""
    if entry.dtype not in DTYPES:
        return f'{kind} "{entry.name}" has the unknown dtype {entry.dtype}'
    if len(entry.shape) > MAX_RANK:
        return f'{kind} "{entry.name}" has {len(entry.shape)} dimensions, more than {MAX_RANK}'
    return None
