"""Loading and running models from Python."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tiny_library import LibraryBuilder, manifest_of

import lepton_compiler
from lepton_compiler.core.errors import ArtifactError, InputError, RunError
from lepton_compiler.runtime.model import load
from lepton_compiler.runtime.tensors import aligned_empty, numpy_dtype

SCALE = np.array([1, -2, 3, -4, 5, -6], dtype=np.float32)


def affine_input(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, 6)).astype(np.float32)


def affine_reference(x: np.ndarray) -> np.ndarray:
    return np.maximum(x * SCALE, 0)


def symbolic_inputs(batch: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(batch * 100 + width)
    return rng.normal(size=(batch, width)).astype(np.float32), rng.normal(size=(batch, 4)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_fixed_shapes(affine: Path, threads: int) -> None:
    x = affine_input()
    with load(affine, threads=threads) as model:
        result = model(x)
    assert list(result) == ["y", "s"]
    np.testing.assert_array_equal(result["y"], affine_reference(x))
    np.testing.assert_allclose(result["s"], affine_reference(x).sum(), rtol=1e-6)
    assert result["s"].shape == ()


@pytest.mark.parametrize(("batch", "width"), [(1, 3), (5, 17), (2, 4), (64, 1000), (1, 3)])
@pytest.mark.parametrize("threads", [1, 2])
def test_symbolic_shapes_grow_and_shrink(symbolic: Path, batch: int, width: int, threads: int) -> None:
    a, b = symbolic_inputs(batch, width)
    result = load(symbolic, threads=threads)(a, b)
    np.testing.assert_allclose(result["sum"], a + b.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(result["row_ids"], np.arange(batch * 2))
    assert result["tail"].dtype == np.bool_ and result["tail"].shape == (width - 2,) and result["tail"].all()


def test_one_model_runs_many_shapes(symbolic: Path) -> None:
    with load(symbolic) as model:
        for batch, width in [(1, 3), (9, 300), (2, 5), (30, 31)]:
            a, b = symbolic_inputs(batch, width)
            np.testing.assert_allclose(model(a, b)["sum"], a + b.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)


def test_every_dtype(copies: Path) -> None:
    with load(copies) as model:
        rng = np.random.default_rng(3)
        inputs = {}
        for entry in model.inputs:
            dtype = numpy_dtype(entry.dtype)
            raw = rng.integers(0, 2 if entry.dtype == "bool" else 256, 3 * dtype.itemsize, dtype=np.uint8)
            inputs[entry.name] = raw.view(dtype)
        result = model(**inputs)
    for code, entry in enumerate(model.inputs, start=1):
        given, returned = inputs[entry.name], result[f"y{code}"]
        assert returned.dtype == given.dtype
        assert returned.tobytes() == given.tobytes(), entry.dtype
    assert result["y4"].dtype == ml_dtypes.bfloat16


def test_inputs_by_name_and_position(symbolic: Path) -> None:
    a, b = symbolic_inputs(3, 6)
    model = load(symbolic)
    by_position = model(a, b)
    for result in (model(b=b, a=a), model(a, b=b)):
        for name, array in by_position.items():
            np.testing.assert_array_equal(result[name], array)


def test_any_name_of_an_input_may_be_a_keyword(builder: LibraryBuilder) -> None:
    manifest = manifest_of("affine")
    renamed = replace(manifest, inputs=(replace(manifest.inputs[0], name="self"),))
    model = load(builder.build("affine", manifest=renamed))
    np.testing.assert_array_equal(model(**{"self": affine_input()})["y"], affine_reference(affine_input()))
    assert len(model.profile(**{"self": affine_input()})) == 2


@pytest.mark.parametrize("rows", [1 << 50, 1 << 57])
def test_sizes_beyond_memory_are_an_error_in_words(symbolic: Path, rows: int) -> None:
    # Inputs without memory of their own: NumPy repeats one element.
    a, b = (np.broadcast_to(np.float32(1), (rows, columns)) for columns in (6, 4))
    with pytest.raises(RunError, match=rf"out of memory: an array of shape \[{rows}, 6\] and dtype float32 needs"):
        load(symbolic)(a, b)


@pytest.mark.parametrize("elements", [1 << 50, (1 << 61) - 1, 1 << 70])
def test_an_array_beyond_memory_is_an_error_in_words(elements: int) -> None:
    with pytest.raises(
        RunError, match=rf"out of memory: .*\[{elements}\] and dtype float32 needs {elements * 4} bytes"
    ):
        aligned_empty((elements,), np.dtype(np.float32))


def test_outputs_are_new_aligned_arrays(affine: Path) -> None:
    model = load(affine)
    first, second = model(affine_input(1)), model(affine_input(2))
    assert first["y"].ctypes.data % 64 == 0
    np.testing.assert_array_equal(first["y"], affine_reference(affine_input(1)))
    np.testing.assert_array_equal(second["y"], affine_reference(affine_input(2)))
    model.close()
    gc.collect()
    np.testing.assert_array_equal(first["y"], affine_reference(affine_input(1)))


@pytest.mark.parametrize("offset", [0, 4, 20])
def test_unaligned_inputs_are_copied_and_aligned_ones_are_not(affine: Path, offset: int) -> None:
    memory = aligned_empty((96 + 64,), np.dtype(np.uint8))
    x = memory[offset : offset + 96].view(np.float32).reshape(4, 6)
    x[...] = affine_input()
    with load(affine) as model:
        np.testing.assert_array_equal(model(x)["y"], affine_reference(x))
        assert model.memory.buffer_bytes == (0 if offset == 0 else 96)


def test_strided_inputs_are_copied(affine: Path) -> None:
    x = np.asfortranarray(affine_input())
    model = load(affine)
    np.testing.assert_array_equal(model(x)["y"], affine_reference(x))
    wide = np.repeat(affine_input(), 2, axis=1)
    np.testing.assert_array_equal(model(wide[:, ::2])["y"], affine_reference(affine_input()))


def test_nan_and_infinity_pass(affine: Path) -> None:
    x = affine_input()
    x[0, 0] = np.inf
    assert load(affine)(x)["y"][0, 0] == np.inf


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            [np.zeros((4, 5), np.float32)],
            'input "x" must have shape [4, 6], given [4, 5]: dimension 1 must be 6, not 5',
        ),
        ([np.zeros((4, 6, 1), np.float32)], 'input "x" must have rank 2 (shape [4, 6]), given shape [4, 6, 1]'),
        ([np.zeros((1,) * 12, np.float32)], 'input "x" must have rank 2'),
        ([np.zeros((4, 6))], 'input "x" must have dtype float32, given float64: convert it with .astype("float32")'),
        ([np.zeros((4, 6), ">f4")], 'input "x" must have dtype float32, given >f4'),
        ([[[1.0] * 6] * 4], 'input "x" must have dtype float32, given float64'),
        ([], "no value is given for input x"),
        ([affine_input()] * 2, "the model has 1 inputs (x), given 2"),
    ],
)
def test_wrong_inputs(affine: Path, arrays: list, message: str) -> None:
    model = load(affine)
    with pytest.raises(InputError) as error:
        model(*arrays)
    assert message in str(error.value)
    np.testing.assert_array_equal(model(affine_input())["y"], affine_reference(affine_input()))


def test_unknown_and_doubled_names(affine: Path) -> None:
    model = load(affine)
    with pytest.raises(InputError, match='the model has no input "z"; its inputs are x'):
        model(z=affine_input())
    with pytest.raises(InputError, match='input "x" is given twice'):
        model(affine_input(), x=affine_input())


@pytest.mark.parametrize(
    ("a_shape", "b_shape", "message"),
    [
        ((2, 6), (3, 4), '[batch, 4], given [3, 4]: dimension 0 (batch) is 3, but input "a" has batch = 2'),
        ((0, 6), (0, 4), "[batch, width], given [0, 6]: dimension 0 (batch) must be at least 1, not 0"),
        ((2, 2), (2, 4), 'output "tail" would have size 0 in dimension 0 (width - 2): the inputs are too small'),
        ((2, 1), (2, 4), 'output "tail" would have size -1 in dimension 0'),
    ],
)
def test_symbols_that_do_not_fit(symbolic: Path, a_shape: tuple, b_shape: tuple, message: str) -> None:
    with pytest.raises(InputError) as error:
        load(symbolic)(np.zeros(a_shape, np.float32), np.zeros(b_shape, np.float32))
    assert message in str(error.value)


def test_threads_that_are_no_number(affine: Path) -> None:
    with pytest.raises(InputError, match="threads must be a number from 0 to 1024, given 'a'"):
        load(affine, threads="a")  # type: ignore[arg-type]


def test_threads(affine: Path) -> None:
    model = load(affine)
    default = model.threads
    assert 1 <= default <= 1024
    for count in (1, 5, 2):
        model.threads = count
        assert model.threads == count
        np.testing.assert_array_equal(model(affine_input())["y"], affine_reference(affine_input()))
    model.threads = 0
    assert model.threads == default
    for count in (-1, 1025, 1 << 40):
        with pytest.raises(InputError, match=f"threads must be 0 to 1024, given {count}"):
            model.threads = count
    with pytest.raises(InputError, match="threads must be"):
        load(affine, threads=-3)


def test_profile(affine: Path) -> None:
    model = load(affine)
    times = model.profile(affine_input())
    assert [(entry.name, entry.nodes) for entry in times] == [("scale_relu", "mul+relu"), ("sum", "reduce")]
    assert all(entry.seconds >= 0 for entry in times)
    np.testing.assert_array_equal(model(affine_input())["y"], affine_reference(affine_input()))


def test_closed_model_refuses(affine: Path) -> None:
    model = load(affine)
    model.close()
    model.close()
    for use in (lambda: model(affine_input()), lambda: model.threads, lambda: model.profile(affine_input())):
        with pytest.raises(RunError, match=r"affine\.so: the model is closed"):
            use()


def test_several_models_and_the_same_file_twice(affine: Path, symbolic: Path, copies: Path) -> None:
    models = [load(affine), load(symbolic), load(copies), load(affine)]
    a, b = symbolic_inputs(2, 4)
    np.testing.assert_array_equal(models[0](affine_input())["y"], affine_reference(affine_input()))
    np.testing.assert_allclose(models[1](a, b)["sum"], a + b.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
    models[0].close()
    np.testing.assert_array_equal(models[3](affine_input(1))["y"], affine_reference(affine_input(1)))


def test_replaced_file_is_loaded_anew(builder: LibraryBuilder, tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    builder.build("affine", output=path)
    first = load(path)
    replacement = builder.build("symbolic")
    replacement.rename(path)
    second = load(path)
    a, b = symbolic_inputs(2, 4)
    np.testing.assert_allclose(second(a, b)["sum"], a + b.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(first(affine_input())["y"], affine_reference(affine_input()))


def test_relative_path(affine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(affine.parent)
    np.testing.assert_array_equal(load(affine.name)(affine_input())["y"], affine_reference(affine_input()))


def test_many_python_threads_on_one_model_and_on_several(affine: Path) -> None:
    shared = load(affine, threads=2)
    failures: list[str] = []

    def work(seed: int) -> None:
        own = load(affine, threads=2)
        for round_ in range(100):
            x = affine_input(seed * 1000 + round_)
            for model in (own, shared):
                if not np.array_equal(model(x)["y"], affine_reference(x)):
                    failures.append(f"thread {seed}, round {round_}")

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def test_idle_model_uses_no_processor_time(affine: Path) -> None:
    model = load(affine, threads=4)
    for _ in range(20):
        model(affine_input())
    before = time.process_time()
    time.sleep(0.5)
    # Three spinning workers would burn 500 ms on each processor; reading the clock and sleeping take microseconds.
    assert time.process_time() - before < 0.02


def test_unknown_dtype_in_manifest(builder: LibraryBuilder) -> None:
    manifest = manifest_of("affine")
    entry = replace(manifest.inputs[0], dtype="float8_e4m3fn")
    path = builder.build("affine", manifest=replace(manifest, inputs=(entry,)))
    with pytest.raises(ArtifactError, match='input "x" has the unknown dtype float8_e4m3fn'):
        load(path)


def test_loading_imports_no_compiler(affine: Path) -> None:
    program = (
        "import sys, lepton_compiler\n"
        "assert 'numpy' not in sys.modules\n"
        "import numpy as np\n"
        f"model = lepton_compiler.load({str(affine)!r})\n"
        "assert model(np.ones((4, 6), np.float32))['s'] == 36\n"
        "print(sorted({'tvm', 'onnx', 'ml_dtypes', 'lepton_compiler.driver'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_package_names() -> None:
    assert lepton_compiler.load is load
    assert {"load", "Model", "compile_model", "__version__"} <= set(dir(lepton_compiler))
    assert lepton_compiler.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = lepton_compiler.lode
