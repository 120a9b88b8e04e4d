"""What breaks when TVM and its FFI don't fit together, tried in a process of its own because it breaks by a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_TENSORIZE_AND_SAVE = """
import tvm
from tvm.s_tir import Schedule, TensorIntrin
from tvm.script import tirx as T


@T.prim_func(s_tir=True)
def whole(a: T.Buffer((8, 4), "float32"), b: T.Buffer((8, 4), "float32")):
    for i, j in T.grid(8, 4):
        with T.sblock("copy"):
            vi, vj = T.axis.remap("SS", [i, j])
            b[vi, vj] = a[vi, vj]


@T.prim_func(s_tir=True)
def description(a: T.Buffer((4,), "float32"), b: T.Buffer((4,), "float32")):
    with T.sblock("root"):
        T.reads(a[0:4])
        T.writes(b[0:4])
        for j in range(4):
            with T.sblock("copy"):
                vj = T.axis.remap("S", [j])
                b[vj] = a[vj]


@T.prim_func(s_tir=True)
def implementation(a: T.Buffer((4,), "float32"), b: T.Buffer((4,), "float32")):
    with T.sblock("root"):
        T.reads(a[0:4])
        T.writes(b[0:4])
        for j in T.vectorized(4):
            with T.sblock("copy"):
                vj = T.axis.remap("S", [j])
                b[vj] = a[vj]


TensorIntrin.register("lepton.test.copy4", description, implementation)
schedule = Schedule(whole)
schedule.tensorize(schedule.get_loops(schedule.get_sblock("copy"))[1], "lepton.test.copy4")
text = tvm.ir.save_json(schedule.mod)
tvm.ir.assert_structural_equal(tvm.ir.load_json(text), schedule.mod)
print("survived")
"""


def test_tensorize_and_save_json_do_not_crash(tmp_path: Path) -> None:
    program = tmp_path / "tensorize_and_save.py"
    program.write_text(_TENSORIZE_AND_SAVE, encoding="utf-8")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr
