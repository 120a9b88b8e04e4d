"""An artifact as a file: reads its manifest and checks it, without running any of its code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from lepton_compiler.core.abi import WEIGHTS_TRAILER_BYTES, weights_trailer
from lepton_compiler.core.errors import ArtifactError
from lepton_compiler.core.manifest import DIGEST_SECTION, MANIFEST_SECTION, Manifest
from lepton_compiler.runtime.elf_sections import SHARED_OBJECT, ElfFile, Section, read_elf
from lepton_compiler.targets.registry import host_architecture, missing_features
from lepton_compiler.targets.spec import Architecture

_DIGEST_BYTES = 32
_CHUNK_BYTES = 1 << 20
# ``e_machine`` of an ELF file (System V ABI, processor supplements).
_MACHINES = {Architecture.X86_64: 62, Architecture.AARCH64: 183, Architecture.ARMV7: 40}


@dataclass(frozen=True)
class ArtifactFile:
    """A compiled library whose bytes are those that the compiler wrote.

    Attributes:
        path: The file, absolute.
        manifest: What it says of itself.
        digest: The 32 bytes that identify it.
    """

    path: Path
    manifest: Manifest
    digest: bytes


def read_manifest(path: str | Path) -> Manifest:
    """Reads the manifest of a compiled library, for whatever machine it was compiled.

    Raises:
        ArtifactError: It is no compiled model, is damaged, or has another format version.
    """
    return read_artifact(path).manifest


def read_artifact(path: str | Path) -> ArtifactFile:
    """Reads and verifies a compiled library, for whatever machine it was compiled.

    Raises:
        ArtifactError: It is no compiled model, is damaged, or has another format version.
    """
    path = Path(path).absolute()
    try:
        with path.open("rb") as file:
            elf = read_elf(file)
            digest = _verify_digest(file, elf)
            manifest = Manifest.from_json(_read_section(file, elf.section(MANIFEST_SECTION)))
        _check_machine(elf, manifest)
    except ArtifactError as error:
        raise ArtifactError(f"{path} can't be loaded: {error}") from error
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror or error}") from error
    return ArtifactFile(path, manifest, digest)


def check_runs_here(artifact: ArtifactFile) -> None:
    """Checks that this machine can run the artifact and that its weights file, where it has one, is in place.

    Raises:
        ArtifactError: It is for another architecture or processor, or its weights file is missing or was changed.
    """
    target = artifact.manifest.target
    host = host_architecture()
    if host is None or target.architecture != host.value:
        raise ArtifactError(
            f"{artifact.path} was compiled for {target.architecture} (target {target.name}), this machine is "
            f"{host.value if host else 'of another kind'}: compile the model with --target native here; "
            "docs/guide/run.md shows how to run it under an emulator"
        )
    missing = missing_features(target.cpu_features)
    if missing:
        raise ArtifactError(
            f"{artifact.path} was compiled for target {target.name}, but this processor lacks {', '.join(missing)}: "
            "compile the model with --target native here"
        )
    _check_weights_file(artifact)


def seal(path: str | Path) -> None:
    """Writes the digest into a library that was just linked, in place.

    Raises:
        ArtifactError: It has no digest section of the right size.
    """
    with Path(path).open("r+b") as file:
        section = _digest_section(read_elf(file))
        digest = _digest(file, section)
        file.seek(section.offset)
        file.write(digest)


def _digest_section(elf: ElfFile) -> Section:
    section = elf.section(DIGEST_SECTION)
    if section.size != _DIGEST_BYTES:
        raise ArtifactError(f"its section {DIGEST_SECTION} has {section.size} bytes instead of {_DIGEST_BYTES}")
    return section


def _verify_digest(file: BinaryIO, elf: ElfFile) -> bytes:
    section = _digest_section(elf)
    written = _read_section(file, section)
    if written != _digest(file, section):
        raise ArtifactError(
            "its digest does not match its bytes: it is damaged or was changed; compile or copy it again"
        )
    return written


def _digest(file: BinaryIO, section: Section) -> bytes:
    """SHA-256 of the file with the bytes of ``section`` taken as zero."""
    hasher = hashlib.sha256()
    file.seek(0)
    for chunk in _chunks(file, section.offset):
        hasher.update(chunk)
    hasher.update(bytes(section.size))
    file.seek(section.offset + section.size)
    for chunk in _chunks(file):
        hasher.update(chunk)
    return hasher.digest()


def _chunks(file: BinaryIO, limit: int | None = None) -> Iterator[bytes]:
    """The file's bytes from where it stands: all, or the next ``limit``."""
    while limit is None or limit > 0:
        chunk = file.read(_CHUNK_BYTES if limit is None else min(limit, _CHUNK_BYTES))
        if not chunk:
            return
        if limit is not None:
            limit -= len(chunk)
        yield chunk


def _read_section(file: BinaryIO, section: Section) -> bytes:
    file.seek(section.offset)
    return file.read(section.size)


def _check_machine(elf: ElfFile, manifest: Manifest) -> None:
    if elf.type != SHARED_OBJECT:
        raise ArtifactError("it is an ELF file, but no shared library")
    expected = {architecture.value: machine for architecture, machine in _MACHINES.items()}
    if expected.get(manifest.target.architecture) != elf.machine:
        raise ArtifactError(
            f"its manifest says {manifest.target.architecture}, but its code is for ELF machine {elf.machine}"
        )


def _check_weights_file(artifact: ArtifactFile) -> None:
    weights = artifact.manifest.weights
    if weights.file is None:
        return
    if PurePath(weights.file).name != weights.file or weights.file in ("", ".."):
        raise ArtifactError(f"{artifact.path} names a weights file that is no plain file name: {weights.file!r}")
    path = artifact.path.parent / weights.file
    needed = weights.bytes + WEIGHTS_TRAILER_BYTES
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != needed:
                raise ArtifactError(f"the weights file {path} has {size} bytes, {artifact.path.name} needs {needed}")
            hasher = hashlib.sha256()
            for chunk in _chunks(file, weights.bytes):
                hasher.update(chunk)
            trailer = file.read(WEIGHTS_TRAILER_BYTES)
    except OSError as error:
        raise ArtifactError(
            f"{artifact.path} needs its weights file {path}, which can't be read: {error.strerror or error}"
        ) from error
    if hasher.hexdigest() != weights.sha256 or trailer != weights_trailer(weights.sha256):
        raise ArtifactError(f"the weights file {path} does not belong to {artifact.path.name}, or it is damaged")
