"""Arrays of a device: made from seeds on both sides, sent there and back, compared there."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_compiler.core.abi import DTYPES
from lepton_compiler.core.errors import UserError
from lepton_compiler.devices.agent_client import AgentRefusal
from lepton_compiler.devices.arrays import ArrayType, HostArray, SeededArray
from lepton_compiler.devices.local_device import LocalDevice

SHAPES = [(), (0,), (1,), (3, 0, 2), (127,), (5, 3, 7), (1,) * 8]
RANGES = {
    "float64": [(-1, 1), (1e-300, 1e300), (0, 0), (-5, -4.999)],
    "float32": [(-1, 1), (0, 1e-44), (-3e38, 3e38)],
    "float16": [(-1, 1), (-70000, 70000), (0, 6e-8), (0, 1e-4)],
    "bfloat16": [(-1, 1), (3.3e38, 3.4028e38), (0, 1e-39)],
    "int8": [(-128, 127), (3, 3)],
    "int16": [(-(2**15), 2**15 - 1)],
    "int32": [(-(2**31), 2**31 - 1), (0, 9)],
    "int64": [(-(2**63), 2**63 - 1), (-7, 2**62)],
    "uint8": [(0, 255)],
    "uint16": [(1, 2**16 - 1)],
    "uint32": [(0, 2**32 - 1)],
    "uint64": [(0, 2**64 - 1), (2**63, 2**63 + 9)],
    "bool": [(0, 1), (1, 1)],
}


def as_bits(values: np.ndarray) -> np.ndarray:
    return values.view(f"u{values.itemsize}") if values.ndim else values.reshape(1).view(f"u{values.itemsize}")


@pytest.mark.parametrize(("dtype", "low", "high"), [(d, *bounds) for d, all_ in RANGES.items() for bounds in all_])
def test_a_seed_gives_the_same_bits_here_and_there(device: LocalDevice, dtype: str, low: float, high: float) -> None:
    for seed in (0, 1, 2**64 - 1):
        array = SeededArray(ArrayType(dtype, (1000,)), seed, low, high)
        np.testing.assert_array_equal(as_bits(device.download(array)), as_bits(array.values()))
        if dtype in ("float64", "float32") or "int" in dtype:
            assert (array.values() >= low).all()
            assert (array.values() <= high).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_comes_back_as_it_was_sent(device: LocalDevice, dtype: str, shape: tuple[int, ...]) -> None:
    values = SeededArray(ArrayType(dtype, shape), 3, 0, 1).values()
    back = device.download(HostArray(values))
    assert back.dtype == values.dtype
    assert back.shape == shape
    assert back.tobytes() == values.tobytes()


def test_a_seeded_array_has_many_values() -> None:
    values = SeededArray(ArrayType("float32", (100_000,)), 9).values()
    assert len(np.unique(values)) > 99_000
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1 / np.sqrt(3)) < 0.01


def test_a_strided_array_is_sent_in_its_order(device: LocalDevice) -> None:
    values = np.arange(24, dtype=np.int32).reshape(4, 6).T[::2]
    np.testing.assert_array_equal(device.download(HostArray(values)), values)


def test_types_that_devices_lack_are_refused() -> None:
    with pytest.raises(UserError, match="no arrays of complex64"):
        ArrayType("complex64", (1,))
    with pytest.raises(UserError, match="up to 8 dimensions, not 9"):
        ArrayType("float32", (1,) * 9)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", 1, 0), ("float32", 0, np.inf), ("float32", np.nan, 1), ("int8", 0, 128), ("uint8", -1, 5)],
)
def test_ranges_that_are_empty_or_do_not_fit_are_refused(
    device: LocalDevice, dtype: str, low: float, high: float
) -> None:
    with pytest.raises(AgentRefusal, match="range of a recipe must"):
        device.download(SeededArray(ArrayType(dtype, (4,)), 0, low, high))


def test_more_than_the_store_holds_is_refused(device: LocalDevice) -> None:
    with pytest.raises(AgentRefusal, match="above the limit of"):
        device.download(SeededArray(ArrayType("float64", (1 << 30, 1 << 20)), 0))


# Comparison.

INF, NAN = np.inf, np.nan
FLOAT_PAIRS = [
    # actual, reference, tolerance, agrees, largest error, range, mismatched, worst
    ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 0.0, True, 0.0, 2.0, 0, 0),
    ([1.0, 2.5, 3.0], [1.0, 2.0, 3.0], 0.25, True, 0.5, 2.0, 0, 1),
    ([1.0, 2.5, 3.0], [1.0, 2.0, 3.0], 0.2, False, 0.5, 2.0, 0, 1),
    ([NAN, 2.0, 3.0], [NAN, 2.0, 3.0], 0.0, True, 0.0, 1.0, 0, 0),
    ([NAN, 2.0, 3.0], [1.0, 2.0, 3.0], 9.0, False, 0.0, 2.0, 1, 0),
    ([1.0, 2.0, 3.0], [1.0, NAN, 3.0], 9.0, False, 0.0, 2.0, 1, 1),
    ([INF, -INF, 3.0], [INF, -INF, 3.0], 0.0, True, 0.0, 0.0, 0, 0),
    ([INF, INF, 3.0], [INF, -INF, 3.0], 9.0, False, 0.0, 0.0, 1, 1),
    ([1.0, 9.0, INF], [1.0, 2.0, 3.0], 9.0, False, 7.0, 2.0, 1, 2),
    ([4.0, 4.0, 4.4], [4.0, 4.0, 4.0], 0.2, True, 0.4, 0.0, 0, 2),
    ([0.1, 0.0, 0.0], [0.0, 0.0, 0.0], 0.2, True, 0.1, 0.0, 0, 0),
    ([0.3, 0.0, 0.0], [0.0, 0.0, 0.0], 0.2, False, 0.3, 0.0, 0, 0),
    ([NAN, NAN], [NAN, NAN], 0.0, True, 0.0, 0.0, 0, 0),
]


@pytest.mark.parametrize(
    ("actual", "reference", "tolerance", "agrees", "error", "extent", "mismatched", "worst"), FLOAT_PAIRS
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_comparison_of_floats(
    device: LocalDevice,
    dtype: str,
    actual: list[float],
    reference: list[float],
    tolerance: float,
    agrees: bool,
    error: float,
    extent: float,
    mismatched: int,
    worst: int,
) -> None:
    type_ = ArrayType(dtype, (len(actual),)).numpy_dtype
    left, right = np.array(actual).astype(type_), np.array(reference).astype(type_)
    found = device.compare(HostArray(left), HostArray(right), tolerance)
    finite = np.isfinite(left.astype(np.float64)) & np.isfinite(right.astype(np.float64))
    exact = np.abs(left[finite].astype(np.float64) - right[finite].astype(np.float64)).max(initial=0)
    assert (found.max_error, found.range, found.mismatched, found.worst) == (exact, extent, mismatched, worst)
    assert found.agrees is agrees
    assert found.max_error == pytest.approx(error, rel=2e-2)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if "int" in name])
def test_comparison_of_integers_is_exact(device: LocalDevice, dtype: str) -> None:
    limits = np.iinfo(dtype)
    reference = np.array([limits.min, limits.max, 5, limits.max], dtype)
    actual = reference.copy()
    actual[3] -= 1
    found = device.compare(HostArray(actual), HostArray(reference), 0.0)
    assert (found.agrees, found.max_error, found.worst) == (False, 1.0, 3)
    assert device.compare(HostArray(reference), HostArray(reference.copy()), 0.0).agrees


def test_arrays_of_different_types_are_not_compared(device: LocalDevice) -> None:
    with pytest.raises(AgentRefusal, match="differ in type or shape"):
        device.compare(HostArray(np.zeros(4, np.float32)), HostArray(np.zeros((2, 2), np.float32)), 0.0)
