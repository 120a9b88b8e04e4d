"""Appends records to tuning logs, so that nothing that was written is ever lost.

A record is one ``write`` to a file opened for appending (POSIX.1-2017, write: with ``O_APPEND`` the offset is set to
the end of the file before each write, with nothing in between). What was written survives the end of the process,
however it comes. It survives a power cut once it was synchronised, which happens after the first record, then at
intervals, and when the log is closed.

A writer locks its file (``flock``); another one in the same folder takes a file of its own, and readers merge them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lepton_compiler.core.errors import InternalError, TuningLogError
from lepton_compiler.tuning.log_files import SUFFIX
from lepton_compiler.tuning.record import TuningRecord
from lepton_compiler.tuning.record_line import format_record

SYNC_INTERVAL_S = 1.0
"""Seconds of work that a power cut may cost."""

_NAME = "records"
_MOST_WRITERS = 1000


class LogWriter:
    """The one writer of one file of a folder; used as a context."""

    def __init__(self, folder: Path, sync_interval_s: float = SYNC_INTERVAL_S) -> None:
        """Opens the first file of ``folder`` that no other writer has, and makes the folder where it is missing.

        Raises:
            TuningLogError: The folder or the file can't be made or written.
        """
        self._interval = sync_interval_s
        self._last_sync = float("-inf")
        self._mutex = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path, self._handle = _open_free_file(folder)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def append(self, record: TuningRecord) -> None:
        """Writes one record.

        Raises:
            TuningLogError: It could not be written; the log is as it was before.
        """
        line = format_record(record)
        with self._mutex:
            if self._handle is None:
                raise InternalError(f"the tuning log {self.path} is closed, and a record was to be written")
            try:
                _append(self._handle, line)
                if time.monotonic() - self._last_sync >= self._interval:
                    self._sync()
            except OSError as error:
                raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Synchronises the file and gives it free.

        Raises:
            TuningLogError: What was written last did not reach the disk.
        """
        with self._mutex:
            if self._handle is None:
                return
            handle = self._handle
            try:
                self._sync()
            except OSError as error:
                raise _unwritable(self.path, error) from error
            finally:
                self._handle = None
                os.close(handle)

    def _sync(self) -> None:
        assert self._handle is not None
        os.fdatasync(self._handle)
        if self._last_sync == float("-inf"):
            # The file's name is an entry of the folder, and new.
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self._last_sync = time.monotonic()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def locked_log(log: Path) -> Iterator[None]:
    """Keeps writers away from a log that is about to be replaced.

    Raises:
        TuningLogError: A writer has it, or it can't be opened.
    """
    try:
        handle = _open_locked(log, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(log, error) from error
    if handle is None:
        raise TuningLogError(f"the tuning log {log} is being written by another process; wait until that is done")
    try:
        yield
    finally:
        os.close(handle)


def _open_free_file(folder: Path) -> tuple[Path, int]:
    for number in range(1, _MOST_WRITERS + 1):
        path = folder / (f"{_NAME}{SUFFIX}" if number == 1 else f"{_NAME}-{number}{SUFFIX}")
        handle = _open_locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        if handle is not None:
            return path, handle
    raise TuningLogError(f"{_MOST_WRITERS} processes write tuning logs to {folder} already")


def _open_locked(path: Path, flags: int) -> int | None:
    """The file, locked until it is closed; None where another writer has it."""
    while True:
        handle = os.open(path, flags | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        # Somebody replaced the file between the opening and the locking.
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _append(handle: int, line: bytes) -> None:
    """Writes a line whole, or leaves the file as it was."""
    before = os.fstat(handle).st_size
    # Whoever was stopped in the middle of a line left it without an end.
    is_torn = before > 0 and os.pread(handle, 1, before - 1) != b"\n"
    data = b"\n" + line if is_torn else line
    written = 0
    try:
        while written < len(data):
            written += os.write(handle, data[written:])
    except OSError:
        _take_back(handle, before, written)
        raise


def _take_back(handle: int, before: int, written: int) -> None:
    """Removes the beginning of a line that found no room, unless somebody else has written behind it."""
    if written and os.fstat(handle).st_size == before + written:
        os.ftruncate(handle, before)


def _unwritable(path: Path, error: OSError) -> TuningLogError:
    hint = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        hint = "; the records before are kept: make room and go on"
    return TuningLogError(f"the tuning log {path} can't be written: {error.strerror or error}{hint}")
