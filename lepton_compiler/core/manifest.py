"""Manifest: what an artifact says of itself, as JSON in an ELF section of its own.

The runtime reads it from the file's bytes before any code of the library runs, so everything in it is untrusted:
``Manifest.from_json`` checks each field's type and names the first one that is wrong.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from typing import Any

from lepton_compiler.core.errors import ArtifactError

FORMAT = 5
"""Version of the manifest and of the artifact around it; another one is refused."""

MANIFEST_SECTION = ".lepton_manifest"
DIGEST_SECTION = ".lepton_digest"
"""Holds the SHA-256 of the file's bytes with this section's 32 bytes taken as zero."""


@dataclass(frozen=True)
class TensorEntry:
    """An input or output. A dimension is a size, a symbol's name, or in outputs an expression of symbols."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class TargetEntry:
    """The target that the artifact was compiled for."""

    name: str
    architecture: str
    cpu_features: tuple[str, ...]


@dataclass(frozen=True)
class ModelEntry:
    """The model file that the artifact was compiled from."""

    name: str
    sha256: str
    opset: int
    metadata: dict[str, str]


@dataclass(frozen=True)
class WeightsEntry:
    """The weights: embedded, or in a file beside the library with that hash."""

    bytes: int
    file: str | None
    sha256: str


@dataclass(frozen=True)
class MemoryEntry:
    """Planned memory in bytes.

    Attributes:
        arena_bytes: All intermediate tensors together.
        lower_bound_bytes: The least that any layout of the arena could need.
        thread_workspace_bytes: Scratch of one thread's kernels.
        typical_symbol_value: Where the arena depends on symbolic dimensions, what each is taken for in the two
            numbers; None where it does not.
    """

    arena_bytes: int
    lower_bound_bytes: int
    thread_workspace_bytes: int
    typical_symbol_value: int | None


@dataclass(frozen=True)
class TuningEntry:
    """What a tuning log said about a kernel.

    Attributes:
        record: The record, as ``FILE:LINE``.
        gain: How many times as fast as the default its knobs were when they were measured.
        refusal: Why the kernel has its default knobs all the same; empty where it has the record's.
    """

    record: str
    gain: float
    refusal: str

    def __str__(self) -> str:
        if self.refusal:
            return f"not as {self.record} says: {self.refusal}"
        return f"tuned by {self.record}, {self.gain:.2f} times as fast as the default"


@dataclass(frozen=True)
class KernelEntry:
    """One kernel call.

    Attributes:
        name: Symbol of its function.
        nodes: The model nodes that it computes.
        anchor: What dominates its work.
        schedule: The chosen schedule and its knobs.
        flops: Operations of the model's arithmetic, a multiply-add being two: a number, or an expression of symbols;
            None where they can't be counted before the model runs.
        bytes: Bytes of the elements that it reads and writes, each once; a number or an expression like ``flops``.
        operand_type: Element type of what most of its operations read; empty where nobody counted.
        in_place: Over which operand the result is written: one that is read for the last time here and as large. Where
            such an operand is not written over, why not; empty where there is none.
        tuning: Where its knobs come from a tuning log, or should have; None for the default's.
    """

    name: str
    nodes: str
    anchor: str
    schedule: str
    flops: int | str | None
    bytes: int | str | None
    operand_type: str
    in_place: str
    tuning: TuningEntry | None = None


@dataclass(frozen=True)
class PassEntry:
    """What one pass did: pairs of node and sentence."""

    name: str
    stage: str
    rewrites: tuple[tuple[str, str], ...]
    declines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Manifest:
    """Everything that an artifact says of itself."""

    format: int
    compiler_version: str
    precision: str
    versions: dict[str, str]
    model: ModelEntry
    target: TargetEntry
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    symbols: tuple[str, ...]
    weights: WeightsEntry
    memory: MemoryEntry
    kernels: tuple[KernelEntry, ...]
    passes: tuple[PassEntry, ...]

    def to_json(self) -> bytes:
        """UTF-8 JSON with sorted keys: the same manifest gives the same bytes."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Reads and checks a manifest.

        Raises:
            ArtifactError: Not JSON, another format version, or a field is missing or of the wrong type.
        """
        try:
            raw = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"the manifest is not valid JSON: {error}") from error
        if not isinstance(raw, dict):
            raise ArtifactError("the manifest is not a JSON object")
        if raw.get("format") != FORMAT:
            raise ArtifactError(
                f"the manifest has format {raw.get('format')!r}, this version of Lepton reads {FORMAT}: "
                "compile the model again, or load it with the version that compiled it"
            )
        return _read(cls, raw, "manifest")


def _read(expected: Any, value: Any, where: str) -> Any:
    """Converts parsed JSON to the annotated type ``expected``; ``where`` names the field in errors."""
    origin = typing.get_origin(expected)
    if dataclasses.is_dataclass(expected) and isinstance(expected, type):
        return _read_object(expected, value, where)
    if origin is tuple:
        return _read_tuple(typing.get_args(expected), value, where)
    if origin is dict:
        if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return dict(value)
    elif origin in (typing.Union, types.UnionType):
        members = typing.get_args(expected)
        if any(type(value) is member for member in members):
            return value
        inner = next((member for member in members if dataclasses.is_dataclass(member)), None)
        if inner is not None and isinstance(value, dict):
            return _read_object(inner, value, where)
    elif type(value) is expected:
        return value
    raise ArtifactError(f"the manifest's field {where} has a value of the wrong type: {type(value).__name__}")


def _read_object(expected: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ArtifactError(f"the manifest's field {where} is not an object")
    hints = typing.get_type_hints(expected)
    missing = [name for name in hints if name not in value]
    if missing:
        raise ArtifactError(f"the manifest's field {where}.{missing[0]} is missing")
    return expected(**{name: _read(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})


def _read_tuple(members: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ArtifactError(f"the manifest's field {where} is not a list")
    if members[-1] is Ellipsis:
        return tuple(_read(members[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(members) != len(value):
        raise ArtifactError(f"the manifest's field {where} has {len(value)} items, {len(members)} expected")
    return tuple(
        _read(member, item, f"{where}[{i}]") for i, (member, item) in enumerate(zip(members, value, strict=True))
    )
