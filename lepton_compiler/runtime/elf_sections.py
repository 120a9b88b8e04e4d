"""Finds sections in an ELF file by name, trusting nothing that the file says.

Format: System V ABI, chapter 4 "Object Files"; only little-endian files, which is what every target here has.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from lepton_compiler.core.errors import ArtifactError

ELF_MAGIC = b"\x7fELF"
"""How every such file begins."""
SHARED_OBJECT = 3
"""``e_type`` of a shared library."""

_NO_BYTES_IN_FILE = 8
_MAX_NAME_TABLE_BYTES = 1 << 20


@dataclass(frozen=True)
class _Layout:
    """The fields read here, for one word size: ``struct`` formats of the header after ``e_ident`` and of a section."""

    header: struct.Struct
    section: struct.Struct


# The header: type, machine, version, entry, program headers, section headers, flags, header size, size and number of
# program headers, size and number of section headers, index of the section that holds the names.
# A section: name, type, flags, address, offset, size, link, info, alignment, entry size.
_LAYOUTS = {
    1: _Layout(struct.Struct("<HHIIIIIHHHHHH"), struct.Struct("<IIIIIIIIII")),
    2: _Layout(struct.Struct("<HHIQQQIHHHHHH"), struct.Struct("<IIQQQQIIQQ")),
}
_WORD_BITS = {1: 32, 2: 64}
_IDENTITY_BYTES = 16


@dataclass(frozen=True)
class Section:
    """Where a section's bytes lie in the file."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class ElfFile:
    """What the headers of an ELF file say; every section lies inside of the file."""

    type: int
    machine: int
    word_bits: int
    sections: tuple[Section, ...]

    def section(self, name: str) -> Section:
        """Finds the one section of that name.

        Raises:
            ArtifactError: There is none, or more than one.
        """
        found = [section for section in self.sections if section.name == name]
        if len(found) != 1:
            raise ArtifactError(f"it has {len(found)} sections {name}, one is expected: it is no compiled model")
        return found[0]


def read_elf(file: BinaryIO) -> ElfFile:
    """Reads the headers of an ELF file.

    Raises:
        ArtifactError: It is no ELF file, or a header leads out of the file.
    """
    file_bytes = os.fstat(file.fileno()).st_size
    identity = _read(file, 0, _IDENTITY_BYTES, file_bytes, "the ELF header")
    if identity[: len(ELF_MAGIC)] != ELF_MAGIC:
        raise ArtifactError("it is no shared library: the ELF signature is missing")
    layout = _LAYOUTS.get(identity[4])
    if layout is None or identity[5] != 1:
        raise ArtifactError("it is an ELF file of an unknown word size or byte order")
    header = _read(file, _IDENTITY_BYTES, layout.header.size, file_bytes, "the ELF header")
    kind, machine, _, _, _, table, _, _, _, _, entry_bytes, count, name_index = layout.header.unpack(header)
    if entry_bytes != layout.section.size or name_index >= count:
        raise ArtifactError("its ELF header describes no valid section table")
    raw = _read(file, table, entry_bytes * count, file_bytes, "the section table")
    entries = list(layout.section.iter_unpack(raw))
    names = _read_names(file, entries[name_index], file_bytes)
    sections = tuple(_section(entry, names, file_bytes) for entry in entries if entry[1] != _NO_BYTES_IN_FILE)
    return ElfFile(kind, machine, _WORD_BITS[identity[4]], sections)


def _read_names(file: BinaryIO, entry: tuple[int, ...], file_bytes: int) -> bytes:
    offset, size = entry[4], entry[5]
    if size > _MAX_NAME_TABLE_BYTES:
        raise ArtifactError(f"its table of section names is too large: {size} bytes")
    return _read(file, offset, size, file_bytes, "the table of section names")


def _section(entry: tuple[int, ...], names: bytes, file_bytes: int) -> Section:
    name_offset, offset, size = entry[0], entry[4], entry[5]
    end = names.find(b"\0", name_offset)
    if name_offset >= len(names) or end < 0:
        raise ArtifactError("a section's name lies outside of the table of names")
    name = names[name_offset:end].decode("ascii", errors="replace")
    if offset + size > file_bytes:
        raise ArtifactError(f"section {name} ends at byte {offset + size}, the file at {file_bytes}: it is truncated")
    return Section(name, offset, size)


def _read(file: BinaryIO, offset: int, size: int, file_bytes: int, what: str) -> bytes:
    if offset + size > file_bytes:
        raise ArtifactError(f"{what} ends at byte {offset + size}, the file at {file_bytes}: it is truncated")
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise ArtifactError(f"{what} can't be read: the file became shorter meanwhile")
    return data
