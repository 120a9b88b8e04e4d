"""What each model of the suite takes: time and memory of its compilation, and memory of its runs beside ONNX Runtime's.

What one model can't do ends in its row and leaves the others alone.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation.own_process import in_own_process
from lepton_compiler.evaluation.run_memory import RUNNERS, MemoryRequest, measure_run_memory
from lepton_compiler.evaluation.suite.models import SuiteModel


@dataclass(frozen=True)
class ResourceRow:
    """One model.

    Attributes:
        model: Its name.
        title: What tables call it.
        nodes: Nodes of the ONNX graph.
        parameters_bytes: Initializers in the ONNX file; weights that are Constant nodes are not among them.
        kernels: Kernel calls, and how many of them write in place.
        distinct_kernels: Kernels that were compiled.
        compile_seconds: Wall time of the compilation, without the start of its process.
        compile_processor_seconds: Its processor time, programs that it calls included.
        compile_peak_bytes: The most that its process had in memory, TVM and LLVM included.
        arena_bytes: Planned memory of intermediate tensors and workspaces.
        run_bytes: Measured memory of runs by runner; empty where the compilation failed.
        problem: What failed; None where all is well.
    """

    model: str
    title: str
    nodes: int = 0
    parameters_bytes: int = 0
    kernels: tuple[int, int] = (0, 0)
    distinct_kernels: int = 0
    compile_seconds: float = 0.0
    compile_processor_seconds: float = 0.0
    compile_peak_bytes: int = 0
    arena_bytes: int = 0
    run_bytes: dict[str, int] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class _Compilation:
    model: SuiteModel
    folder: Path
    batch: int


def measure_resources(
    models: Sequence[SuiteModel], batch: int, seed: int, on_step: Callable[[str], None]
) -> Iterator[ResourceRow]:
    """Yields the rows as they are measured.

    Args:
        models: Models in the order of the table.
        batch: First dimension of every input.
        seed: Seed of the inputs.
        on_step: Told what begins.
    """
    for position, model in enumerate(models, start=1):
        place = f"{model.title} ({position} of {len(models)})"
        with tempfile.TemporaryDirectory(prefix="lepton-suite-") as folder:
            try:
                yield _measure(_Compilation(model, Path(folder), batch), seed, place, on_step)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is this model's result)
                reason = " ".join(str(error).split()) or type(error).__name__
                yield ResourceRow(model.name, model.title, problem=reason)


def _measure(compilation: _Compilation, seed: int, place: str, on_step: Callable[[str], None]) -> ResourceRow:
    model = compilation.model
    on_step(f"{place}: compile")
    onnx_file, library, row = in_own_process(_compile, compilation, f"compiled {model.name}")
    feed = model.inputs(compilation.batch, seed)
    run_bytes = {}
    for runner in RUNNERS:
        on_step(f"{place}: memory of {runner}")
        run_bytes[runner] = measure_run_memory(MemoryRequest(runner, library, onnx_file, feed))
    return ResourceRow(**{**row, "run_bytes": run_bytes})


def _compile(compilation: _Compilation) -> tuple[Path, Path, dict]:
    """The ONNX file, the library, and the fields of the row that the compilation knows."""
    import onnx

    from lepton_compiler.driver import compile_model

    model = compilation.model
    file = model.file(compilation.folder, compilation.batch)
    proto = onnx.load(file)
    nodes, weights = len(proto.graph.node), sum(tensor.ByteSize() for tensor in proto.graph.initializer)
    del proto
    library = compilation.folder / f"{model.name}.so"
    before = _processor_seconds()
    report = compile_model(file, library, CompileOptions(input_shapes=model.batch_shapes(compilation.batch)))
    manifest = report.manifest
    return (
        file,
        library,
        {
            "model": model.name,
            "title": model.title,
            "nodes": nodes,
            "parameters_bytes": weights,
            "kernels": (len(manifest.kernels), sum(k.in_place.startswith("over ") for k in manifest.kernels)),
            "distinct_kernels": len({kernel.name for kernel in manifest.kernels}),
            "compile_seconds": sum(report.seconds.values()),
            "compile_processor_seconds": _processor_seconds() - before,
            "compile_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "arena_bytes": manifest.memory.arena_bytes,
        },
    )


def _processor_seconds() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)
