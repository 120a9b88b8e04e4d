"""LegalizeOperators: every Relax operator -> a call of a PrimFunc.

Reshapes stay ``relax.reshape``: the executor turns them into views that cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import tvm
from tvm import relax

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.passes.lowering.keep_result_types import keep_result_types
from lepton_compiler.passes.lowering.legalize_convolutions import CONVOLUTIONS, legalize_convolution, why_not_packed
from lepton_compiler.passes.lowering.legalize_matmul import legalize_matmul, why_not_packed_dense
from lepton_compiler.passes.lowering.nan_keeping import (
    legalize_clip,
    legalize_maximum,
    legalize_minimum,
    legalize_relu,
)
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class LegalizeOperators(Pass):
    """Turn every operator into a call of a PrimFunc, with weights packed for the target."""

    required: ClassVar[bool] = True

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Legalizes and notes on each PrimFunc how it may fuse (attribute ``op_pattern``)."""
        rewrites, declines = _what_will_happen(module, target)
        with tvm.target.Target(target.llvm_target()):
            module = relax.transform.LegalizeOps(keep_result_types(_legalizers(target)), skip_ops=["relax.reshape"])(
                module
            )
            module = relax.transform.AnnotateTIROpPattern()(module)
        return PassResult(module, tuple(rewrites), tuple(declines))


def _legalizers(target: TargetSpec) -> dict[str, Callable[[relax.BlockBuilder, relax.Call], relax.Expr]]:
    """Our own definitions, by operator; they take the place of TVM's."""
    return {
        **dict.fromkeys(CONVOLUTIONS, partial(legalize_convolution, target=target)),
        "relax.matmul": partial(legalize_matmul, target=target),
        "relax.nn.relu": legalize_relu,
        "relax.clip": legalize_clip,
        "relax.maximum": legalize_maximum,
        "relax.minimum": legalize_minimum,
    }


def _what_will_happen(module: tvm.IRModule, target: TargetSpec) -> tuple[list[Rewrite], list[Decline]]:
    """Which weights get packed, and why others don't, by node."""
    rewrites, declines = [], []
    for binding in bindings(module):
        name = operator_name(binding.value)
        if name in CONVOLUTIONS:
            reason = why_not_packed(binding.value, target)
        elif name == "relax.matmul":
            reason = why_not_packed_dense(binding.value)
        else:
            continue
        if reason is None:
            rewrites.append(Rewrite(binding.var.name, "packed the weight for vectors of outputs"))
        else:
            declines.append(Decline(binding.var.name, f"weight not packed: {reason}"))
    return rewrites, declines
