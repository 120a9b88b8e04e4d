import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tvm

from lepton_compiler.build.constants_pool import PAGE_BYTES, ConstantsPool, write_constants
from lepton_compiler.core.abi import ALIGNMENT


def written(arrays: list[np.ndarray], path: Path) -> tuple[ConstantsPool, bytes]:
    pool = write_constants([tvm.runtime.tensor(array) for array in arrays], path)
    return pool, path.read_bytes()


def test_each_constant_lies_aligned_at_its_offset(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [
        rng.random((3, 5), dtype=np.float32),
        np.array([True, False, True]),
        rng.integers(-100, 100, (7,), dtype=np.int8),
        rng.random((9, 9), dtype=np.float64).astype(np.float16),
        rng.random((5,), dtype=np.float32).astype(ml_dtypes.bfloat16),
        np.array(2.5, dtype=np.float64),
        rng.integers(0, 9, (16, 4), dtype=np.int64),
    ]
    pool, block = written(arrays, tmp_path / "weights")
    assert len(set(pool.offsets)) == len(arrays)
    for array, offset in zip(arrays, pool.offsets, strict=True):
        assert offset % ALIGNMENT == 0
        assert block[offset : offset + array.nbytes] == array.tobytes()


def test_size_and_hash_are_those_of_the_file(tmp_path: Path) -> None:
    pool, block = written([np.arange(100, dtype=np.float32), np.ones(3, np.int8)], tmp_path / "weights")
    assert pool.size_bytes == len(block)
    assert pool.size_bytes % ALIGNMENT == 0
    assert pool.sha256 == hashlib.sha256(block).hexdigest()


def test_equal_bytes_are_kept_once(tmp_path: Path) -> None:
    first = np.arange(64, dtype=np.float32)
    arrays = [first, first + 1, first.copy(), first.view(np.int32), first.reshape(8, 8)]
    pool, block = written(arrays, tmp_path / "weights")
    assert pool.offsets[0] == pool.offsets[2] == pool.offsets[3] == pool.offsets[4] != pool.offsets[1]
    assert len(block) < 3 * first.nbytes


def test_prefix_of_another_constant_is_not_equal_to_it(tmp_path: Path) -> None:
    pool, _ = written([np.zeros(16, np.float32), np.zeros(8, np.float32)], tmp_path / "weights")
    assert pool.offsets[0] != pool.offsets[1]


@pytest.mark.parametrize("arrays", [[], [np.zeros((0, 3), np.float32)]])
def test_no_bytes_at_all_still_make_a_block(arrays: list[np.ndarray], tmp_path: Path) -> None:
    pool, block = written(arrays, tmp_path / "weights")
    assert pool.size_bytes == len(block) == ALIGNMENT
    assert all(0 <= offset < pool.size_bytes for offset in pool.offsets)


def test_aligned_vector_at_the_end_stays_inside(tmp_path: Path) -> None:
    for elements in (1, 15, 16, 17):
        pool, block = written([np.ones(elements, np.float32)], tmp_path / "weights")
        last_vector = (pool.offsets[0] + elements * 4 - 1) // ALIGNMENT * ALIGNMENT
        assert last_vector + ALIGNMENT <= len(block)


def test_large_constants_begin_at_the_same_place_of_a_page(tmp_path: Path) -> None:
    sizes = (5, 1 << 14, 100, (1 << 14) + 3, 1 << 15)
    arrays = [np.full(size, size, np.float32) for size in sizes]
    pool, block = written(arrays, tmp_path / "weights")
    places = [
        offset % PAGE_BYTES for offset, array in zip(pool.offsets, arrays, strict=True) if array.nbytes >= 1 << 16
    ]
    assert places == [192, 192, 192]
    for array, offset in zip(arrays, pool.offsets, strict=True):
        assert block[offset : offset + array.nbytes] == array.tobytes()
    assert len(block) <= sum(array.nbytes for array in arrays) + len(arrays) * PAGE_BYTES
