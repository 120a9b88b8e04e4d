"""Scheduled PrimFuncs as kernel libraries: compiled to an object, and linked by the linker alone.

The agent exports what kernels call (``TVMBackendParallelLaunch`` and its like, and the C library's functions), so a
library holds the kernel's own code and is linked with nothing. The agent calls the kernel's packed entry and lays out
its arguments itself: no C is generated, and no compiler is started.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tvm import tirx

from lepton_compiler.build.dim_expressions import evaluate
from lepton_compiler.build.lift_workspaces import lift_workspaces
from lepton_compiler.build.lower_kernels import Kernels, compile_kernels
from lepton_compiler.build.toolchain import run_zig
from lepton_compiler.core.errors import InternalError
from lepton_compiler.devices.arrays import ArrayType
from lepton_compiler.devices.trial import KernelLibrary
from lepton_compiler.targets.spec import Architecture, TargetSpec

KERNEL = "lepton_kernel"
"""Every library's kernel has this name; ``AGENT_KERNEL_SYMBOL`` is that of its packed entry."""

_OBJECT, _LIBRARY = "kernel.o", "kernel.so"
_OF_THE_AGENT = {
    Architecture.ARMV7: (
        *("__divdi3", "__moddi3", "__udivdi3", "__umoddi3"),
        *("__fixsfdi", "__fixdfdi", "__fixunssfdi", "__fixunsdfdi"),
        *("__floatdisf", "__floatdidf", "__floatundisf", "__floatundidf"),
        "__aeabi_unwind_cpp_pr0",
    )
}
"""Functions of the compiler's own library that kernels may call; ``csrc/arm_support.c`` says why they are renamed."""

_LINK_FLAGS = ("-shared", "-s", "--build-id=none", "-z", "noexecstack", "-z", "relro")


def build_kernel_library(
    function: tirx.PrimFunc, target: TargetSpec, sizes: Mapping[str, int] = MappingProxyType({})
) -> KernelLibrary:
    """Compiles one kernel for the agent.

    Args:
        function: A scheduled PrimFunc.
        target: What to compile for.
        sizes: Values of its symbolic dimensions, by name.

    Raises:
        InternalError: The code generator or the linker failed, or a dimension has no value.
    """
    lifted, workspaces = lift_workspaces(function)
    with tempfile.TemporaryDirectory(prefix="lepton-kernel-") as scratch:
        folder = Path(scratch)
        kernels = Kernels({KERNEL: lifted.with_attr("global_symbol", KERNEL)}, {KERNEL: workspaces})
        thread_workspace_bytes = compile_kernels(kernels, target, folder / _OBJECT)
        renamed = [f"--wrap={name}" for name in _OF_THE_AGENT.get(target.architecture, ())]
        run_zig([*_LINK_FLAGS, *renamed, "-o", _LIBRARY, _OBJECT], folder, tool="ld.lld")
        code = (folder / _LIBRARY).read_bytes()
    types = parameter_types(lifted, sizes)
    own = len(function.params)
    return KernelLibrary(code, types[:own], tuple(filter(None, types[own:])), thread_workspace_bytes)


def parameter_types(
    function: tirx.PrimFunc, sizes: Mapping[str, int] = MappingProxyType({})
) -> tuple[ArrayType | None, ...]:
    """Type of each parameter: None for an integer.

    Raises:
        InternalError: A dimension has no value in ``sizes``.
    """
    values = _named_sizes(function, sizes)
    return tuple(
        ArrayType(str(parameter.dtype), tuple(evaluate(dim, values) for dim in parameter.shape))
        if tirx.is_buffer_var(parameter)
        else None
        for parameter in function.params
    )


def _named_sizes(function: tirx.PrimFunc, sizes: Mapping[str, int]) -> dict[tirx.Var, int]:
    dims = [dim for parameter in function.params if tirx.is_buffer_var(parameter) for dim in parameter.shape]
    symbols = [dim for dim in dims if isinstance(dim, tirx.Var)]
    missing = sorted({symbol.name for symbol in symbols} - set(sizes))
    if missing:
        raise InternalError(f"a kernel with symbolic dimensions was given no sizes for {', '.join(missing)}")
    return {symbol: sizes[symbol.name] for symbol in symbols}
