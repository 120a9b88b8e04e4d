"""FoldPad: zero padding of spatial dimensions, and paddings that a convolution can't express."""

from __future__ import annotations

import numpy as np
from pass_checks import check_rewrite, check_unchanged, node_names, reasons
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.fold_pad import FoldPad

W = relax.const(np.random.default_rng(4).normal(size=(2, 3, 3, 3)).astype("float32"))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 3, 8, 8), "float32")):
        with R.dataflow():
            pad = R.nn.pad(x, pad_width=[0, 0, 0, 0, 1, 2, 0, 3])
            conv = R.nn.conv2d(pad, W, strides=[2, 2], padding=[1, 1, 1, 1])
            R.output(conv)
        return conv


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 3, 8, 8), "float32")):
        with R.dataflow():
            conv = R.nn.conv2d(x, W, strides=[2, 2], padding=[2, 1, 3, 4])
            R.output(conv)
        return conv


def test_adds_the_widths_to_the_padding() -> None:
    result = check_rewrite(FoldPad(), Before, Expected, tolerance=0)
    assert node_names(result.module) == ["pad+conv"]


def test_refuses_paddings_that_a_convolution_has_not() -> None:
    @I.ir_module
    class Refused:
        @R.function
        def main(x: R.Tensor((1, 3, 8, 8), "float32"), y: R.Tensor((1, 2, 8, 8), "float32")):
            with R.dataflow():
                ones = R.nn.pad(x, pad_width=[0, 0, 0, 0, 1, 1, 1, 1], pad_value=1.0)
                conv1 = R.nn.conv2d(ones, W)
                channels = R.nn.pad(y, pad_width=[0, 0, 0, 1, 0, 0, 0, 0])
                conv2 = R.nn.conv2d(channels, W)
                shared = R.nn.pad(x, pad_width=[0, 0, 0, 0, 1, 1, 1, 1])
                conv3 = R.nn.conv2d(shared, W)
                R.output(conv1, conv2, conv3, shared)
            return (conv1, conv2, conv3, shared)

    assert reasons(check_unchanged(FoldPad(), Refused)) == {
        "conv1": "ones pads with something other than zeros",
        "conv2": "channels pads the batch or the channels",
        "conv3": "shared is read by 2 nodes, so it stays anyway",
    }
