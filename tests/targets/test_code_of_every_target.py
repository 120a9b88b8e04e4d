"""One kernel of each schedule as machine code for each target, also for those that this machine can't run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import tvm
from kernel_checks import Build, random, schedules_for
from tvm import relax

from lepton_compiler.core.pass_base import Pass
from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.targets.cpu.schedule import _SCHEDULERS
from lepton_compiler.targets.registry import TARGETS
from lepton_compiler.targets.spec import Architecture, TargetSpec


@dataclass(frozen=True)
class Example:
    """An operator whose kernel has the anchor that it stands under."""

    build: Build
    shapes: tuple[tuple[int, ...], ...]
    arrange: Pass | None = None


def _convolution(*weight: int, **attributes: object) -> Callable[..., relax.Expr]:
    return lambda emit, x: emit(
        relax.op.nn.relu(emit(relax.op.nn.conv2d(x, relax.const(random(*weight)), **attributes)))
    )


_DEPTHWISE = _convolution(40, 1, 3, 3, padding=[1] * 4, groups=40)
_DIRECT = PackActivations(WinogradPolicy(enabled=False))

EXAMPLES = {
    "packed_convolution": Example(_convolution(40, 24, 3, 3, padding=[1] * 4), ((1, 24, 13, 13),), _DIRECT),
    "packed_depthwise": Example(_DEPTHWISE, ((1, 40, 13, 13),), _DIRECT),
    "winograd": Example(_convolution(64, 64, 3, 3, padding=[1] * 4), ((1, 64, 56, 56),), PackActivations()),
    "convolution": Example(_convolution(40, 24, 3, 3, padding=[1] * 4), ((1, 24, 13, 13),)),
    "depthwise_convolution": Example(_DEPTHWISE, ((1, 40, 13, 13),)),
    "dense": Example(lambda emit, x: relax.op.matmul(x, relax.const(random(40, 70))), ((13, 40),)),
    "matmul": Example(lambda emit, x, y: relax.op.matmul(x, y), ((2, 13, 40), (2, 40, 70))),
    "row_reduction": Example(lambda emit, x: relax.op.nn.softmax(x), ((13, 197),)),
    "elementwise": Example(lambda emit, x: relax.op.sigmoid(x), ((33, 517),)),
    "generic": Example(lambda emit, x: relax.op.nn.max_pool2d(x, pool_size=[3, 3]), ((1, 40, 13, 13),)),
}

VECTOR_REGISTERS = {
    (Architecture.X86_64, 128): r"%xmm\d",
    (Architecture.X86_64, 256): r"%ymm\d",
    (Architecture.X86_64, 512): r"%zmm\d",
    (Architecture.AARCH64, 128): r"\bv\d+\.4s\b",
    (Architecture.ARMV7, 128): r"\bq\d",
}
"""How the assembly names a register of the target's whole width."""


def test_there_is_an_example_of_every_schedule():
    assert set(EXAMPLES) == {*_SCHEDULERS, "elementwise", "generic"}


@pytest.mark.parametrize("spec", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("anchor", EXAMPLES)
def test_code_uses_whole_vectors(anchor: str, spec: TargetSpec):
    example = EXAMPLES[anchor]
    kernels = schedules_for(spec.name, example.build, *example.shapes, arrange=example.arrange)
    (kernel,) = [kernel for kernel in kernels if kernel.anchor == anchor]
    assert kernel.refused is None
    main = kernel.func.with_attr("global_symbol", "main")
    code = tvm.compile(main, tvm.target.Target(spec.llvm_target())).mod.inspect_source("asm")
    assert re.search(VECTOR_REGISTERS[spec.architecture, spec.vector_bits], code)
