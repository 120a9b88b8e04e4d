"""Kernel libraries for the agent that are compiled from C: they do what a compiler's kernels must not."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np

from lepton_compiler.build.toolchain import compile_c, run_zig, write_runtime_headers
from lepton_compiler.devices.arrays import ArrayType, HostArray, SeededArray
from lepton_compiler.devices.trial import Input, KernelLibrary, Limits, Output, Scalar, Timing, Trial
from lepton_compiler.targets.registry import native_target

_SOURCE = Path(__file__).with_name("kernels") / "behaviours.c"

FLOATS = ArrayType("float32", (33, 7))
INPUT = SeededArray(FLOATS, seed=5)
DOUBLED = HostArray(INPUT.values() * np.float32(2))


class Behaviour(IntEnum):
    """``enum behaviour`` of ``kernels/behaviours.c``."""

    DOUBLE = 0
    WRONG_ELEMENT = 1
    WRITE_NOTHING = 2
    ACCUMULATE = 3
    CRASH = 4
    ABORT = 5
    LOOP = 6
    WORKSPACE_BLOWUP = 7
    MALLOC_BLOWUP = 8
    STACK_BLOWUP = 9
    EXIT = 10
    FAIL = 11
    SCRIBBLE_ON_INPUT = 12
    CLOSE_EVERYTHING = 13
    FORK_AND_LOOP = 14


@cache
def behaviours(*flags: str) -> KernelLibrary:
    """The library of ``kernels/behaviours.c``."""
    target = native_target()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_runtime_headers(folder)
        (folder / _SOURCE.name).write_bytes(_SOURCE.read_bytes())
        compile_c(_SOURCE.name, "kernel.o", folder, target.zig_triple, target.zig_cpu, "-O1", *flags)
        run_zig(["-shared", "-o", "kernel.so", "kernel.o"], folder, tool="ld.lld")
        return KernelLibrary((folder / "kernel.so").read_bytes(), (FLOATS, FLOATS, None), (), 0)


def kernel(behaviour: Behaviour) -> KernelLibrary:
    """A library with one behaviour and no third argument."""
    return replace(behaviours(f"-DBEHAVIOUR={int(behaviour)}"), parameters=(FLOATS, FLOATS))


def trial(
    behaviour: Behaviour,
    timing: Timing | None = None,
    limits: Limits = Limits(seconds=5.0, memory_bytes=256 << 20),  # noqa: B008 (frozen)
    keep_outputs: bool = False,
) -> Trial:
    """A trial of a behaviour, whose output should be twice its input."""
    arguments = (Input(INPUT), Output(FLOATS, DOUBLED), Scalar(behaviour))
    return Trial(behaviours(), arguments, 0.0, timing, limits=limits, keep_outputs=keep_outputs)
