"""Descriptions of machines from files such as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lepton_compiler.evaluation.machine import (
    describe_machine,
    last_level_cache_bytes,
    memory_bytes,
    processor_name,
    processors_for,
)


def test_this_machine() -> None:
    machine = describe_machine(("numpy", "no-such-package"))
    assert machine.cores == len(os.sched_getaffinity(0))
    assert set(machine.versions) == {"python", "lepton-compiler", "numpy"}


def test_processor_and_memory_from_the_kernels_files(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Test CPU @ 3 GHz\n", encoding="ascii")
    (tmp_path / "meminfo").write_text("MemTotal:       2048 kB\nMemFree: 1 kB\n", encoding="ascii")
    assert processor_name(tmp_path / "cpuinfo") == "Test CPU @ 3 GHz"
    assert memory_bytes(tmp_path / "meminfo") == 2048 * 1024
    assert processor_name(tmp_path / "absent") == os.uname().machine
    assert memory_bytes(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("siblings", "threads", "expected"),
    [
        ({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, 2, (0, 1)),
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, 2, (0, 2)),
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, 3, (0, 2, 1)),
        ({0: "0", 1: "1"}, 8, (0, 1)),
    ],
)
def test_threads_go_to_different_cores_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, siblings: dict[int, str], threads: int, expected: tuple[int, ...]
) -> None:
    for cpu, text in siblings.items():
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{text}\n", encoding="ascii")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(siblings))
    assert processors_for(threads, tmp_path) == expected


def test_the_last_cache_is_the_largest_one(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "1024K", "36M")):
        folder = tmp_path / "cpu0" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{size}\n", encoding="ascii")
    assert last_level_cache_bytes(tmp_path) == 36 << 20
    assert last_level_cache_bytes(tmp_path / "absent") is None
