"""Dynamic symbols of a shared library, without needing binutils. Format: System V ABI, chapter 4, "Symbol Table"."""

from __future__ import annotations

import struct
from pathlib import Path

from lepton_compiler.runtime.elf_sections import read_elf

_SYMBOLS = {32: struct.Struct("<IIIBBH"), 64: struct.Struct("<IBBHQQ")}
_NAME = 0
_SECTION_INDEX = {32: 5, 64: 3}


def dynamic_symbols(path: Path) -> tuple[set[str], set[str]]:
    """Names that the library exports, and names that it takes from others."""
    with path.open("rb") as file:
        elf = read_elf(file)
        names, table = (_bytes_of(file, elf.section(name)) for name in (".dynstr", ".dynsym"))
    exported: set[str] = set()
    imported: set[str] = set()
    for symbol in _SYMBOLS[elf.word_bits].iter_unpack(table):
        name = names[symbol[_NAME] : names.index(b"\0", symbol[_NAME])].decode()
        if name:
            (exported if symbol[_SECTION_INDEX[elf.word_bits]] else imported).add(name)
    return exported, imported


def _bytes_of(file, section) -> bytes:
    file.seek(section.offset)
    return file.read(section.size)
