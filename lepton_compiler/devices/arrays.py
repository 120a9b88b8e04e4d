"""Arrays that a device works on: types, contents made from a seed or sent from here, and the keys that name them."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from functools import cached_property

import ml_dtypes
import numpy as np

from lepton_compiler.core.abi import DTYPES, MAX_RANK
from lepton_compiler.core.errors import UserError
from lepton_compiler.devices.protocol import PayloadReader, ProtocolError

_DTYPE_NAMES = {code: name for name, code in DTYPES.items()}
_FLOATS = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class ArrayType:
    """Element type, by its name in ``core.abi.DTYPES``, and shape."""

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"devices have no arrays of {self.dtype}; they have {', '.join(DTYPES)}")
        if len(self.shape) > MAX_RANK:
            raise UserError(f"devices have arrays of up to {MAX_RANK} dimensions, not {len(self.shape)}")

    @property
    def numpy_dtype(self) -> np.dtype:
        """NumPy's type of the elements."""
        return np.dtype(ml_dtypes.bfloat16 if self.dtype == "bfloat16" else self.dtype)

    @property
    def bytes(self) -> int:
        """Size of the array."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize

    def encode(self) -> bytes:
        """As payloads hold it: code, rank, dimensions."""
        return struct.pack(f"<BB{len(self.shape)}Q", DTYPES[self.dtype], len(self.shape), *self.shape)

    @classmethod
    def decode(cls, reader: PayloadReader) -> ArrayType:
        """Reads what ``encode`` writes.

        Raises:
            ProtocolError: It is no type.
        """
        code, rank = reader.u8(), reader.u8()
        if code not in _DTYPE_NAMES or rank > MAX_RANK:
            raise ProtocolError(f"the device sent an array of type {code} and rank {rank}, which there is none of")
        return cls(_DTYPE_NAMES[code], tuple(reader.u64() for _ in range(rank)))


@dataclass(frozen=True)
class SeededArray:
    """An array that every side computes for itself.

    Element ``i`` comes from output ``i`` of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
    Generators, 2014), started at ``seed``. With ``u`` its 64 bits:

    * floats: ``low + (high - low) * (u >> 11) * 2**-53`` in double, rounded to the type; 16-bit ones by way of float32;
    * integers and bool: ``low + u % (high - low + 1)``.

    Attributes:
        type: Type and shape.
        seed: 64 bits.
        low: Smallest value.
        high: Floats stay below it, but for rounding; integers reach it.
    """

    type: ArrayType
    seed: int
    low: int | float = -1
    high: int | float = 1

    def recipe(self) -> bytes:
        """The payload of a request to generate it."""
        form = "<Qdd" if self._is_float else "<QQQ"
        bounds = (self.low, self.high) if self._is_float else (int(self.low) % 2**64, int(self.high) % 2**64)
        return self.type.encode() + struct.pack(form, self.seed % 2**64, *bounds)

    @cached_property
    def key(self) -> bytes:
        """What the device finds it by."""
        return hashlib.sha256(b"lepton-recipe" + self.recipe()).digest()

    def values(self) -> np.ndarray:
        """The same numbers here."""
        bits = _splitmix64(self.seed % 2**64, math.prod(self.type.shape))
        if self._is_float:
            unit = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
            flat = np.float64(self.low) + (np.float64(self.high) - np.float64(self.low)) * unit
            # 16-bit types are rounded twice, as the device does.
            if self.type.numpy_dtype.itemsize == 2:
                flat = flat.astype(np.float32)
        else:
            span = (int(self.high) - int(self.low) + 1) % 2**64
            offset = bits % np.uint64(span) if span else bits
            flat = offset + np.uint64(int(self.low) % 2**64)
        with np.errstate(over="ignore"):  # what a 16-bit type can't hold becomes infinite, there as well
            return flat.astype(self.type.numpy_dtype).reshape(self.type.shape)

    @property
    def _is_float(self) -> bool:
        return self.type.dtype in _FLOATS


def _splitmix64(seed: int, count: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class HostArray:
    """An array whose contents are here and are sent once."""

    values: np.ndarray

    @cached_property
    def type(self) -> ArrayType:
        """Type and shape."""
        return ArrayType(str(self.values.dtype), self.values.shape)

    @cached_property
    def data(self) -> bytes:
        """Its elements, row-major and little-endian."""
        little = self.values.dtype.newbyteorder("<") if self.values.dtype.isbuiltin == 1 else self.values.dtype
        return np.ascontiguousarray(self.values, little).tobytes()

    @cached_property
    def key(self) -> bytes:
        """What the device finds it by."""
        return hashlib.sha256(b"lepton-array" + self.type.encode() + self.data).digest()


@dataclass(frozen=True)
class StoredArray:
    """An output that the device has kept; it is lost when the agent ends."""

    type: ArrayType
    key: bytes


ArraySource = SeededArray | HostArray | StoredArray
"""Where an array on a device comes from."""
