"""Reads what ``readelf -d`` prints as NEEDED, without needing readelf: the test machine may have no binutils.

System V Application Binary Interface, chapter 5, "Dynamic Section"; little-endian files of both classes.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

PARTS_OF_THE_C_LIBRARY = re.compile(r"lib(c|m|pthread|dl)\.so\.\d+|ld-linux[\w-]*\.so\.\d+")
"""Names of the libraries that every system has."""

_DYNAMIC_SECTION = 6
_DT_NEEDED = 1


def needed_libraries(path: Path) -> list[str]:
    """Names of the shared libraries that the loader must find for ``path``."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise ValueError(f"{path} is not a little-endian ELF file")
    is_64_bit = data[4] == 2
    sections = _sections(data, is_64_bit)
    entry = struct.Struct("<qQ" if is_64_bit else "<iI")
    names = []
    for kind, offset, size, link in sections:
        if kind == _DYNAMIC_SECTION:
            strings = sections[link][1]
            pairs = entry.iter_unpack(data[offset : offset + size])
            names += [_string(data, strings + value) for tag, value in pairs if tag == _DT_NEEDED]
    return names


def _sections(data: bytes, is_64_bit: bool) -> list[tuple[int, int, int, int]]:
    """Type, file offset, size and link of every section."""
    (table,) = struct.unpack_from("<Q", data, 0x28) if is_64_bit else struct.unpack_from("<I", data, 0x20)
    entry_size, count = struct.unpack_from("<HH", data, 0x3A if is_64_bit else 0x2E)
    header = struct.Struct("<IIQQQQI" if is_64_bit else "<IIIIIII")
    rows = (header.unpack_from(data, table + index * entry_size) for index in range(count))
    return [(kind, offset, size, link) for _, kind, _, _, offset, size, link in rows]


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
