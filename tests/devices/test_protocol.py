"""The protocol's numbers agree with C, and bytes that are no requests are answered and survived."""

from __future__ import annotations

import os
import re
import struct
import time
from pathlib import Path

import pytest
from raw_agent import converse, error_of

import lepton_compiler.devices
from lepton_compiler.devices import protocol
from lepton_compiler.devices.agent_client import AgentClient
from lepton_compiler.devices.byte_stream import DescriptorStream, StreamClosed, StreamTimeout
from lepton_compiler.devices.kernel_library import KERNEL
from lepton_compiler.devices.protocol import HEADER, MAGIC, REPLY_BIT, REPLY_ERROR, ErrorCode, Request, frame

HEADER_FILE = (Path(lepton_compiler.devices.__file__).with_name("csrc") / "protocol.h").read_text(encoding="utf-8")


def defined(name: str) -> int:
    match = re.search(rf"^#define AGENT_{name} (\w+?)u?\b", HEADER_FILE, re.MULTILINE)
    assert match, name
    return int(match[1], 0)


def test_numbers_are_those_of_the_header() -> None:
    for name in ("MAGIC", "PROTOCOL_VERSION", "KEY_BYTES", "REPLY_BIT", "REPLY_ERROR"):
        assert defined(name) == getattr(protocol, name), name
    for name in ("MAX_ARGUMENTS", "MAX_SAMPLES", "KEEP_OUTPUTS"):
        assert defined(name) == getattr(protocol, name), name
    assert defined("HEADER_BYTES") == HEADER.size
    assert f'"__tvm_ffi_{KERNEL}"' in HEADER_FILE


@pytest.mark.parametrize(
    ("prefix", "enumeration"),
    [("ERROR_", protocol.ErrorCode), ("TRIAL_", protocol.Outcome), ("ROLE_", protocol.Role), ("", protocol.Request)],
)
def test_enumerations_are_those_of_the_header(prefix: str, enumeration: type[protocol.Request]) -> None:
    for member in enumeration:
        assert f"AGENT_{prefix}{member.name} = {member.value}" in HEADER_FILE


def test_requests_are_answered_in_order_by_their_ids() -> None:
    code, replies, _ = converse(frame(Request.STATUS, 7, b"") + frame(Request.HELLO, 3, b""))
    assert code == 0
    assert [(header.id, header.type) for header, _ in replies] == [
        (7, Request.STATUS | REPLY_BIT),
        (3, Request.HELLO | REPLY_BIT),
    ]


def test_another_version_is_refused_and_the_agent_goes_on() -> None:
    code, replies, _ = converse(frame(Request.HELLO, 1, b"new fields", version=2) + frame(Request.HELLO, 2, b""))
    assert code == 0
    assert [header.id for header, _ in replies] == [1, 2]
    assert replies[0][0].type == REPLY_ERROR
    assert error_of(replies[0][1]) == (
        ErrorCode.VERSION,
        "the request is of version 2 of the protocol, this agent speaks version 1",
    )
    assert replies[1][0].type == Request.HELLO | REPLY_BIT


def test_an_unknown_request_is_refused() -> None:
    for type_ in (0, 10, 0x7FFF, REPLY_ERROR):
        _, ((header, payload),), _ = converse(frame(type_, 1, b""))
        assert header.type == REPLY_ERROR
        assert error_of(payload)[0] == ErrorCode.UNKNOWN


@pytest.mark.parametrize("request_type", list(Request))
def test_payloads_of_a_wrong_length_are_malformed(request_type: Request) -> None:
    """The payload of each request, one byte too short and 100,000 bytes too long."""
    for payload in (b"\1" * 3, bytes(100_000)):
        _, ((header, reply),), _ = converse(frame(request_type, 1, payload))
        assert header.type == REPLY_ERROR
        expected = {ErrorCode.MALFORMED, ErrorCode.MISSING, ErrorCode.HASH}
        assert error_of(reply)[0] in expected


@pytest.mark.parametrize("length", [1, HEADER.size - 1, HEADER.size + 1, HEADER.size + 9])
def test_a_torn_frame_ends_the_agent_with_a_message(length: int) -> None:
    whole = frame(Request.LOAD, 1, b"0123456789")
    code, ((header, payload),), printed = converse(whole[:length])
    assert code == 2
    assert (header.id, header.type) == (0, REPLY_ERROR)
    assert error_of(payload) == (ErrorCode.MALFORMED, "the input ended in the middle of a request")
    assert "in the middle of a request" in printed


def test_what_is_no_frame_ends_the_agent_with_a_message() -> None:
    code, ((header, payload),), _ = converse(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")
    assert (code, header.id) == (2, 0)
    assert error_of(payload) == (ErrorCode.MALFORMED, "what came on the input is no request of this protocol")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 1 << 40])
def test_a_frame_beyond_the_limit_ends_the_agent_before_it_takes_memory(length: int) -> None:
    code, ((header, payload),), _ = converse(HEADER.pack(MAGIC, 1, Request.LOAD, 1, length))
    assert (code, header.id) == (2, 0)
    assert error_of(payload)[0] == ErrorCode.LIMIT


class OtherSide:
    """A client whose agent is this test."""

    def __init__(self) -> None:
        from_agent, self.to_client = os.pipe()
        self.from_client, to_agent = os.pipe()
        self.client = AgentClient(DescriptorStream(from_agent, to_agent))

    def close(self) -> None:
        self.client.close()
        for descriptor in (self.to_client, self.from_client):
            os.close(descriptor)


@pytest.fixture
def other_side() -> OtherSide:
    return OtherSide()


def test_a_client_takes_the_reply_with_its_id(other_side: OtherSide) -> None:
    late = frame(Request.STATUS | REPLY_BIT, 0xFFFF, b"")
    with pytest.raises(protocol.ProtocolError, match="never sent"):
        os.write(other_side.to_client, late)
        other_side.client.status()
    status = struct.pack("<II", 1, 4) + b"load" + struct.pack("<d", 0.5)
    answers = [frame(Request.STATUS | REPLY_BIT, id_, status) for id_ in (1, 2)]
    os.write(other_side.to_client, b"".join(answers))
    assert other_side.client.status() == {"load": 0.5}
    other_side.close()


def test_a_client_refuses_an_agent_of_another_version(other_side: OtherSide) -> None:
    os.write(other_side.to_client, frame(Request.STATUS | REPLY_BIT, 1, b"", version=2))
    with pytest.raises(protocol.ProtocolError, match="speaks version 2 of the protocol, this package version 1"):
        other_side.client.status()
    other_side.close()


@pytest.mark.parametrize("data", [b"Welcome to board 7!\nlast login: never\n", b"\0" * 24])
def test_a_client_refuses_what_is_no_reply(other_side: OtherSide, data: bytes) -> None:
    os.write(other_side.to_client, data)
    with pytest.raises(protocol.ProtocolError, match="is no reply of an agent"):
        other_side.client.status()
    other_side.close()


def test_a_client_refuses_replies_that_end_early_or_late(other_side: OtherSide) -> None:
    for id_, payload in enumerate((b"\1\0\0\0", b"\1\0\0\0\xff\xff\xff\xff", b"\0\0\0\0rest"), start=1):
        os.write(other_side.to_client, frame(Request.STATUS | REPLY_BIT, id_, payload))
        with pytest.raises(protocol.ProtocolError, match=r"too short|longer than"):
            other_side.client.status()
    other_side.close()


def test_a_client_waits_no_longer_than_asked(other_side: OtherSide) -> None:
    started = time.monotonic()
    with pytest.raises(StreamTimeout, match="did not answer in time"):
        other_side.client.request(Request.STATUS, seconds=0.05)
    with pytest.raises(StreamTimeout, match="did not take a request in time"):
        other_side.client.request(Request.LOAD, bytes(1 << 20), seconds=-1)
    assert time.monotonic() - started < 30
    other_side.close()


def test_a_client_notices_that_the_agent_is_gone(other_side: OtherSide) -> None:
    os.close(other_side.to_client)
    with pytest.raises(StreamClosed, match="ended before its answer"):
        other_side.client.status()
    os.close(other_side.from_client)
    with pytest.raises(StreamClosed, match="the agent is gone"):
        other_side.client.status()
    other_side.client.close()
