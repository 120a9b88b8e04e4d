"""Program: frozen, and its history found by node."""

from __future__ import annotations

import dataclasses

import pytest
from tiny_programs import relu_program

from lepton_compiler.core.program import Decline, PassRecord, Rewrite, Stage


def test_stages_are_ordered() -> None:
    assert Stage.IMPORTED < Stage.CANONICAL < Stage.FUSED < Stage.SCHEDULED < Stage.BUILT


def test_records_of_a_node_in_order_and_by_part() -> None:
    folded = Rewrite("bn1", "folded")
    declined = Decline("bn1", "read twice")
    fused = Rewrite("conv1+bn1+relu1", "fused")
    other = Rewrite("bn10", "folded")
    first = PassRecord("first", Stage.CANONICAL, (folded, other), (declined,))
    second = PassRecord("second", Stage.FUSED, (fused,))
    program = dataclasses.replace(relu_program(), history=(first, second))
    assert program.records_of("bn1") == [(first, folded), (first, declined), (second, fused)]
    assert program.records_of("bn") == []


def test_a_program_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        relu_program().stage = Stage.BUILT  # pyright: ignore[reportAttributeAccessIssue]
