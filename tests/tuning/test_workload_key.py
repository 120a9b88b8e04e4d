"""Workload keys: names don't count, what is computed does, and a process or a new TVM changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tvm
from tvm import tirx
from tvm.script import tirx as T

from lepton_compiler.core.errors import InternalError
from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.registry import get_target
from lepton_compiler.tuning.workload_key import canonical_tokens, workload_key


@T.prim_func(s_tir=True)
def scale(A: T.Buffer((16, 32), "float32"), B: T.Buffer((16, 32), "float32")):
    T.func_attr({"global_symbol": "scale", "tirx.noalias": True})
    for i, j in T.grid(16, 32):
        with T.sblock("scale"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = T.exp(A[vi, vj]) * T.float32(0.1)


@T.prim_func(s_tir=True)
def scale_with_other_names(x: T.Buffer((16, 32), "float32"), y: T.Buffer((16, 32), "float32")):
    T.func_attr({"global_symbol": "other", "op_pattern": 4})
    for a, b in T.grid(16, 32):
        with T.sblock("block"):
            va, vb = T.axis.remap("SS", [a, b])
            y[va, vb] = T.exp(x[va, vb]) * T.float32(0.1)


@T.prim_func(s_tir=True)
def scale_rows(a: T.handle, b: T.handle):
    n = T.int64()
    A = T.match_buffer(a, (n, 32), "float32")
    B = T.match_buffer(b, (n, 32), "float32")
    for i, j in T.grid(n, 32):
        with T.sblock("scale"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = T.exp(A[vi, vj]) * T.float32(0.1)


@T.prim_func(s_tir=True)
def multiply(A: T.Buffer((8, 4), "float32"), B: T.Buffer((4, 16), "float32"), C: T.Buffer((8, 16), "float32")):
    for i, j, k in T.grid(8, 16, 4):
        with T.sblock("multiply"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            T.sblock_attr({"lepton.anchor": "matmul"})
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


KEYS = {
    "scale": "w1-99089961c691eb0acceffe8420b3038a",
    "scale_rows": "w1-fd4a6c8b6f2d9a7dad4b23690cea7328",
    "multiply": "w1-a8889aa6e0e7ac4e7ba1ec5084540c53",
}
"""A TVM that changes these makes all committed records unknown: adapt ``workload_key``, not this table."""


def changed(text: str, by: str) -> tirx.PrimFunc:
    """``multiply`` with another text."""
    source = multiply.script()
    assert text in source
    return tvm.script.from_source(source.replace(text, by), s_tir=True)


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_pinned(name: str) -> None:
    assert workload_key(globals()[name]) == KEYS[name]


def test_names_do_not_count() -> None:
    assert workload_key(scale_with_other_names) == workload_key(scale)
    assert workload_key(scale.without_attr("global_symbol")) == workload_key(scale)


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ("C[vi, vj] + A[vi, vk]", "C[vi, vj] - A[vi, vk]"),
        ("T.float32(0.0)", "T.float32(1.0)"),
        ("A[vi, vk] * B[vk, vj]", "B[vk, vj] * A[vi, vk]"),
        ('"lepton.anchor": "matmul"', '"lepton.anchor": "dense"'),
        ('"lepton.anchor": "matmul"', '"lepton.anchor": "matmul", "lepton.groups": 2'),
        ('"SSR"', '"SRR"'),
        ("(8, 4)", "(9, 4)"),
        ('(8, 4), "float32"', '(8, 4), "float16"'),
        ("T.grid(8, 16, 4)", "T.grid(8, 16, 3)"),
    ],
)
def test_what_is_computed_counts(text: str, by: str) -> None:
    assert workload_key(changed(text, "".join(text))) == workload_key(multiply)
    assert workload_key(changed(text, by)) != workload_key(multiply)


def test_the_order_of_parameters_counts() -> None:
    first, second, result = multiply.params
    swapped = tirx.PrimFunc([second, first, result], multiply.body)
    assert workload_key(swapped) != workload_key(multiply)


def test_fixed_and_symbolic_sizes_are_different_kernels() -> None:
    assert workload_key(scale_rows) != workload_key(scale)


def test_a_function_that_went_through_a_file_keeps_its_key() -> None:
    module = tvm.IRModule({"main": multiply})
    again = tvm.ir.load_json(tvm.ir.save_json(module))
    assert workload_key(again["main"]) == workload_key(multiply)


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_another_process_finds_the_same_key(hash_seed: str) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_workload_key as t;"
        "print(*[t.workload_key(getattr(t, name)) for name in t.KEYS])"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(KEYS.values())


def test_a_scheduled_kernel_has_no_key() -> None:
    scheduled = schedule_function(scale, get_target("x86-64-v3")).func
    with pytest.raises(InternalError, match="asked for a scheduled kernel"):
        workload_key(scheduled)


def test_no_name_is_in_the_canonical_text() -> None:
    tokens = set(canonical_tokens(scale_with_other_names))
    assert not tokens & {"'x'", "'y'", "'a'", "'b'", "'va'", "'vb'", "'block'", "'other'"}
    assert "'global'" in tokens, "the scope of a buffer is text, and counts"


def test_deep_expressions_have_a_key() -> None:
    x = tirx.Var("x", "int64")
    value = x
    for _ in range(5000):
        value = value + 1 if value is x else tirx.Add(value, x)
    func = tirx.PrimFunc([x], tirx.Evaluate(value))
    assert workload_key(func).startswith("w1-")
