"""A tuning record as one line of JSON, and back: what is written can be read, what is read is checked.

The line is ASCII, its fields stand in a fixed order. Nothing in a line is trusted: every field that this version knows
is checked for its type and range, and fields that it does not know are kept, since a newer minor format may have added
them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from lepton_compiler.core.errors import InternalError
from lepton_compiler.tuning.record import (
    FORMAT,
    MAX_REASON,
    Device,
    KnobValue,
    Outcome,
    Status,
    Times,
    TunedTarget,
    TuningRecord,
    Versions,
)

MAX_LINE_BYTES = 1 << 20
"""A longer line is no record; an ordinary one has less than a thousand bytes."""

_MAX_INTEGER = (1 << 63) - 1
_MAX_TEXT = 200
_MAX_SECONDS = 1e6
_MAX_DEPTH = 50
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_VERSION = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})")
_TIME = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)Z", re.ASCII)
_STATUSES = {status.value: status for status in Status}

Object = dict[str, Any]


class LineError(ValueError):
    """A line is no record; the message says why."""


class NewerFormatError(LineError):
    """A line is a record of a newer major format."""


def format_record(record: TuningRecord) -> bytes:
    """The line, with its newline.

    Raises:
        InternalError: The record could not be read again, for one because a time is not finite.
    """
    try:
        line = json.dumps(as_object(record), allow_nan=False).encode("ascii") + b"\n"
        again = RecordParser().parse(line)
    except ValueError as error:
        raise InternalError(f"a tuning record for {record.workload} can't be written: {error}") from error
    if again != record:
        raise InternalError(f"a tuning record for {record.workload} is read differently than it was written")
    return line


def as_object(record: TuningRecord) -> Object:
    """The record as JSON has it, its fields in the order in which a line has them."""
    outcome, target, device, versions = record.outcome, record.target, record.device, record.versions
    ending: Object = {"status": outcome.status.value}
    if outcome.times is not None:
        times = outcome.times
        ending |= {"median_s": times.median_s, "spread_s": times.spread_s, "samples": times.samples}
    if outcome.reason is not None:
        ending["reason"] = outcome.reason
    return {
        "format": f"{record.format[0]}.{record.format[1]}",
        "workload": record.workload,
        "anchor": record.anchor,
        "knobs": dict(record.knobs),
        "outcome": ending | outcome.extra,
        "target": {"name": target.name, "cpu_features": list(target.cpu_features)} | target.extra,
        "device": {"name": device.name, "processor": device.processor, "cores": device.cores} | device.extra,
        "versions": {"lepton": versions.lepton, "tvm": versions.tvm, "llvm": versions.llvm} | versions.extra,
        "seed": record.seed,
        "time": record.time,
    } | record.extra


class RecordParser:
    """Reads lines. Targets, devices and versions that are alike in many lines become one object each."""

    def __init__(self) -> None:
        self._sections: dict[tuple[Callable[[Object], Any], str], Any] = {}

    def parse(self, line: bytes) -> TuningRecord:
        """One line, with or without its newline.

        Raises:
            NewerFormatError: Its major format is newer than this version's.
            LineError: It is no record.
        """
        if len(line) > MAX_LINE_BYTES:
            raise LineError(f"the line has {len(line)} bytes, a record has at most {MAX_LINE_BYTES}")
        raw = _parse_json(line)
        return TuningRecord(
            format=_take_format(raw),
            workload=_take(raw, "workload", _word),
            anchor=_take(raw, "anchor", _word),
            knobs=_take(raw, "knobs", _knobs),
            outcome=_take(raw, "outcome", _outcome),
            target=self._section(raw, "target", _target),
            device=self._section(raw, "device", _device),
            versions=self._section(raw, "versions", _versions),
            seed=_take(raw, "seed", _count),
            time=_take(raw, "time", _time),
            extra=raw,
        )

    def _section(self, raw: Object, name: str, read: Callable[[Object], Any]) -> Any:
        key = read, repr(raw.get(name))
        if key not in self._sections:
            self._sections[key] = _take(raw, name, read)
        else:
            del raw[name]
        return self._sections[key]


def _no_constant(name: str) -> float:
    raise LineError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise LineError(f"the number {text[:40]} is too large")
    return number


def _distinct(pairs: list[tuple[str, Any]]) -> Object:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise LineError(f'the field "{double[:40]}" stands there twice')
    return result


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_distinct)


def _parse_json(line: bytes) -> Object:
    try:
        raw = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LineError(f"byte {error.start + 1} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise LineError(f"it is not JSON: {error.msg} at column {error.colno}") from error
    except LineError:
        raise
    except (ValueError, RecursionError) as error:
        raise LineError(f"it can't be read as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise LineError("it is not a JSON object")
    # What is nested must also be writable again, in whichever depth of calls that happens.
    if line.count(b"{") + line.count(b"[") > _MAX_DEPTH and _is_deeper(raw, _MAX_DEPTH):
        raise LineError(f"it can't be read: it is nested deeper than {_MAX_DEPTH} levels")
    return raw


def _is_deeper(value: Any, levels: int) -> bool:
    if levels < 0:
        return True
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_deeper(item, levels - 1) for item in items)


def _take_format(raw: Object) -> tuple[int, int]:
    text = raw.pop("format", None)
    match = _VERSION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise LineError(f'the field "format" is {_shown(text)}, not a version such as "{FORMAT[0]}.{FORMAT[1]}"')
    version = int(match[1]), int(match[2])
    if version[0] > FORMAT[0]:
        raise NewerFormatError(
            f"its format {text} is newer than {FORMAT[0]}.{FORMAT[1]}, which this version of Lepton reads; "
            "a newer version reads it"
        )
    if version[0] < 1:
        raise LineError(f'the field "format" is {_shown(text)}; the first format is 1.0')
    return version


def _take(raw: Object, name: str, read: Callable[[Any], Any]) -> Any:
    """Takes a field out of its object; what stays is what this version does not know."""
    try:
        value = raw.pop(name)
    except KeyError:
        raise LineError(f'the field "{name}" is missing') from None
    try:
        return read(value)
    except LineError as error:
        raise LineError(f"{name}: {error}") from None


def _outcome(raw: Any) -> Outcome:
    fields = _object(raw)
    status = _take(fields, "status", _status)
    if status is Status.OK:
        times = Times(
            _take(fields, "median_s", _positive_seconds),
            _take(fields, "spread_s", _seconds),
            _take(fields, "samples", _positive_count),
        )
        if "reason" in fields:
            raise LineError('the field "reason" belongs to a trial that failed')
        return Outcome(status, times, None, fields)
    if "median_s" in fields:
        raise LineError('the field "median_s" belongs to a trial that is ok')
    return Outcome(status, None, _take(fields, "reason", _reason), fields)


def _target(raw: Any) -> TunedTarget:
    fields = _object(raw)
    return TunedTarget(_take(fields, "name", _word), _take(fields, "cpu_features", _features), fields)


def _device(raw: Any) -> Device:
    fields = _object(raw)
    name, processor = _take(fields, "name", _text), _take(fields, "processor", _text)
    return Device(name, processor, _take(fields, "cores", _positive_count), fields)


def _versions(raw: Any) -> Versions:
    fields = _object(raw)
    return Versions(*(_take(fields, name, _text) for name in ("lepton", "tvm", "llvm")), fields)


def _knobs(raw: Any) -> Mapping[str, KnobValue]:
    for name, value in _object(raw).items():
        if not name or not name.isprintable() or (type(value) is str and not value.isprintable()):
            raise LineError(f"{_shown(name)} or its value is no line of text")
        if type(value) not in (int, str, float, bool, type(None)):
            raise LineError(f"{_shown(name)} is {_shown(value)}, not a number, text, true, false or null")
        if type(value) is int and abs(value) > _MAX_INTEGER:
            raise LineError(f"{_shown(name)} is beyond 64 bits")
    return raw


def _object(raw: Any) -> Object:
    if type(raw) is not dict:
        raise LineError(f"it is {_shown(raw)}, not an object")
    return raw


def _status(raw: Any) -> Status:
    status = _STATUSES.get(raw) if isinstance(raw, str) else None
    if status is None:
        raise LineError(f"it is {_shown(raw)}, not one of {', '.join(_STATUSES)}")
    return status


def _word(raw: Any) -> str:
    if not isinstance(raw, str) or _WORD.fullmatch(raw) is None:
        raise LineError(f"it is {_shown(raw)}, not a name of letters, digits and . _ + -")
    return raw


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw or len(raw) > _MAX_TEXT or not raw.isprintable():
        raise LineError(f"it is {_shown(raw)}, not a line of text of at most {_MAX_TEXT} characters")
    return raw


def _reason(raw: Any) -> str:
    if not isinstance(raw, str) or not raw or len(raw) > MAX_REASON or not raw.isprintable():
        raise LineError(f"it is {_shown(raw)}, not a line of text of at most {MAX_REASON} characters")
    return raw


def _features(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise LineError(f"it is {_shown(raw)}, not a list")
    features = tuple(_word(item) for item in raw)
    if list(features) != sorted(set(features)):
        raise LineError("its names are not sorted, or stand there twice")
    return features


def _seconds(raw: Any) -> float:
    if type(raw) not in (int, float) or not 0 <= raw <= _MAX_SECONDS:
        raise LineError(f"it is {_shown(raw)}, not seconds from 0 to {_MAX_SECONDS:.0f}")
    return float(raw)


def _positive_seconds(raw: Any) -> float:
    if _seconds(raw) == 0:
        raise LineError("it is 0, and nothing takes no time")
    return float(raw)


def _count(raw: Any) -> int:
    if type(raw) is not int or not 0 <= raw <= _MAX_INTEGER:
        raise LineError(f"it is {_shown(raw)}, not a whole number from 0 to {_MAX_INTEGER}")
    return raw


def _positive_count(raw: Any) -> int:
    if _count(raw) == 0:
        raise LineError("it is 0; there is at least one")
    return raw


def _time(raw: Any) -> str:
    if not isinstance(raw, str) or _TIME.fullmatch(raw) is None:
        raise LineError(f'it is {_shown(raw)}, not a time in UTC such as "2026-01-31T12:00:00Z"')
    return raw


def _shown(value: Any) -> str:
    """A value in a message: as JSON has it, cut where it is long, and nothing that a terminal would obey."""
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
