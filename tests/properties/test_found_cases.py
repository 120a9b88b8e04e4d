"""What random operators found, each as a case of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_check import check_batch
from case_graph import OperatorCase
from epilogues import Epilogue
from random_graphs import GraphCase, Integers, Step, Weight
from random_products import ProductCase

FOUND: dict[str, OperatorCase] = {
    # The loop over whole vectors of its one column had no iteration and a body that TVM could not vectorize.
    "one column behind a function": ProductCase(
        operator="MatMul",
        left=(40, 27),
        right=(27, 1),
        transposed=(False, False),
        constant="right",
        bias=True,
        symbolic=False,
        epilogue=Epilogue(activation="Swish"),
    ),
    # Its packed form had one lane where the layout has a vector, and was read behind its end.
    "one channel": GraphCase(
        data=(4, 8, 7, 7),
        symbolic=(0,),
        steps=(
            Step("GlobalAveragePool", (0,)),
            Step("Conv", (1, Weight((1, 8, 1, 1)), Weight((1,)))),
            Step("Squeeze", (2, Integers((2,)))),
        ),
    ),
    "one channel behind many": GraphCase(
        data=(2, 8, 6, 6),
        symbolic=(),
        steps=(
            Step("Conv", (0, Weight((16, 8, 1, 1)))),
            Step("Conv", (0, Weight((1, 8, 1, 1)), Weight((1,)))),
            Step("Concat", (1, 2), (("axis", 1),)),
        ),
    ),
    "one channel of a sequence": GraphCase(
        data=(5, 2, 9), symbolic=(), steps=(Step("Conv", (0, Weight((1, 2, 5)), Weight((1,))), (("pads", [5, 3]),)),)
    ),
    # TVM could not see that the tile of a product reads the sums of its own rows.
    "channels last of an image of symbolic size": GraphCase(
        data=(2, 16, 7, 9),
        symbolic=(0, 2, 3),
        steps=(
            Step("Conv", (0, Weight((32, 16, 1, 1), limit=4)), (("strides", [2, 2]),)),
            Step("Transpose", (1,), (("perm", [0, 2, 3, 1]),)),
            Step("MatMul", (2, Weight((32, 4), limit=4))),
        ),
    ),
    # The packed form of the slice had all three vectors of its source.
    "the first channels of an image of symbolic size": GraphCase(
        data=(1, 16, 5, 6),
        symbolic=(0, 2, 3),
        steps=(
            Step("Conv", (0, Weight((48, 16, 1, 1), limit=4))),
            Step("Slice", (1, *(Integers((value,)) for value in (0, 16, 1, 1)))),
            Step("Concat", (2, 1), (("axis", 1),)),
        ),
    ),
    # The symbols of a kernel and of its packed form were taken for the same ones.
    "the last columns of an image of symbolic size": GraphCase(
        data=(1, 4, 5, 8),
        symbolic=(0, 2, 3),
        steps=(
            Step("Conv", (0, Weight((8, 4, 1, 1)))),
            Step("Slice", (1, *(Integers((value,)) for value in (-2, 1 << 40, 3, 1)))),
            Step("Relu", (2,)),
        ),
    ),
    # Sizes that were written in two ways met in one kernel.
    "every other column but the last": GraphCase(
        data=(1, 4, 7, 9),
        symbolic=(0, 2, 3),
        steps=(
            Step("Conv", (0, Weight((8, 4, 1, 1))), (("strides", [2, 2]),)),
            Step("Pad", (1, Integers((0, 0, -1, -1, 0, 0, 0, 2)))),
            Step("Relu", (2,)),
        ),
    ),
    # TVM's arithmetic failed on a loop over a product of computed sizes.
    "an image of computed sizes": GraphCase(
        data=(2, 16, 10, 12),
        symbolic=(0, 2, 3),
        steps=(
            Step("Slice", (0, *(Integers((value,)) for value in (0, 1 << 40, 2, 2)))),
            Step("MaxPool", (1,), (("kernel_shape", [3, 2]), ("strides", [1, 1]), ("pads", [0, 1, 0, 1]))),
            Step("Conv", (2, Weight((17, 16, 3, 1), limit=4)), (("strides", [2, 1]), ("pads", [1, 0, 0, 0]))),
            Step("Gelu", (3,)),
        ),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_found_case(name: str, tmp_path: Path) -> None:
    check_batch([FOUND[name]], "native", winograd=True, folder=tmp_path)
