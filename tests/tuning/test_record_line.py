"""A record as a line: what goes in comes out, and nothing malformed gets through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_records import RECORD, V3, record

from lepton_compiler.core.errors import InternalError
from lepton_compiler.tuning.record import MAX_REASON, Device, Outcome, Status, Versions
from lepton_compiler.tuning.record_line import (
    MAX_LINE_BYTES,
    LineError,
    NewerFormatError,
    RecordParser,
    format_record,
)


def parse(line: bytes):
    return RecordParser().parse(line)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    raw = json.loads(format_record(RECORD))
    change(raw)
    return json.dumps(raw).encode()


def test_the_line_is_as_documented() -> None:
    assert format_record(RECORD) == (
        b'{"format": "1.0", "workload": "w1-0123456789abcdef0123456789abcdef", "anchor": "packed_convolution", '
        b'"knobs": {"tile.vectors": 2, "tile.rows": 1, "tile.columns": 6, "chunks": 4}, '
        b'"outcome": {"status": "ok", "median_s": 0.000125, "spread_s": 3e-06, "samples": 20}, '
        b'"target": {"name": "x86-64-v3", "cpu_features": ["avx2", "fma"]}, '
        b'"device": {"name": "lab-1", "processor": "AMD EPYC 9R14", "cores": 2}, '
        b'"versions": {"lepton": "0.1.0", "tvm": "0.27.0.post1", "llvm": "22"}, '
        b'"seed": 7, "time": "2026-01-31T12:00:00Z"}\n'
    )


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_round_trip_of_failures(status: Status) -> None:
    failed = record(outcome=Outcome.failed(status, "größer\n als\terwartet \x1b[31m"))
    assert parse(format_record(failed)) == failed
    assert failed.outcome.reason == "größer als erwartet ?[31m"
    assert failed.median_s is None


knob_values = st.one_of(
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text().filter(str.isprintable),
)
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", fullmatch=True)
lines = st.text(min_size=1, max_size=200).filter(str.isprintable)


@given(
    knobs=st.dictionaries(lines, knob_values, max_size=5),
    median=st.floats(min_value=1e-300, max_value=1e6),
    samples=st.integers(1, 2**63 - 1),
    anchor=words,
    device=st.builds(Device, lines, lines, st.integers(1, 1024)),
    versions=st.builds(Versions, lines, lines, lines),
)
def test_round_trip(knobs, median, samples, anchor, device, versions) -> None:
    original = dataclasses.replace(
        RECORD, knobs=knobs, outcome=Outcome.ok(median, 0.0, samples), anchor=anchor, device=device, versions=versions
    )
    line = format_record(original)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert parse(line) == original


def test_a_long_reason_is_cut() -> None:
    failed = Outcome.failed(Status.BUILD_FAILURE, "x" * (MAX_REASON + 1))
    assert failed.reason == "x" * MAX_REASON
    assert Outcome.failed(Status.CRASH, "\n").reason == "crash"


@pytest.mark.parametrize("median", [float("nan"), float("inf"), 0.0, -1.0, 1e7])
def test_what_could_not_be_read_is_not_written(median: float) -> None:
    with pytest.raises(InternalError, match="can't be written"):
        format_record(record(median))


def test_fields_of_a_newer_minor_format_are_kept() -> None:
    def add(raw: dict[str, Any]) -> None:
        raw["format"] = "1.7"
        raw["power_w"] = {"median": 3.5}
        for section in ("outcome", "target", "device", "versions"):
            raw[section]["added"] = [section, 1e-9]

    line = changed(add)
    newer = parse(line)
    assert newer.format == (1, 7)
    assert newer.extra == {"power_w": {"median": 3.5}}
    assert json.loads(format_record(newer)) == json.loads(line)
    assert newer.target == V3, "what a newer format adds makes no other target"


def test_a_newer_major_format_is_named() -> None:
    with pytest.raises(NewerFormatError, match=r"format 2\.0 is newer than 1\.0"):
        parse(changed(lambda raw: raw.update(format="2.0", workload=17)))


def set_in(section: str, name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda raw: raw[section].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("workload"), '"workload" is missing'),
        (lambda raw: raw.pop("format"), '"format" is null'),
        (lambda raw: raw.update(format=1.0), '"format" is 1.0'),
        (lambda raw: raw.update(format="0.9"), "the first format is 1.0"),
        (lambda raw: raw.update(workload="a b"), 'workload: it is "a b"'),
        (lambda raw: raw.update(workload=["w"]), "workload: it is"),
        (lambda raw: raw.update(knobs=[1]), "knobs: it is"),
        (set_in("knobs", "chunks", {}), "knobs: "),
        (set_in("knobs", "chunks", 2**63), "beyond 64 bits"),
        (set_in("knobs", "chunks", "\x1b[2J"), "no line of text"),
        (set_in("knobs", "", 1), "no line of text"),
        (lambda raw: raw.update(outcome="ok"), "outcome: it is"),
        (set_in("outcome", "status", "fine"), "not one of ok, wrong_result"),
        (set_in("outcome", "status", ["ok"]), "not one of ok, wrong_result"),
        (set_in("outcome", "status", "crash"), '"median_s" belongs to a trial that is ok'),
        (set_in("outcome", "reason", "none"), '"reason" belongs to a trial that failed'),
        (lambda raw: raw.update(outcome={"status": "crash"}), '"reason" is missing'),
        (lambda raw: raw.update(outcome={"status": "crash", "reason": "a\nb"}), "not a line of text"),
        (lambda raw: raw.update(outcome={"status": "crash", "reason": ""}), "not a line of text"),
        (set_in("outcome", "median_s", 0), "nothing takes no time"),
        (set_in("outcome", "median_s", True), "not seconds"),
        (set_in("outcome", "median_s", "1"), "not seconds"),
        (set_in("outcome", "median_s", 10**400), "not seconds"),
        (set_in("outcome", "spread_s", -1e-9), "not seconds"),
        (set_in("outcome", "samples", 0), "at least one"),
        (set_in("outcome", "samples", 1.5), "not a whole number"),
        (set_in("target", "cpu_features", "fma"), "not a list"),
        (set_in("target", "cpu_features", ["fma", "avx2"]), "not sorted"),
        (set_in("target", "cpu_features", ["fma", "fma"]), "not sorted, or stand there twice"),
        (set_in("target", "cpu_features", [1]), "not a name"),
        (set_in("target", "name", "../x"), "not a name"),
        (set_in("device", "cores", -1), "not a whole number"),
        (set_in("device", "processor", "a\ud800"), "not a line of text"),
        (set_in("versions", "llvm", 22), "versions: llvm: it is 22"),
        (lambda raw: raw.update(seed=-1), "seed: it is -1"),
        (lambda raw: raw.update(seed=2**63), "seed: it is"),
        (lambda raw: raw.update(time="yesterday"), "not a time in UTC"),
        (lambda raw: raw.update(time="2026-13-01T00:00:00Z"), "not a time in UTC"),
    ],
)
def test_malformed_fields_are_named(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(LineError) as caught:
        parse(changed(change))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "not JSON"),
        (b"\x00" * 100, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b'{"format": "1.0", "format": "1.0"}', '"format" stands there twice'),
        (b'{"seed": NaN}', "NaN is no number"),
        (b'{"seed": -Infinity}', "-Infinity is no number"),
        (b'{"seed": 1e999}', "1e999 is too large"),
        (b'{"seed": "\xff"}', "byte 11 is not UTF-8"),
        (b"[" * 200_000, "can't be read"),
        (b'{"a":' * 150_000 + b"1" + b"}" * 150_000, "can't be read"),
        (b"{" + b" " * MAX_LINE_BYTES + b"}", "at most 1048576"),
        (format_record(RECORD)[:-1] * 2, "not JSON: Extra data"),
        (format_record(RECORD).decode().encode("utf-16"), "not UTF-8"),
    ],
)
def test_lines_that_are_no_json(line: bytes, message: str) -> None:
    with pytest.raises(LineError) as caught:
        parse(line)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(LineError):
        parse(format_record(RECORD).replace(b'"seed": 7', b'"seed": ' + b"7" * 10_000))


@pytest.mark.parametrize("depth", [1, 40, 60, 900, 990, 2000])
def test_what_is_nested_can_be_written_again_or_is_refused(depth: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    line = format_record(RECORD).replace(b'"cores": 2', b'"cores": 2, "more": ' + nested)
    if depth < 50:
        assert parse(format_record(parse(line))) == parse(line)
    else:
        with pytest.raises(LineError, match="can't be read"):
            parse(line)


def test_a_long_list_is_not_a_deep_one() -> None:
    line = format_record(RECORD).replace(b'"seed"', b'"curve": [' + b"[1, 2], " * 500 + b'[3, 4]], "seed"')
    assert len(parse(line).extra["curve"]) == 501


@given(st.binary(max_size=60), st.integers(0, 600))
def test_damage_is_found_or_harmless(noise: bytes, place: int) -> None:
    line = format_record(RECORD)
    try:
        damaged = parse(line[:place] + noise + line[place + len(noise) :])
    except LineError:
        return
    assert parse(format_record(damaged)) == damaged


def test_alike_sections_are_one_object() -> None:
    parser = RecordParser()
    first, second = (parser.parse(format_record(record(chunks=chunks))) for chunks in (1, 2))
    assert first.target is second.target
    assert first.device is second.device
    assert first.knobs != second.knobs
