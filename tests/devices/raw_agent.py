"""An agent process that is spoken to in bytes, right ones and wrong ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lepton_compiler.devices.agent_program import agent_program
from lepton_compiler.devices.protocol import HEADER, Header, PayloadReader
from lepton_compiler.targets.registry import native_target

SECONDS = 60


def converse(data: bytes, program: Path | None = None) -> tuple[int, list[tuple[Header, bytes]], str]:
    """Sends bytes and closes the input; gives exit code, replies, and what stood on standard error."""
    program = program or agent_program(native_target())
    done = subprocess.run([program], input=data, capture_output=True, timeout=SECONDS)
    return done.returncode, split_replies(done.stdout), done.stderr.decode()


def split_replies(data: bytes) -> list[tuple[Header, bytes]]:
    """Replies that stand one behind the other, each complete."""
    replies = []
    while data:
        header = Header.parse(data[: HEADER.size])
        end = HEADER.size + header.bytes
        assert len(data) >= end, "the agent's last reply is cut off"
        replies.append((header, data[HEADER.size : end]))
        data = data[end:]
    return replies


def error_of(payload: bytes) -> tuple[int, str]:
    """Code and text of an error's payload."""
    reader = PayloadReader(payload)
    code, text = reader.u32(), reader.text()
    reader.end()
    return code, text
