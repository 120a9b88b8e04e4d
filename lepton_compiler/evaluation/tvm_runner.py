"""Plain TVM as a peer: its ONNX importer and its default CPU pipeline, without any of our passes and schedules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from lepton_compiler.evaluation.runner import Feed
from lepton_compiler.targets.registry import native_target

_BIG_CORES = 1
"""TVM's ``ThreadGroup::kBig``, the mode in which ``runtime.config_threadpool`` takes a plain number of threads."""


class TvmRunner:
    """An ONNX file in TVM's Relax virtual machine."""

    name = "tvm"
    version = tvm.__version__

    def __init__(self, model: Path, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        proto = onnx.load(model)
        weights = {tensor.name for tensor in proto.graph.initializer}
        self._inputs = [value.name for value in proto.graph.input if value.name not in weights]
        self._outputs = [output.name for output in proto.graph.output]
        module = from_onnx(proto, shape_dict={name: list(shape) for name, shape in shapes.items()})
        executable = tvm.compile(module, tvm.target.Target(native_target().llvm_target()))
        self._machine = relax.VirtualMachine(executable, tvm.cpu())
        self._threads = threads
        self._pool_is_sized = False

    def run(self, feed: Feed) -> dict[str, np.ndarray]:
        """Outputs by name."""
        self._size_pool()
        # TVM's importer replaces characters that its names can't have, so inputs go by position.
        arguments = [tvm.runtime.tensor(np.asarray(feed[name], order="C")) for name in self._inputs]
        result = self._machine["main"](*arguments)
        tensors = [result] if hasattr(result, "numpy") else list(result)
        return {name: tensor.numpy() for name, tensor in zip(self._outputs, tensors, strict=True)}

    def _size_pool(self) -> None:
        """Sizes TVM's pool, which belongs to the calling thread; doing so moves that thread, so it is moved back."""
        if self._pool_is_sized:
            return
        affinity = os.sched_getaffinity(0)
        os.environ["TVM_BIND_THREADS"] = "0"
        tvm.get_global_func("runtime.config_threadpool")(_BIG_CORES, self._threads)
        os.sched_setaffinity(0, affinity)
        self._pool_is_sized = True

    def close(self) -> None:
        """Drops the virtual machine."""
        del self._machine
