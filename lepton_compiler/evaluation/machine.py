"""What a measurement must say of the machine that it was made on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class MachineDescription:
    """One machine at one moment.

    Attributes:
        processor: Model name.
        architecture: As ``platform.machine()`` prints it.
        cores: Processors that this process may use.
        memory_bytes: Installed memory; None where the system doesn't say.
        load_average: Load over the last minute, before the measurement.
        system: Operating system and kernel.
        versions: Versions of Python and of the packages that take part.
    """

    processor: str
    architecture: str
    cores: int
    memory_bytes: int | None
    load_average: float
    system: str
    versions: dict[str, str]


def describe_machine(packages: tuple[str, ...]) -> MachineDescription:
    """Describes this machine; packages that are not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in ("lepton-compiler", *packages):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return MachineDescription(
        processor=processor_name(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=memory_bytes(),
        load_average=load_average(),
        system=f"{platform.system()} {platform.release()}",
        versions=versions,
    )


def load_average() -> float:
    """How many processors were wanted at a time, over the last minute."""
    return os.getloadavg()[0]


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Model name of the first processor; the architecture where the system gives no name."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    return platform.machine()


def memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Installed memory."""
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key == "MemTotal":
                return int(value.split()[0]) * 1024
    return None


def last_level_cache_bytes(topology: Path = _TOPOLOGY) -> int | None:
    """Size of the largest cache that the first processor uses; None where the system doesn't say."""
    sizes = [path.read_text(encoding="ascii").strip() for path in (topology / "cpu0" / "cache").glob("index*/size")]
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=None)


def processors_for(threads: int, topology: Path = _TOPOLOGY) -> tuple[int, ...]:
    """Processors to pin ``threads`` threads to: one a physical core first, their siblings after.

    Returns fewer than asked where the process may use fewer.
    """
    allowed = sorted(os.sched_getaffinity(0))
    siblings = {cpu: _first_sibling(cpu, topology) for cpu in allowed}
    first_of_core = [cpu for cpu in allowed if siblings[cpu] == cpu or siblings[cpu] not in allowed]
    others = [cpu for cpu in allowed if cpu not in first_of_core]
    return tuple((first_of_core + others)[:threads])


def _first_sibling(cpu: int, topology: Path) -> int:
    """Lowest processor number on the same core, from a list such as ``0,4`` or ``0-1``."""
    path = topology / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    if not path.is_file():
        return cpu
    return int(path.read_text(encoding="ascii").replace("-", ",").split(",")[0])
