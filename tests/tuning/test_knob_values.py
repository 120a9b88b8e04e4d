"""Knobs as flat values: every schedule's class, there and back, and what doesn't fit is named."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from enum import Enum

import pytest
from sample_records import RECORD

from lepton_compiler.core.errors import InternalError, TuningLogError
from lepton_compiler.targets.cpu.packed_convolution import PackedConvolutionKnobs
from lepton_compiler.targets.cpu.pixel_tile import PixelTile
from lepton_compiler.targets.cpu.schedule import knob_types
from lepton_compiler.targets.cpu.winograd import WinogradKnobs
from lepton_compiler.tuning.knob_check import why_knobs_do_not_fit
from lepton_compiler.tuning.knob_values import from_values, to_values


class Order(Enum):
    ROWS = "rows"
    COLUMNS = "columns"


@dataclass(frozen=True)
class ManyKnobs:
    tile: PixelTile
    order: Order
    share: float
    copied: bool = False
    chunks: int | None = None


MANY = ManyKnobs(PixelTile(2, 1, 6), Order.COLUMNS, 0.5, True)
MANY_VALUES = {
    "tile.vectors": 2,
    "tile.rows": 1,
    "tile.columns": 6,
    "order": "columns",
    "share": 0.5,
    "copied": True,
    "chunks": None,
}


def test_round_trip() -> None:
    assert to_values(MANY) == MANY_VALUES
    assert from_values(ManyKnobs, MANY_VALUES) == MANY
    winograd = WinogradKnobs(None, 3, 2)
    assert to_values(winograd).items() >= {"tile_rows": None, "tiles": 3, "vectors": 2}.items()
    assert from_values(WinogradKnobs, to_values(winograd)) == winograd


@pytest.mark.parametrize("anchor", knob_types())
def test_the_knobs_of_every_schedule_can_stand_in_a_log(anchor: str) -> None:
    kind = knob_types()[anchor]
    assert dataclasses.is_dataclass(kind)
    hints = typing.get_type_hints(kind)
    values = {int: 3, bool: True, int | None: None, PixelTile: PixelTile(7, 8, 9)}
    fields = {field.name: values[hints[field.name]] for field in dataclasses.fields(kind)}
    knobs = kind(**fields)
    assert from_values(kind, to_values(knobs)) == knobs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": 1}, "not those of ManyKnobs: unknown more"),
        ({"tile.depth": 1}, "unknown tile.depth"),
        ({"tile": 1}, "unknown tile"),
        ({"order": "diagonal"}, "order of ManyKnobs is 'diagonal', which is no Order"),
        ({"tile.rows": True}, "tile.rows of PixelTile is True, which is no int"),
        ({"tile.rows": 1.0}, "tile.rows of PixelTile is 1.0, which is no int"),
        ({"copied": 1}, "copied of ManyKnobs is 1, which is no bool"),
        ({"chunks": "4"}, "chunks of ManyKnobs is '4', which is no int or NoneType"),
        ({"share": None}, "share of ManyKnobs is None, which is no float"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(TuningLogError) as caught:
        from_values(ManyKnobs, MANY_VALUES | change)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", MANY_VALUES)
def test_every_knob_must_be_there(name: str) -> None:
    with pytest.raises(TuningLogError, match=rf"no {name}$"):
        from_values(ManyKnobs, {key: value for key, value in MANY_VALUES.items() if key != name})


def test_knobs_that_can_not_stand_in_a_log_are_a_fault() -> None:
    @dataclass(frozen=True)
    class ListKnobs:
        order: list

    with pytest.raises(InternalError, match=r"ListKnobs.order can't stand in a tuning log: it is a list"):
        to_values(ListKnobs([1]))
    with pytest.raises(InternalError, match="tile_rows is 'x'"):
        to_values(WinogradKnobs("x", 1, 1))
    with pytest.raises(InternalError, match="int is no class of knobs"):
        to_values(7)


def test_a_record_fits_its_schedule_or_says_why_not() -> None:
    assert why_knobs_do_not_fit(RECORD) is None
    assert from_values(PackedConvolutionKnobs, RECORD.knobs) == PackedConvolutionKnobs(PixelTile(2, 1, 6), 4)
    other_anchor = dataclasses.replace(RECORD, anchor="fourier")
    assert why_knobs_do_not_fit(other_anchor) == 'this version of Lepton has no schedule with knobs for "fourier"'
    other_knobs = dataclasses.replace(RECORD, knobs={"chunks": 4})
    assert why_knobs_do_not_fit(other_knobs) == (
        "the knobs are not those of PackedConvolutionKnobs: no tile.columns, tile.rows, tile.vectors"
    )
