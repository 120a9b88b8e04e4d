"""What ``lepton tune`` says about the whole model at the end."""

from __future__ import annotations

import pytest

from lepton_compiler.cli.tune_tables import check_sentences
from lepton_compiler.evaluation.interleaved_timing import Spread
from lepton_compiler.evaluation.tuned_model import TunedModelTimes

SLOWER, BUSY = "it is slower with these records", "the machine was too busy to tell"


@pytest.mark.parametrize(
    ("low", "median", "high", "said"),
    [
        (1.04, 1.05, 1.06, None),
        (0.98, 1.0, 1.02, None),
        (0.93, 0.95, 0.97, SLOWER),
        (0.61, 0.91, 1.26, BUSY),
        (0.67, 1.0, 1.55, BUSY),
    ],
)
def test_ratios_are_believed_as_far_as_they_repeat(low: float, median: float, high: float, said: str | None) -> None:
    one = Spread(1.0, 1.0, 1.0)
    (sentence,) = check_sentences(TunedModelTimes(1, one, one, Spread(median, low, high), {}))
    assert [words for words in (SLOWER, BUSY) if words in sentence] == ([said] if said else [])


def test_nothing_is_said_of_what_was_not_timed() -> None:
    assert check_sentences(None) == []
