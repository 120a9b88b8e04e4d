"""The agent's program for a target: its C sources, and those parts of the artifact's runtime that it stands on."""

from __future__ import annotations

from pathlib import Path

from lepton_compiler.build.toolchain import c_sources, cached_program, runtime_sources
from lepton_compiler.targets.spec import TargetSpec

PROGRAM = "lepton-agent"

_RUNTIME_PARTS = (
    "buffer",
    "cpu_features",
    "dtype",
    "error",
    "execute",
    "kernel_runtime",
    "thread_pool",
    "workspace",
)
"""What runs kernels; the rest of the runtime is about a whole model."""

_FLAGS = (
    # Kernels call the runtime's functions: the linker must show them.
    "-fvisibility=default",
    # Inputs are computed the same everywhere: no product is fused with its sum.
    "-ffp-contract=off",
)
_LINK_FLAGS = ("-s", "-rdynamic", "-lm", "-lpthread", "-ldl")


def agent_sources() -> dict[str, bytes]:
    """C files and headers of the agent by name."""
    parts = {f"{part}.c" for part in _RUNTIME_PARTS}
    runtime = {name: code for name, code in runtime_sources().items() if name.endswith(".h") or name in parts}
    return {**runtime, **c_sources("lepton_compiler.devices")}


def agent_program(target: TargetSpec) -> Path:
    """Path of the agent for a target: built on first use, then taken from the cache.

    Raises:
        OutputError: The cache folder can't be written.
        UserError: The C compiler is missing.
    """
    return cached_program(PROGRAM, agent_sources(), target.zig_triple, target.zig_cpu, _FLAGS, _LINK_FLAGS)
