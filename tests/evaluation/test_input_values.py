"""Shapes for symbolic dimensions, seeded random tensors and the checks of given ones."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from lepton_compiler.core.errors import InputError
from lepton_compiler.core.manifest import TensorEntry
from lepton_compiler.evaluation.input_values import check_values, fixed_shapes, non_finite_counts, random_values

IDS = TensorEntry("ids", "int64", ("batch", "n"))
MASK = TensorEntry("mask", "bool", ("batch", "n"))
IMAGE = TensorEntry("image", "float32", (1, 3, 4, 4))


def test_a_symbol_given_once_is_known_everywhere() -> None:
    assert fixed_shapes([IDS, MASK], {"ids": (2, 7)}) == {"ids": (2, 7), "mask": (2, 7)}


def test_fixed_inputs_need_nothing() -> None:
    assert fixed_shapes([IMAGE], {}) == {"image": (1, 3, 4, 4)}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, '--input-shapes "ids:[batch,n] mask:[batch,n]"'),
        ({"ids": (2, "n")}, 'needs a number here, not "n"|symbolic dimensions need sizes'),
        ({"tokens": (2, 7)}, '"tokens", which is no input; inputs: ids, mask'),
        ({"ids": (2,)}, "1 dimensions, it has 2"),
        ({"ids": (2, 7), "mask": (2, 8)}, 'dimension "n" is 7 elsewhere and 8 in input "mask", axis 1'),
    ],
)
def test_wrong_shapes(given: dict[str, tuple[int | str, ...]], reason: str) -> None:
    with pytest.raises(InputError, match=reason.replace("[", r"\[").replace("]", r"\]")):
        fixed_shapes([IDS, MASK], given)


def test_fixed_dimension_can_not_be_changed() -> None:
    with pytest.raises(InputError, match="is fixed to 3, not 4"):
        fixed_shapes([IMAGE], {"image": (1, 4, 4, 4)})


def test_random_values_are_those_of_the_seed() -> None:
    entries = [IMAGE, TensorEntry("bytes", "uint8", (1000,)), TensorEntry("token", "int32", (1000,)), MASK]
    shapes = {"image": (1, 3, 4, 4), "bytes": (1000,), "token": (1000,), "mask": (5, 100)}
    first, again, other = (random_values(entries, shapes, seed) for seed in (0, 0, 1))
    for entry in entries:
        assert first[entry.name].shape == shapes[entry.name]
        assert str(first[entry.name].dtype) == entry.dtype
        np.testing.assert_array_equal(first[entry.name], again[entry.name])
        assert not np.array_equal(first[entry.name], other[entry.name])
    assert set(np.unique(first["token"])) == {0, 1}
    assert (first["bytes"].min(), first["bytes"].max()) == (0, 255)
    assert abs(first["image"].mean()) < 1


def test_random_bfloat16() -> None:
    values = random_values([TensorEntry("x", "bfloat16", (3,))], {"x": (3,)}, 0)["x"]
    assert values.dtype == ml_dtypes.bfloat16


def test_types_without_random_values() -> None:
    with pytest.raises(InputError, match="complex64, for which there are no random values"):
        random_values([TensorEntry("x", "complex64", (3,))], {"x": (3,)}, 0)


def test_given_values_that_fit() -> None:
    values = {"ids": np.zeros((2, 3), np.int64), "mask": np.ones((2, 3), bool)}
    check_values([IDS, MASK], values)
    for name, value in values.items():
        for other in (value[:1], value[:, :2], value[0], value.astype(np.int8)):
            with pytest.raises(InputError, match=r'input "(ids|mask)"'):
                check_values([IDS, MASK], values | {name: other})


def test_symbols_hold_over_all_given_values() -> None:
    with pytest.raises(
        InputError, match=r'input "mask" has shape \[2,4\], the model takes \[batch,n\], batch = 2, n = 3'
    ):
        check_values([IDS, MASK], {"ids": np.zeros((2, 3), np.int64), "mask": np.ones((2, 4), bool)})


def test_non_finite_counts() -> None:
    assert non_finite_counts(np.array([1, np.nan, np.inf, -np.inf], np.float32)) == (1, 2)
    assert non_finite_counts(np.array([np.nan, 1], ml_dtypes.bfloat16)) == (1, 0)
    assert non_finite_counts(np.arange(5)) == (0, 0)
