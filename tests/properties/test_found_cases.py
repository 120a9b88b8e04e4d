"""What random operators found, each as a case of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_check import check_batch
from case_graph import OperatorCase
from epilogues import Epilogue
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
}


@pytest.mark.parametrize("name", FOUND)
def test_found_case(name: str, tmp_path: Path) -> None:
    check_batch([FOUND[name]], "native", winograd=True, folder=tmp_path)
