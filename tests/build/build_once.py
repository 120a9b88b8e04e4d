"""Run as a program: builds one small artifact at the path given, for tests that need a process of their own.

python build_once.py OUTPUT [FILE_SIZE_LIMIT]
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
from handmade_programs import EMBED_ALL, imported_module, scheduled_program, tensor
from tvm import relax

from lepton_compiler.build.artifact import build_artifact
from lepton_compiler.core.errors import LeptonError

WEIGHT = np.random.default_rng(3).normal(size=(256, 1024)).astype(np.float32)


def several_kernels(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    hidden = bb.emit(relax.op.nn.relu(bb.emit(relax.op.matmul(x, relax.const(WEIGHT)), "mm")), "relu")
    normal = bb.emit(relax.op.nn.softmax(hidden), "softmax")
    back = bb.emit(relax.op.matmul(normal, relax.const(np.ascontiguousarray(WEIGHT.T))), "back")
    return relax.Tuple([bb.emit(relax.op.add(back, x), "sum"), bb.emit(relax.op.max(hidden, axis=1), "peak")])


def main(output: Path, file_size_limit: int | None) -> int:
    program = scheduled_program(imported_module([tensor("x", (4, 256))], several_kernels, ("y", "peak")))
    if file_size_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))
    try:
        build_artifact(program, output, EMBED_ALL)
    except LeptonError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
