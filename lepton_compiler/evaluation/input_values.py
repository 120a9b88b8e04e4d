"""Values to feed a model with: shapes for its symbolic dimensions, seeded random tensors, and checks of given ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import ml_dtypes
import numpy as np

from lepton_compiler.core.errors import InputError
from lepton_compiler.core.options import Dim
from lepton_compiler.evaluation.machine import memory_bytes
from lepton_compiler.frontend.input_shapes import item_text

_EXTENSION_TYPES = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")


class InputTensor(Protocol):
    """What a model says of an input: the manifest's entry and the importer's both are one."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def dtype(self) -> str:
        """NumPy name of its element type."""
        ...

    @property
    def shape(self) -> tuple[Dim, ...]:
        """Its dimensions: sizes, and names of symbolic ones."""
        ...


def numpy_dtype(name: str) -> np.dtype:
    """NumPy's type for a manifest's type name, such as ``"float32"`` or ``"bfloat16"``.

    Raises:
        InputError: Tensors of this type can't be made.
    """
    try:
        return np.dtype(getattr(ml_dtypes, name) if name in _EXTENSION_TYPES else name)
    except TypeError:
        raise InputError(f"inputs of type {name} can't be made here; give the input with --inputs") from None


def fixed_shapes(inputs: Sequence[InputTensor], given: Mapping[str, Sequence[Dim]]) -> dict[str, tuple[int, ...]]:
    """Fixed shapes of all inputs, their symbolic dimensions filled in from ``given``.

    A symbol that ``given`` fixes in one input is fixed in all.

    Raises:
        InputError: ``given`` names an unknown input, has another rank, changes a fixed dimension, gives one symbol two
            sizes, or leaves a symbol open; the message names input and dimension.
    """
    known = {entry.name: entry for entry in inputs}
    symbols: dict[str, int] = {}
    for name, shape in given.items():
        if name not in known:
            raise InputError(f'--input-shapes names "{name}", which is no input; inputs: {", ".join(known)}')
        _bind_symbols(known[name], shape, symbols)
    open_inputs = [entry for entry in inputs if any(isinstance(d, str) and d not in symbols for d in entry.shape)]
    if open_inputs:
        wanted = " ".join(item_text(entry.name, entry.shape) for entry in open_inputs)
        quote = "'" if '"' in wanted else '"'
        raise InputError(
            f"symbolic dimensions need sizes: give --input-shapes {quote}{wanted}{quote} with numbers for the names"
        )
    return {entry.name: tuple(symbols[d] if isinstance(d, str) else d for d in entry.shape) for entry in inputs}


def _bind_symbols(entry: InputTensor, shape: Sequence[Dim], symbols: dict[str, int]) -> None:
    if len(shape) != len(entry.shape):
        raise InputError(
            f'--input-shapes gives input "{entry.name}" {len(shape)} dimensions, it has {len(entry.shape)}: '
            f"{_bracketed(entry.shape)}"
        )
    for axis, (wanted, size) in enumerate(zip(entry.shape, shape, strict=True)):
        if isinstance(size, str):
            if size != wanted:
                raise InputError(f'dimension {axis} of input "{entry.name}" needs a number here, not "{size}"')
        elif isinstance(wanted, int):
            if size != wanted:
                raise InputError(f'dimension {axis} of input "{entry.name}" is fixed to {wanted}, not {size}')
        elif symbols.setdefault(wanted, size) != size:
            raise InputError(
                f'dimension "{wanted}" is {symbols[wanted]} elsewhere and {size} in input "{entry.name}", axis {axis}'
            )


def _bracketed(shape: Sequence[Dim]) -> str:
    return f"[{','.join(str(dim) for dim in shape)}]"


def random_values(
    inputs: Sequence[InputTensor], shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, np.ndarray]:
    """Random tensors for every input; the same seed gives the same values, whatever the other inputs are.

    Floating-point inputs are standard normal. Integers wider than 8 bits are 0 or 1, which is in range for token
    numbers, masks and indices of any model; 8-bit ones use their whole range.

    Raises:
        InputError: This machine's memory can't hold them, or there are no random values of an input's type.
    """
    needed = sum(math.prod(shapes[entry.name]) * numpy_dtype(entry.dtype).itemsize for entry in inputs)
    available = memory_bytes()
    if available is not None and needed > available:
        raise InputError(
            f"the inputs take {needed / 2**30:.1f} GiB, this machine has {available / 2**30:.1f} GiB: "
            "give smaller sizes"
        )
    return {
        entry.name: _random_tensor(np.random.default_rng([seed, position]), entry, shapes[entry.name])
        for position, entry in enumerate(inputs)
    }


def _random_tensor(generator: np.random.Generator, entry: InputTensor, shape: tuple[int, ...]) -> np.ndarray:
    dtype = numpy_dtype(entry.dtype)
    if dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize > 1):
        return generator.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    if dtype.kind == "f" or entry.dtype in _EXTENSION_TYPES:
        return generator.standard_normal(shape, dtype=np.float32).astype(dtype)
    raise InputError(f'input "{entry.name}" has type {entry.dtype}, for which there are no random values; use --inputs')


def check_values(inputs: Sequence[InputTensor], values: Mapping[str, np.ndarray]) -> None:
    """Checks given tensors against the model's inputs before anything runs.

    Raises:
        InputError: Names differ, or a type, rank or size; the message names the input, what it is and what it must be.
    """
    names = [entry.name for entry in inputs]
    missing = [name for name in names if name not in values]
    unknown = [name for name in values if name not in names]
    if missing or unknown:
        parts = [f"missing: {', '.join(missing)}"] if missing else []
        parts += [f"unknown: {', '.join(unknown)}"] if unknown else []
        raise InputError(f"the given tensors don't match the model's inputs ({', '.join(names)}); {'; '.join(parts)}")
    symbols: dict[str, int] = {}
    for entry in inputs:
        value = values[entry.name]
        if value.dtype != numpy_dtype(entry.dtype):
            conversion = f'convert it with .astype("{entry.dtype}")'
            raise InputError(f'input "{entry.name}" must be {entry.dtype}, not {value.dtype}; {conversion}')
        fits = value.ndim == len(entry.shape) and all(
            size == wanted if isinstance(wanted, int) else symbols.setdefault(wanted, size) == size
            for size, wanted in zip(value.shape, entry.shape, strict=True)
        )
        if not fits:
            bound = "".join(f", {name} = {size}" for name, size in symbols.items() if name in entry.shape)
            raise InputError(
                f'input "{entry.name}" has shape {_bracketed(value.shape)}, the model takes '
                f"{_bracketed(entry.shape)}{bound}"
            )


def check_given_shapes(
    inputs: Sequence[InputTensor], given: Mapping[str, Sequence[Dim]], values: Mapping[str, np.ndarray]
) -> None:
    """Checks that tensors have the shapes that the user gave as well.

    Raises:
        InputError: ``given`` does not fit the inputs, or says another size than a tensor has.
    """
    shapes = {name: value.shape for name, value in values.items()}
    fixed_shapes(inputs, {**shapes, **{name: shape for name, shape in given.items() if name not in shapes}})
    for name, shape in given.items():
        have = shapes[name]
        if len(have) != len(shape) or any(isinstance(d, int) and d != h for d, h in zip(shape, have, strict=True)):
            raise InputError(
                f'--input-shapes gives input "{name}" the shape {_bracketed(shape)}, the file of --inputs '
                f"{_bracketed(have)}: leave one of them out"
            )


def non_finite_counts(value: np.ndarray) -> tuple[int, int]:
    """How many NaN and how many infinite elements ``value`` has."""
    if value.dtype.kind in "biu":
        return 0, 0
    wide = value.astype(np.float32) if value.dtype.kind != "f" else value
    return int(np.count_nonzero(np.isnan(wide))), int(np.count_nonzero(np.isinf(wide)))
