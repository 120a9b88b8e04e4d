"""The ELF reader: right on real files, and never more than an ArtifactError on others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_library import LibraryBuilder

from lepton_compiler.core.errors import ArtifactError
from lepton_compiler.runtime.elf_sections import read_elf


@pytest.mark.parametrize(
    ("architecture", "machine", "bits"), [("x86_64", 62, 64), ("aarch64", 183, 64), ("armv7l", 40, 32)]
)
def test_reads_every_word_size(builder: LibraryBuilder, architecture: str, machine: int, bits: int) -> None:
    path = builder.build("affine", architecture=architecture)
    with path.open("rb") as file:
        elf = read_elf(file)
        assert (elf.type, elf.machine, elf.word_bits) == (3, machine, bits)
        assert elf.section(".lepton_digest").size == 32
        manifest = elf.section(".lepton_manifest")
        file.seek(manifest.offset)
        assert file.read(2) == b'{"'
    assert {".text", ".dynsym", ".shstrtab"} <= {section.name for section in elf.sections}


def test_agrees_with_readelf(affine: Path) -> None:
    try:
        listing = subprocess.run(["readelf", "-SW", str(affine)], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("readelf is not installed")
    with affine.open("rb") as file:
        section = read_elf(file).section(".lepton_manifest")
    fields = next(line.split("]")[1].split() for line in listing.splitlines() if ".lepton_manifest" in line)
    assert (section.offset, section.size) == (int(fields[3], 16), int(fields[4], 16))


def test_section_must_be_the_only_one_of_its_name(affine: Path) -> None:
    with affine.open("rb") as file, pytest.raises(ArtifactError, match=r"it has 0 sections \.absent, one is expected"):
        read_elf(file).section(".absent")


@pytest.fixture(scope="module")
def scratch_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elf") / "damaged.so"


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_headers_raise_nothing_else(affine: Path, scratch_file: Path, data: st.DataObject) -> None:
    damaged = bytearray(affine.read_bytes())
    table = int.from_bytes(damaged[0x28:0x30], "little")
    places = st.one_of(st.integers(0, 63), st.integers(table, len(damaged) - 1))
    for position in data.draw(st.lists(places, min_size=1, max_size=6)):
        damaged[position] = data.draw(st.integers(0, 255))
    scratch_file.write_bytes(bytes(damaged))
    with scratch_file.open("rb") as file:
        try:
            elf = read_elf(file)
        except ArtifactError as error:
            assert str(error)
            return
    assert all(section.offset + section.size <= len(damaged) for section in elf.sections)
