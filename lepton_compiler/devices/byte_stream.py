"""Streams of bytes to and from an agent, with a limit on every wait."""

from __future__ import annotations

import os
import select
import time
from abc import ABC, abstractmethod

from lepton_compiler.core.errors import DeviceError

_CHUNK_BYTES = 1 << 20
_LONGEST_POLL_SECONDS = 3600.0


class StreamClosed(DeviceError):
    """The other side has ended, or the way to it is cut."""


class StreamTimeout(DeviceError):
    """The other side neither took nor sent anything for too long."""


class ByteStream(ABC):
    """A way to an agent. Deadlines are in seconds of ``time.monotonic``."""

    @abstractmethod
    def send(self, data: bytes, deadline: float) -> None:
        """Sends all of ``data``.

        Raises:
            StreamClosed: The other side is gone.
            StreamTimeout: It was not all taken in time.
        """

    @abstractmethod
    def receive(self, count: int, deadline: float) -> bytes:
        """Exactly ``count`` bytes.

        Raises:
            StreamClosed: The other side ended before them.
            StreamTimeout: They did not come in time.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends the stream; the agent ends with it."""


class DescriptorStream(ByteStream):
    """A stream over two file descriptors, pipes or one socket, which it owns."""

    def __init__(self, read_from: int, write_to: int) -> None:
        self._read_from = read_from
        self._write_to = write_to
        for descriptor in (read_from, write_to):
            os.set_blocking(descriptor, False)

    def send(self, data: bytes, deadline: float) -> None:
        """See the base class."""
        left = memoryview(data)
        while left:
            _wait(self._write_to, select.POLLOUT, deadline, "take a request")
            try:
                left = left[os.write(self._write_to, left[:_CHUNK_BYTES]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise StreamClosed(f"the agent is gone: {error.strerror}") from error

    def receive(self, count: int, deadline: float) -> bytes:
        """See the base class."""
        parts: list[bytes] = []
        while count > 0:
            _wait(self._read_from, select.POLLIN, deadline, "answer")
            try:
                part = os.read(self._read_from, min(count, _CHUNK_BYTES))
            except BlockingIOError:
                continue
            except OSError as error:
                raise StreamClosed(f"the agent is gone: {error.strerror}") from error
            if not part:
                raise StreamClosed("the agent ended before its answer was complete")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """See the base class."""
        for descriptor in {self._read_from, self._write_to}:
            os.close(descriptor)


def _wait(descriptor: int, event: int, deadline: float, what: str) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise StreamTimeout(f"the agent did not {what} in time")
        # An end or error of the stream wakes as well, and the read or write after it says which.
        if poller.poll(min(left, _LONGEST_POLL_SECONDS) * 1000):
            return
