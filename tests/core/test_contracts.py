"""Contracts: each stage's promise, broken once."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tiny_programs import Relu
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from lepton_compiler.core.contracts import check_contract
from lepton_compiler.core.errors import InternalError
from lepton_compiler.core.program import Stage

WEIGHTS = relax.const(np.ones((3,), "float32"))


@I.ir_module
class Kernel:
    @T.prim_func(private=True, s_tir=True)
    def relu(a: T.Buffer((2, 3), "float32"), b: T.Buffer((2, 3), "float32")):
        for i, j in T.grid(2, 3):
            with T.sblock("relu"):
                v, w = T.axis.remap("SS", [i, j])
                b[v, w] = T.max(a[v, w], T.float32(0))

    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        cls = Kernel
        with R.dataflow():
            relu1 = R.call_tir(cls.relu, (x,), out_ty=R.Tensor((2, 3), "float32"))
            flat = R.reshape(relu1, R.shape([6]))
            R.output(flat)
        return flat


@I.ir_module
class Constants:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            doubled = R.add(WEIGHTS, WEIGHTS)
            y = R.add(x, doubled)
            R.output(y)
        return y


@I.ir_module
class Joined:
    @R.function
    def main(x: R.Tensor((6,), "float32")):
        with R.dataflow():
            joined = R.concat((WEIGHTS, WEIGHTS))
            y = R.add(x, joined)
            R.output(y)
        return y


@I.ir_module
class Widened:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            widened = R.broadcast_to(WEIGHTS, R.shape([2, 3]))
            y = R.add(x, widened)
            R.output(y)
        return y


@I.ir_module
class Parts:
    @R.function
    def main(x: R.Tensor((1,), "float32")):
        with R.dataflow():
            parts = R.split(WEIGHTS, 3)
            first = parts[0]
            y = R.add(x, first)
            R.output(y)
        return y


@I.ir_module
class External:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            sorted1 = R.call_dps_packed("sort", (x,), out_ty=R.Tensor((2, 3), "float32"))
            R.output(sorted1)
        return sorted1


def _without_names() -> tvm.IRModule:
    module = Relu.clone()
    module.update_func(module.get_global_var("main"), module["main"].without_attr("input_names"))
    return module


BROKEN = [
    (Stage.IMPORTED, _without_names, 'main has no attribute "input_names"'),
    (Stage.CANONICAL, lambda: Constants, "node doubled: relax.add of constants is left"),
    (Stage.CANONICAL, lambda: Joined, "node joined: relax.concat of constants is left"),
    (Stage.CANONICAL, lambda: Widened, "node widened: relax.broadcast_to of constants is left"),
    (Stage.CANONICAL, lambda: Parts, "node parts: relax.split of constants is left"),
    (Stage.LOWERED, lambda: Relu, "node relu1: operator relax.nn.relu was not lowered"),
    (Stage.LOWERED, lambda: External, "node sorted1: operator relax.call_dps_packed was not lowered"),
    (Stage.SCHEDULED, lambda: Kernel, "kernel relu has no schedule"),
]


@pytest.mark.parametrize(("stage", "make", "problem"), BROKEN, ids=[entry[2] for entry in BROKEN])
def test_names_what_is_broken(stage: Stage, make, problem: str) -> None:
    with pytest.raises(InternalError) as caught:
        check_contract(make(), stage)
    assert str(caught.value) == f"contract of stage {stage.name} broken: {problem}"


def _refusing_stages(module: tvm.IRModule) -> set[Stage]:
    refusing = set()
    for stage in Stage:
        try:
            check_contract(module, stage)
        except InternalError:
            refusing.add(stage)
    return refusing


def test_accepts_what_holds() -> None:
    scheduled = tvm.IRModule(
        {var: function.with_attr("lepton.schedule", "none") for var, function in Kernel.functions.items()}
    )
    # Kernels of the middle of the pipeline have no names of inputs and outputs, which IMPORTED asks for.
    assert _refusing_stages(Relu) == {Stage.LOWERED}
    assert _refusing_stages(Kernel) == {Stage.IMPORTED, Stage.SCHEDULED}
    assert _refusing_stages(scheduled) == {Stage.IMPORTED}


def test_shortens_long_lists() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        y = x
        for i in range(12):
            y = builder.emit(relax.op.exp(y), f"exp{i}")
        builder.emit_func_output(y)
    with pytest.raises(InternalError, match=r"exp9: operator relax.exp was not lowered; 2 more$"):
        check_contract(builder.get(), Stage.LOWERED)


def test_refuses_what_is_not_well_formed() -> None:
    stray = relax.Var("stray", relax.TensorType((2, 3), "float32"))
    module = tvm.IRModule({"main": relax.Function([], stray, stray.ty)})
    with pytest.raises(InternalError, match=r"^the program is not well-formed at stage CANONICAL$"):
        check_contract(module, Stage.CANONICAL)
