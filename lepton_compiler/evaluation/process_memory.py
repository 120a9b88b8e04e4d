"""Memory of a process as the system counts it: what is resident, its peak, and what a mapped file takes of it."""

from __future__ import annotations

import ctypes
import gc
import re
from dataclasses import dataclass
from pathlib import Path

_KIB = 1024
_RESET_PEAK = "5"
"""Written to clear_refs, it sets the peak to what is resident now (proc(5))."""


@dataclass(frozen=True)
class ProcessMemory:
    """This process's resident memory in bytes.

    Attributes:
        resident_bytes: All of it.
        anonymous_bytes: Without pages of mapped files.
        peak_bytes: The most that was resident since the peak was reset.
    """

    resident_bytes: int
    anonymous_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class MappedFile:
    """Pages of one file in the mappings of a process, in bytes.

    Attributes:
        resident_bytes: Those in memory; a page that is mapped twice counts twice.
        shared_bytes: Those that other mappings have too, here or in other processes.
        own_bytes: Copies that belong to this process alone.
        proportional_bytes: Each page divided by the number of mappings that have it.
    """

    resident_bytes: int
    shared_bytes: int
    own_bytes: int
    proportional_bytes: int


def process_memory() -> ProcessMemory:
    """What this process holds now."""
    fields = dict(
        re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    )
    resident, anonymous, peak = (int(fields[name]) * _KIB for name in ("VmRSS", "RssAnon", "VmHWM"))
    return ProcessMemory(resident, anonymous, peak)


def reset_peak() -> None:
    """Starts the count of the peak anew.

    Raises:
        OSError: The system does not allow it.
    """
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def release_unused() -> None:
    """Gives the system back what Python and the C library keep for later, so that it is not counted."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def mapped_file(smaps: str, file: Path) -> MappedFile:
    """Sums the mappings of ``file`` in a ``/proc/.../smaps``; zeros where there is none."""
    target = str(file.resolve())
    totals = dict.fromkeys(("Rss", "Shared_Clean", "Shared_Dirty", "Anonymous", "Pss"), 0)
    inside = False
    for line in Path(smaps).read_text(encoding="utf-8", errors="replace").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(target)
        elif inside and line.partition(":")[0] in totals:
            totals[line.partition(":")[0]] += int(line.split()[1]) * _KIB
    shared = totals["Shared_Clean"] + totals["Shared_Dirty"]
    return MappedFile(totals["Rss"], shared, totals["Anonymous"], totals["Pss"])
