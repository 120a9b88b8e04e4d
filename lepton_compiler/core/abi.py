"""What Python and C agree on: limits, element types and the weights file of ``lepton.h`` and ``model.h``.

A test reads the headers and compares.
"""

from __future__ import annotations

API_VERSION = 1
"""Version of the header that this package speaks; ``LEPTON_API_VERSION``."""

MAX_RANK = 8
"""Most dimensions of an input or output; ``LEPTON_MAX_RANK``."""

MAX_THREADS = 1024
"""Most threads of a session; ``LEPTON_MAX_THREADS``."""

MAX_SIZE = (1 << 31) - 1
"""Largest size of one dimension: index arithmetic is simplified under the assumption that sizes are no larger."""

MAX_TENSOR_BYTES = 1 << 47
"""No tensor is larger: what a program can address on x86-64 and, with 48-bit addresses, on AArch64."""

ALIGNMENT = 64
"""Start of every tensor in bytes, for kernels use aligned vector loads; ``LEPTON_ALIGNMENT``."""

DTYPES = {
    "float32": 1,
    "float64": 2,
    "float16": 3,
    "bfloat16": 4,
    "int8": 5,
    "int16": 6,
    "int32": 7,
    "int64": 8,
    "uint8": 9,
    "uint16": 10,
    "uint32": 11,
    "uint64": 12,
    "bool": 13,
}
"""``lepton_dtype`` by name."""

VALUE_ERROR = "InputError"
"""Kind of the errors that kernels raise for values that the caller passed; ``LEPTON_VALUE_ERROR``."""

WEIGHTS_MAGIC = b"Lepton weights 1"
"""Begins what follows the weights in a file of their own; ``LEPTON_WEIGHTS_MAGIC``."""

WEIGHTS_TRAILER_BYTES = 64
"""``LEPTON_WEIGHTS_TRAILER_BYTES``."""


def weights_trailer(sha256: str) -> bytes:
    """The 64 bytes that end a weights file: the magic, zeros up to byte 32, and the SHA-256 of the weights before them.

    Args:
        sha256: The digest in hexadecimal.
    """
    return WEIGHTS_MAGIC.ljust(WEIGHTS_TRAILER_BYTES - 32, b"\0") + bytes.fromhex(sha256)
