"""The cost model on a landscape whose optimum is known, and with records that nobody here has written."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from landscape import ANCHOR, SIZE, knob_values, seconds

from lepton_compiler.tuning.cost_model import CostModel, KernelSize, Sample

WINOGRAD = [
    {"tile_rows": rows, "tile_columns": columns, "tiles": tiles, "vectors": vectors}
    for rows, columns, tiles, vectors in itertools.product((None, 1, 2), (None, 4), (2, 4), (1, 2))
]


def trained(count: int, size: KernelSize = SIZE, seed: int = 0) -> tuple[CostModel, list[dict[str, int]]]:
    """A model that knows ``count`` candidates, and the candidates that it does not know."""
    everything = list(knob_values())
    random.Random(seed).shuffle(everything)
    model = CostModel()
    model.add(ANCHOR, [Sample(size, knobs, seconds(knobs, size)) for knobs in everything[:count]])
    return model, everything[count:]


def test_it_finds_the_better_half_of_what_it_never_saw() -> None:
    model, unseen = trained(40)
    rates = model.predict(ANCHOR, SIZE, unseen)
    assert rates is not None
    times = [seconds(knobs, SIZE) for knobs in unseen]
    median = float(np.median(times))
    favourites = np.argsort(-rates)[: len(unseen) // 2]
    assert np.mean([times[index] < median for index in favourites]) >= 0.8


def test_rates_are_those_of_the_kernel_in_absolute_numbers() -> None:
    model, _ = trained(60)
    known = next(iter(knob_values()))
    rates = model.predict(ANCHOR, SIZE, [known])
    assert rates is not None
    assert float(rates[0]) == pytest.approx(math.log(SIZE.flops / seconds(known, SIZE)), abs=0.5)


def test_with_too_little_it_says_nothing() -> None:
    model, unseen = trained(11)
    assert model.predict(ANCHOR, SIZE, unseen) is None
    assert model.predict("another", SIZE, unseen) is None
    model.add(ANCHOR, [Sample(SIZE, unseen[0], 1e-3)])
    assert model.predict(ANCHOR, SIZE, unseen) is not None
    assert model.predict(ANCHOR, SIZE, []) is None


def test_knobs_that_are_none_or_false_have_features_like_others() -> None:
    """Winograd's steps that are parallel for themselves have no rows and columns of a chunk."""
    model = CostModel()
    model.add("winograd", [Sample(SIZE, knobs, 1e-3 if knobs["tile_rows"] is None else 1e-4) for knobs in WINOGRAD])
    rates = model.predict("winograd", SIZE, WINOGRAD)
    assert rates is not None
    slow = [rate for rate, knobs in zip(rates, WINOGRAD, strict=True) if knobs["tile_rows"] is None]
    fast = [rate for rate, knobs in zip(rates, WINOGRAD, strict=True) if knobs["tile_rows"] is not None]
    assert max(slow) < min(fast)


@pytest.mark.parametrize(
    "value", [0, -3, 10**400, float("inf"), 1e300, True, None, "text"], ids=lambda value: str(value)[:9]
)
def test_odd_knobs_of_other_logs_do_no_harm(value: Any) -> None:
    model, unseen = trained(40)
    model.add(ANCHOR, [Sample(SIZE, {**unseen[0], "rows": value}, 1e-3)] * 10)
    rates = model.predict(ANCHOR, SIZE, unseen)
    assert rates is not None
    assert np.isfinite(rates).all()


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "text",
        7,
        [],
        {},
        {"flops": 1, "bytes": 1},
        {"flops": 1, "bytes": 1, "output": 5},
        {"flops": 1, "bytes": 1, "output": "12"},
        {"flops": "1", "bytes": 1, "output": [1]},
        {"flops": 1.5, "bytes": 1, "output": [1]},
        {"flops": True, "bytes": 1, "output": [1]},
        {"flops": -1, "bytes": 1, "output": [1]},
        {"flops": 10**30, "bytes": 1, "output": [1]},
        {"flops": 1, "bytes": 1, "output": [1, None]},
        {"flops": 1, "bytes": 1, "output": [[1]]},
    ],
)
def test_sizes_that_are_none_are_not_read(raw: Any) -> None:
    assert KernelSize.read(raw) is None


def test_sizes_are_read_as_they_are_written() -> None:
    assert KernelSize.read(SIZE.as_object()) == SIZE
    assert KernelSize.read({**SIZE.as_object(), "newer": [1]}) == SIZE


def test_samples_without_a_rate_teach_nothing() -> None:
    model = CostModel()
    model.add(ANCHOR, [Sample(KernelSize(0, 1, ()), {}, 1.0), Sample(SIZE, {}, 0.0)])
    assert model.samples(ANCHOR) == 0
