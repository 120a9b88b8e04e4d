"""Compiles one operator through legalization, fusion and scheduling, runs it, and looks at its code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import tvm
from tvm import relax, tirx
from tvm.tirx.compilation_pipeline import PIPELINE_MAP

from lepton_compiler.core.pass_base import Pass
from lepton_compiler.passes.fusion.fuse_operators import FuseOperators
from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.targets.cpu.bfloat16 import link_functions
from lepton_compiler.targets.cpu.schedule import ScheduledFunction, schedule_function
from lepton_compiler.targets.registry import TARGETS, get_target, native_target, runs_here
from lepton_compiler.targets.spec import TargetSpec

FLOAT32_TOLERANCE = 3e-6
"""Largest error, as a share of the output's range: float32 sums of some thousand terms in another order."""

_X86_LEVELS = [name for name in TARGETS if name.startswith("x86-64-v") and runs_here(TARGETS[name])]

LEVELS = [*_X86_LEVELS, *([] if native_target().name in _X86_LEVELS else ["native"])]
"""What grids are run for: the x86 levels that this machine runs, and the machine's own target."""

at_every_level = pytest.mark.parametrize("target", LEVELS)
"""Runs a test, which takes ``target``, for each of ``LEVELS``."""

Dim = int | str
Build = Callable[..., relax.Expr]


@dataclass(frozen=True)
class CompiledOperator:
    """A scheduled module that runs, and its kernels."""

    kernels: tuple[ScheduledFunction, ...]
    machine: relax.VirtualMachine

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """Runs ``main``."""
        return self.machine["main"](*[tvm.runtime.tensor(array) for array in arrays]).numpy()

    @property
    def kernel(self) -> ScheduledFunction:
        """The one kernel."""
        (kernel,) = self.kernels
        return kernel

    @property
    def anchors(self) -> set[str]:
        """What dominates each kernel."""
        return {kernel.anchor for kernel in self.kernels}

    @property
    def text(self) -> str:
        """TVMScript of all kernels."""
        return "\n".join(kernel.func.script() for kernel in self.kernels)


def operator_module(build: Build, shapes: Sequence[Sequence[Dim]], dtype: str = "float32") -> tvm.IRModule:
    """A module whose ``main`` is ``build(emit, *inputs)``; a string dimension is symbolic."""
    symbols: dict[str, tvm.ir.Var] = {}

    def size(dim: Dim) -> int | tvm.ir.Var:
        return symbols.setdefault(dim, tirx.Var(dim, "int64")) if isinstance(dim, str) else dim

    builder = relax.BlockBuilder()
    inputs = [
        relax.Var(f"x{i}", relax.TensorType([size(dim) for dim in shape], dtype)) for i, shape in enumerate(shapes)
    ]
    with builder.function("main", inputs):
        with builder.dataflow():
            output = builder.emit_output(build(builder.emit, *inputs))
        builder.emit_func_output(output)
    return builder.get()


def lower(module: tvm.IRModule, spec: TargetSpec) -> tvm.IRModule:
    """Legalizes and fuses, unscheduled."""
    module = LegalizeOperators().run(module, spec).module
    return relax.transform.FuseTIR()(relax.transform.FuseOps()(module))


def schedule_all(module: tvm.IRModule, spec: TargetSpec) -> tuple[tvm.IRModule, tuple[ScheduledFunction, ...]]:
    """Schedules every PrimFunc of a lowered module."""
    scheduled = module.clone()
    kernels = []
    for var, function in module.functions.items():
        if isinstance(function, tirx.PrimFunc):
            kernels.append(schedule_function(function, spec))
            scheduled.update_func(var, kernels[-1].func)
    return scheduled, tuple(kernels)


def compile_operator(
    build: Build,
    *shapes: Sequence[Dim],
    dtype: str = "float32",
    arrange: Pass | Sequence[Pass] | None = None,
    target: str = "native",
) -> CompiledOperator:
    """Compiles ``build(emit, *inputs)``, by default for this machine; ``arrange`` runs before legalization."""
    spec = get_target(target)
    module = operator_module(build, shapes, dtype)
    if arrange is None:
        module = lower(module, spec)
    else:
        for pass_ in [arrange] if isinstance(arrange, Pass) else arrange:
            module = pass_.run(module, spec).module
        module = FuseOperators().run(LegalizeOperators().run(module, spec).module, spec).module
    module, kernels = schedule_all(module, spec)
    llvm = tvm.target.Target(spec.llvm_target())
    with llvm:
        executable = tvm.compile(module, llvm, tir_pipeline=_PIPELINE)
    return CompiledOperator(kernels, relax.VirtualMachine(executable, tvm.cpu()))


_PIPELINE = "lepton_kernels"


def _kernel_pipeline() -> tuple[object, ...]:
    """TVM's default passes, and behind them what ``build/lower_kernels.py`` does."""
    lower, *finalize = PIPELINE_MAP["s_tir"]()

    @tvm.transform.module_pass(opt_level=0)
    def lower_and_link(module: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        return link_functions(lower(module))

    return lower_and_link, *finalize


PIPELINE_MAP[_PIPELINE] = _kernel_pipeline


def schedules_for(
    target: str, build: Build, *shapes: Sequence[Dim], arrange: Pass | None = None
) -> tuple[ScheduledFunction, ...]:
    """Schedules without compiling, for any target; ``arrange`` runs before legalization."""
    spec = get_target(target)
    module = operator_module(build, shapes)
    if arrange is not None:
        module = arrange.run(module, spec).module
    return schedule_all(lower(module, spec), spec)[1]


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float = FLOAT32_TOLERANCE) -> None:
    """Compares against the range of ``expected``."""
    assert actual.shape == expected.shape
    error = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    assert error <= tolerance * max(float(np.abs(expected).max(initial=0.0)), 1e-30)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded float32 values around 0."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
