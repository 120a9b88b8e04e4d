"""The smallest programs that pass through the manager."""

from __future__ import annotations

import tvm
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.program import ModelSource, Program
from lepton_compiler.targets.registry import get_target


@I.ir_module
class Relu:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        R.func_attr({"input_names": ["x"], "output_names": ["y"]})
        with R.dataflow():
            relu1 = R.nn.relu(x)
            R.output(relu1)
        return relu1


def relu_program() -> Program:
    """``y = relu(x)`` as imported."""
    return program_of(Relu)


def program_of(module: tvm.IRModule) -> Program:
    """A program around a module."""
    return Program(module, get_target("x86-64-v2"), ModelSource("tiny.onnx", "00" * 32, 17))
