"""Mutated requests against an agent under AddressSanitizer and UndefinedBehaviorSanitizer: it never crashes."""

from __future__ import annotations

import os
import random
import select
import struct
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from agent_kernels import DOUBLED, FLOATS, INPUT, behaviours
from raw_agent import split_replies
from sanitizing_compiler import sanitizing_compiler

from lepton_compiler.devices.agent_program import agent_sources
from lepton_compiler.devices.arrays import ArrayType, SeededArray
from lepton_compiler.devices.protocol import HEADER, MAGIC, REPLY_BIT, REPLY_ERROR, Request, frame
from lepton_compiler.devices.trial import Input, Limits, Output, Scalar, Timing, Trial

FRAMES_A_PROCESS = 25
SECONDS = 120
SENTINEL = 0x7C15_F39C_52E0_A6B3
"""Id of the last request; no payload holds these bytes."""
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


@pytest.fixture(scope="session")
def sanitized_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sanitized_agent")
    compiler = sanitizing_compiler("address,undefined", folder)
    for name, code in agent_sources().items():
        (folder / name).write_bytes(code)
    program = folder / "lepton-agent"
    sources = sorted(name for name in agent_sources() if name.endswith(".c"))
    flags = ("-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-rdynamic")
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    command = [compiler, *flags, *sanitizers, *sources, "-lm", "-lpthread", "-ldl", "-o", str(program)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def valid_requests() -> list[tuple[Request, bytes]]:
    """One of each kind, and trials of several sorts; the first ones bring what the later ones name."""
    library = replace(behaviours("-DALWAYS_RIGHT"), workspaces=(ArrayType("int8", (100,)),))
    small = SeededArray(ArrayType("int16", (3, 4)), 1, -5, 5)
    plain = Trial(library, (Input(INPUT), Output(FLOATS, DOUBLED), Scalar(0)), limits=Limits(0.1, 1 << 26))
    timing = Timing(samples=3, min_repeat_ms=0.01, budget_ms=1)
    return [
        (Request.LOAD, library.key + library.code),
        (Request.GENERATE, INPUT.recipe()),
        (Request.GENERATE, small.recipe()),
        (Request.UPLOAD, DOUBLED.key + DOUBLED.type.encode() + DOUBLED.data),
        (Request.HELLO, b""),
        (Request.STATUS, b""),
        (Request.DOWNLOAD, small.key),
        (Request.COMPARE, DOUBLED.key + INPUT.key + struct.pack("<d", 0.5)),
        (Request.RUN, plain.encode()),
        (Request.RUN, replace(plain, timing=timing, threads=2).encode()),
        (Request.RUN, replace(plain, keep_outputs=True, timing=replace(timing, flush_bytes=4096)).encode()),
        (Request.DROP, struct.pack("<I", 1) + small.key),
        (Request.DROP, struct.pack("<I", 0)),
    ]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Changes bytes, puts numbers at the edges of their range in, cuts, lengthens or repeats.

    Half of the time nothing moves: then most fields still mean what they meant.
    """
    changed = bytearray(data)
    kinds = rng.choice((3, 6))
    for _ in range(rng.choice((1, 1, 2, 5))):
        position = rng.randrange(len(changed) + 1)
        kind = rng.randrange(kinds)
        if kind == 0 and position < len(changed):
            changed[position] ^= 1 << rng.randrange(8)
        elif kind == 1 and position < len(changed):
            changed[position] = rng.randrange(256)
        elif kind == 2:
            width = rng.choice((1, 2, 4, 8))
            value = rng.choice(EDGES) % 256**width
            changed[position : position + width] = value.to_bytes(width, "little")
        elif kind == 3:
            del changed[position : position + rng.randrange(1, 40)]
        elif kind == 4:
            changed[position:position] = rng.randbytes(rng.randrange(1, 40))
        else:
            changed += changed[position : position + 64]
    return bytes(changed)


def mutated_request(rng: random.Random, id_: int, requests: list[tuple[Request, bytes]]) -> bytes:
    """A frame whose length is right, so that the agent can read the next one."""
    # Trials are the longest way through the agent, and drops take what they need.
    weights = [{Request.RUN: 4.0, Request.DROP: 0.3}.get(type_, 1.0) for type_, _ in requests]
    type_, payload = rng.choices(requests, weights)[0]
    kind = rng.randrange(10)
    if kind == 0:
        return frame(rng.randrange(2**16), id_, payload)
    if kind == 1:
        return frame(type_, id_, payload, version=rng.randrange(2**16))
    changed = mutate(rng, payload)
    if rng.random() < 0.8 and len(changed) == len(payload):
        changed = _with_keys_of(changed, payload)
    return frame(type_, id_, changed)


def _with_keys_of(changed: bytes, payload: bytes) -> bytes:
    """Puts keys back in their places: with a wrong one a request goes no further."""
    for key in (behaviours("-DALWAYS_RIGHT").key, INPUT.key, DOUBLED.key):
        start = payload.find(key)
        if start >= 0:
            changed = changed[:start] + key + changed[start + len(key) :]
    return changed


def last_bytes(rng: random.Random, requests: list[tuple[Request, bytes]]) -> bytes:
    """What ends a conversation: a torn frame, a length that is wrong, no frame at all, or nothing."""
    type_, payload = rng.choice(requests)
    whole = frame(type_, 1, payload)
    kind = rng.randrange(4)
    if kind == 0:
        return whole[: rng.randrange(len(whole))]
    if kind == 1:
        return HEADER.pack(MAGIC, 1, type_, 1, rng.choice(EDGES)) + payload
    if kind == 2:
        return mutate(rng, whole[: HEADER.size]) + payload
    return b""


def converse(process: subprocess.Popen[bytes], data: bytes, until_id: int) -> bytes:
    """Sends everything while it reads, until the reply with that id or the agent's end."""
    assert process.stdin is not None and process.stdout is not None
    to_agent, from_agent = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(to_agent, False)
    received, deadline = b"", time.monotonic() + SECONDS
    while not _has_reply(received, until_id):
        assert time.monotonic() < deadline, "the agent hangs"
        readable, writable, _ = select.select([from_agent], [to_agent] if data else [], [], 1.0)
        if writable:
            try:
                data = data[os.write(to_agent, data) :]
            except BrokenPipeError:
                data = b""
        if readable:
            part = os.read(from_agent, 1 << 20)
            if not part:
                break
            received += part
    return received


def _has_reply(received: bytes, id_: int) -> bool:
    """Whether the whole reply with that id is there."""
    start = received.find(struct.pack("<Q", id_)) - 8
    if start < 0 or len(received) < start + HEADER.size:
        return False
    return len(received) >= start + HEADER.size + HEADER.unpack_from(received, start)[4]


def fuzz(program: Path, folder: Path, frames: int, seed: int) -> Counter[int]:
    """Sends mutated frames to one agent after the other and counts the types of their replies."""
    log = folder / "report"
    environment = {
        **os.environ,
        "TMPDIR": str(folder),
        # Reports of candidates' processes go to files too: the kernel makes no mistakes of its own.
        "ASAN_OPTIONS": f"allocator_may_return_null=1:detect_leaks=1:log_path={log}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={log}",
    }
    rng = random.Random(seed)
    valid = valid_requests()
    prefix = b"".join(frame(type_, SENTINEL - 9, payload) for type_, payload in valid[:4])
    answered: Counter[int] = Counter()
    for start in range(0, frames, FRAMES_A_PROCESS):
        count = min(FRAMES_A_PROCESS, frames - start) - 1
        requests = [mutated_request(rng, id_, valid) for id_ in range(1, count + 1)]
        # Drops may take what others name: it is brought again now and then.
        requests = [request if index % 4 else prefix + request for index, request in enumerate(requests)]
        command = [str(program), "--max-trial-ms", "300"]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        ) as process:
            stream = b"".join(requests) + frame(Request.STATUS, SENTINEL, b"")
            received = converse(process, stream, SENTINEL)
            headers = [header for header, _ in split_replies(received)]
            ids = [header.id for header in headers]
            assert ids[-1] == SENTINEL, f"seed {seed}, frames from {start}: the agent ended after {ids[-1:]}"
            assert set(range(1, count + 1)) <= set(ids), "a request has no reply"
            answered.update(header.type for header in headers if header.id <= count)
            assert process.stdin is not None
            os.set_blocking(process.stdin.fileno(), True)
            process.stdin.write(last_bytes(rng, valid))
            process.stdin.close()
            process.stdin = None
            assert process.wait(SECONDS) in (0, 2), f"seed {seed}, frames from {start}: exit code {process.returncode}"
        reports = list(folder.glob("report*"))
        assert not reports, reports[0].read_text(errors="replace")[:4000]
    assert not list(folder.glob("lepton-agent-*"))
    return answered


def test_mutated_requests(sanitized_agent: Path, tmp_path: Path) -> None:
    answered = fuzz(sanitized_agent, tmp_path, 300, seed=1)
    assert answered.total() == 288
    assert answered[REPLY_ERROR] > 50
    assert answered[Request.RUN | REPLY_BIT] > 30, "few mutated trials are still trials"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_mutated_requests(sanitized_agent: Path, tmp_path: Path) -> None:
    assert fuzz(sanitized_agent, tmp_path, 10_417, seed=2).total() == 10_000
