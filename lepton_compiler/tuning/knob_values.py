"""Knobs of schedules as flat values by name, and back.

Knobs are frozen dataclasses such as ``PackedConvolutionKnobs``. A field that is itself a dataclass becomes one value a
field of it, named with a dot: ``PackedConvolutionKnobs(PixelTile(2, 1, 6), chunks=4)`` is
``{"tile.vectors": 2, "tile.rows": 1, "tile.columns": 6, "chunks": 4}``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from lepton_compiler.core.errors import InternalError, TuningLogError
from lepton_compiler.tuning.record import KnobValue

Knobs = TypeVar("Knobs")

_PLAIN = (int, float, str, bool, type(None))


def to_values(knobs: Any) -> dict[str, KnobValue]:
    """Knob values by name, in the order of the fields."""
    values: dict[str, KnobValue] = {}
    for name, hint in _fields(type(knobs)):
        value = getattr(knobs, name)
        if dataclasses.is_dataclass(value):
            values.update({f"{name}.{inner}": item for inner, item in to_values(value).items()})
        else:
            values[name] = value.value if isinstance(value, Enum) else value
        if not _has_type(value, hint):
            raise InternalError(f"the knob {type(knobs).__name__}.{name} is {value!r}, which is no {_words(hint)}")
    return values


def from_values(kind: type[Knobs], values: Mapping[str, KnobValue]) -> Knobs:
    """Knobs of class ``kind``.

    Raises:
        TuningLogError: A knob is missing, unknown, or of the wrong type; the message names it.
    """
    expected = set(_names(kind))
    missing, unknown = sorted(expected - values.keys()), sorted(values.keys() - expected)
    if missing or unknown:
        faults = [f"{words} {', '.join(names)}" for words, names in (("no", missing), ("unknown", unknown)) if names]
        raise TuningLogError(f"the knobs are not those of {kind.__name__}: {'; '.join(faults)}")
    return _build(kind, values, "")


def _build(kind: type[Knobs], values: Mapping[str, KnobValue], prefix: str) -> Knobs:
    fields = {}
    for name, hint in _fields(kind):
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            fields[name] = _build(hint, values, f"{prefix}{name}.")
            continue
        fields[name] = _read(hint, values[prefix + name], prefix + name, kind)
    return kind(**fields)


def _read(hint: Any, value: KnobValue, name: str, kind: type) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum) and value in [member.value for member in hint]:
        return hint(value)
    if not _has_type(value, hint):
        raise TuningLogError(f"the knob {name} of {kind.__name__} is {value!r}, which is no {_words(hint)}")
    return value


@cache
def _fields(kind: type) -> tuple[tuple[str, Any], ...]:
    """Names and types of a knob class's fields.

    Raises:
        InternalError: A field can't stand in a log.
    """
    if not dataclasses.is_dataclass(kind):
        raise InternalError(f"{kind.__name__} is no class of knobs: knobs are dataclasses")
    hints = typing.get_type_hints(kind)
    fields = tuple((field.name, hints[field.name]) for field in dataclasses.fields(kind))
    for name, hint in fields:
        if not _is_supported(hint):
            raise InternalError(f"the knob {kind.__name__}.{name} can't stand in a tuning log: it is a {_words(hint)}")
    return fields


def _names(kind: type) -> Iterator[str]:
    for name, hint in _fields(kind):
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from (f"{name}.{inner}" for inner in _names(hint))
        else:
            yield name


def _is_supported(hint: Any) -> bool:
    """Whether a field's values are plain ones, also in a union, an enumeration's, or those of knobs of their own."""
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or issubclass(hint, Enum)):
        return True
    return all(member in _PLAIN for member in _members(hint))


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type that it is."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _has_type(value: Any, hint: Any) -> bool:
    """Whether a value is exactly of that type: JSON's true is no number here. An integer serves as a float."""
    return any(type(value) is member or (member is float and type(value) is int) for member in _members(hint))


def _words(hint: Any) -> str:
    return " or ".join(getattr(member, "__name__", str(member)) for member in _members(hint))
