"""What compiled models take of the machine: no memory in the steady state, weights once, no processor while idle."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from compiled_models import CompiledModels
from model_zoo import find
from onnx import TensorProto, helper, numpy_helper, save

import lepton_compiler
from lepton_compiler.build.toolchain import run_zig
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.evaluation.process_memory import mapped_file

PROGRAMS = Path(__file__).with_name("programs")
CSRC = files("lepton_compiler.runtime") / "csrc"
WIDTH = 2048
WEIGHT_BYTES = WIDTH * WIDTH * 4
SMALL_SHARE = 0.05
"""Of the weights: what headers, relocations and the page at each end may take in private pages."""
IDLE_SECONDS = 0.3
IDLE_SHARE = 0.05
"""Of one processor, that the interpreter's own housekeeping may take meanwhile."""
MOST_PROCESSOR_TIME = 3.0
"""Of several models with two threads each, in times of one thread alone: waiting actively for each other took more."""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that counts allocations."""
    folder = tmp_path_factory.mktemp("counter")
    for source in (PROGRAMS / "count_allocations.c", CSRC / "lepton.h"):
        (folder / source.name).write_bytes(source.read_bytes())
    run_zig(
        ["-fno-sanitize=undefined", "-std=c11", "-O1", "-rdynamic", "count_allocations.c", "-o", "count", "-ldl"],
        folder,
    )
    return folder / "count"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "name",
    [
        "resnet_small",
        "resnet_small_any_batch",
        "mobilenet_v2_small",
        "vit_small",
        "yolo_v8_small",
        "bert_small",
        "lstm",
    ],
)
def test_nothing_is_allocated_in_the_steady_state(
    counter: Path, compiled_models: CompiledModels, name: str, threads: int
) -> None:
    library = compiled_models.library(find(name))
    done = subprocess.run([counter, library, str(threads), "98", "3"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition(" allocations before, ")
    assert int(before) > 10, "the program counts nothing: its functions do not stand in front of the C library's"
    assert after == "0 in steady state\n"


def _dense_model(folder: Path, embed_weights_bytes: int) -> Path:
    weight = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(weight, "w")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "dense.onnx")
    library = folder / "dense.so"
    compile_model(folder / "dense.onnx", library, CompileOptions(embed_weights_bytes=embed_weights_bytes))
    return library


@pytest.fixture(scope="module", params=["inside of the library", "in a file beside it"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A library with 16 MiB of weights, and the file that they lie in."""
    inside = request.param == "inside of the library"
    library = _dense_model(tmp_path_factory.mktemp("dense"), 1 << 30 if inside else 0)
    file = library if inside else library.with_name("dense.so.weights")
    assert file.stat().st_size > WEIGHT_BYTES
    return library, file


def _run(model: lepton_compiler.Model) -> np.ndarray:
    return model(np.ones((1, WIDTH), np.float32))["y"]


def test_two_models_of_one_process_share_their_weights(weights: tuple[Path, Path]) -> None:
    library, file = weights
    with lepton_compiler.load(library) as first, lepton_compiler.load(library) as second:
        np.testing.assert_array_equal(_run(first), _run(second))
        use = mapped_file("/proc/self/smaps", file)
        # Every page belongs to the file. A second mapping shows its pages again, and halves their share.
        assert use.resident_bytes > WEIGHT_BYTES * (1 - SMALL_SHARE)
        assert use.own_bytes < WEIGHT_BYTES * SMALL_SHARE
        assert use.proportional_bytes < WEIGHT_BYTES * (1 + SMALL_SHARE)


_CHILD = """
import sys, numpy as np, lepton_compiler
from pathlib import Path
from lepton_compiler.evaluation.process_memory import mapped_file
with lepton_compiler.load(sys.argv[1]) as model:
    model(np.ones((1, int(sys.argv[3])), np.float32))
    use = mapped_file("/proc/self/smaps", Path(sys.argv[2]))
    print(use.resident_bytes, use.shared_bytes, use.own_bytes)
"""


def test_two_processes_share_their_weights(weights: tuple[Path, Path]) -> None:
    library, file = weights
    with lepton_compiler.load(library) as model:
        _run(model)
        command = [sys.executable, "-c", _CHILD, str(library), str(file), str(WIDTH)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resident, shared, own = map(int, done.stdout.split())
    assert resident > WEIGHT_BYTES * (1 - SMALL_SHARE)
    assert shared > WEIGHT_BYTES * (1 - SMALL_SHARE)
    assert own < WEIGHT_BYTES * SMALL_SHARE


def test_a_copied_file_is_not_shared(weights: tuple[Path, Path], tmp_path: Path) -> None:
    """The counts above can tell: weights of another file are pages of their own."""
    library, _ = weights
    for path in library.parent.glob("dense.so*"):
        shutil.copyfile(path, tmp_path / path.name)
    copy = tmp_path / weights[1].name
    with lepton_compiler.load(library) as first, lepton_compiler.load(tmp_path / "dense.so") as second:
        np.testing.assert_array_equal(_run(first), _run(second))
        own = mapped_file("/proc/self/smaps", copy)
        # The same library is loaded once, wherever it lies; only weights beside it are found through its path.
        assert (own.resident_bytes > WEIGHT_BYTES / 2) == (weights[1] != library)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_idle_model_takes_no_processor_time(compiled_models: CompiledModels, threads: int) -> None:
    model_file = find("resnet_small")
    inputs = model_file.inputs(compiled_models.model(model_file), model_file.sizes[0], 0)
    with lepton_compiler.load(compiled_models.library(model_file), threads=threads) as model:
        for _ in range(20):
            model(**inputs)
        before = time.process_time()
        time.sleep(IDLE_SECONDS)
        assert time.process_time() - before < IDLE_SECONDS * IDLE_SHARE


def test_several_models_at_once_do_not_burn_processor_time(compiled_models: CompiledModels) -> None:
    model_file = find("mobilenet_v2_small")
    library = compiled_models.library(model_file)
    inputs = model_file.inputs(compiled_models.model(model_file), model_file.sizes[0], 0)
    with lepton_compiler.load(library, threads=1) as alone:
        expected = alone(**inputs)
        started = time.process_time()
        for _ in range(200):
            alone(**inputs)
        single = (time.process_time() - started) / 200
    models = [lepton_compiler.load(library, threads=2) for _ in range(4)]
    results = [expected] * len(models)

    def work(index: int) -> None:
        for _ in range(200):
            results[index] = models[index](**inputs)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(models))]
    started = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    each = (time.process_time() - started) / (200 * len(models))
    for model, result in zip(models, results, strict=True):
        model.close()
        for name, value in expected.items():
            np.testing.assert_array_equal(result[name], value)
    assert each < single * MOST_PROCESSOR_TIME
