"""Runs a batch of random operators through the whole compiler as one model, and compares each with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from case_graph import CaseGraph, OperatorCase

import lepton_compiler
from lepton_compiler.core.options import CompileOptions

TOLERANCE = {False: 3e-6, True: 3e-5}
"""Largest error without and with Winograd, as a share of the largest result before or behind the epilogue."""


def check_batch(cases: Sequence[OperatorCase], target: str, winograd: bool, folder: Path) -> None:
    """Fails where a case differs; the message has the case, and the model and inputs that show it alone.

    Args:
        cases: The operators of one model.
        target: What it is compiled for; this machine must run it.
        winograd: Whether convolutions may take Winograd's algorithms.
        folder: Where models and libraries are written.
    """
    failures = _find_failures(cases, target, winograd, folder)
    if not failures:
        return
    texts = []
    for number, what in failures.items():
        alone = _find_failures([cases[number]], target, winograd, folder)
        kept = _keep([cases[number]] if alone else cases, folder)
        texts.append(f"{cases[number]!r}\n  {'alone' if alone else 'only in its batch'}: {what}\n  {kept}")
    raise AssertionError(f"{len(texts)} of {len(cases)} for {target}, winograd={winograd}:\n" + "\n".join(texts))


def _find_failures(cases: Sequence[OperatorCase], target: str, winograd: bool, folder: Path) -> dict[int, str]:
    """What is wrong, by the case's number; a model that can't be compiled is taken apart to find whose fault it is."""
    graph = CaseGraph(cases)
    wanted = _run_reference(graph)
    try:
        outputs = _run_compiled(graph, target, winograd, folder)
    except Exception as error:
        if len(cases) == 1:
            return {0: f"{type(error).__name__}: {error}"}
        alone = (_find_failures([case], target, winograd, folder) for case in cases)
        failures = {number: failure[0] for number, failure in enumerate(alone) if failure}
        if not failures:
            raise
        return failures
    failures = {}
    for number, (output, anchor) in enumerate(zip(graph.outputs, graph.anchors, strict=True)):
        scale = max(float(np.abs(wanted[name]).max(initial=0.0)) for name in (output, anchor))
        allowed = TOLERANCE[winograd] * cases[number].amplification * scale
        what = _difference(outputs[output], wanted[output], allowed)
        if what is not None:
            failures[number] = what
    return failures


def _difference(actual: np.ndarray, expected: np.ndarray, allowed: float) -> str | None:
    """The first way in which the two differ, in words."""
    if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
        return f"{actual.dtype}{actual.shape} in place of {expected.dtype}{expected.shape}"
    with np.errstate(invalid="ignore"):
        # Where both are NaN or the same infinity, nothing is wrong.
        error = np.where((actual == expected) | (np.isnan(actual) & np.isnan(expected)), 0, np.abs(actual - expected))
    wrong = ~(error <= allowed)
    if not wrong.any():
        return None
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} elements differ by up to {np.nanmax(error):.3g}, {allowed:.3g} allowed; "
        f"the first at {place}: {actual[place]} in place of {expected[place]}"
    )


def _run_reference(graph: CaseGraph) -> dict[str, np.ndarray]:
    """ONNX Runtime as the model is written, without optimisations of its own."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = graph.model(with_anchors=True).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return {name: np.asarray(value) for name, value in zip(names, session.run(names, graph.feeds), strict=True)}


def _run_compiled(graph: CaseGraph, target: str, winograd: bool, folder: Path) -> dict[str, np.ndarray]:
    source, library = folder / "cases.onnx", folder / "cases.so"
    onnx.save(graph.model(), source)
    lepton_compiler.compile_model(source, library, CompileOptions(target=target, winograd=winograd), force=True)
    with lepton_compiler.load(library) as model:
        return dict(model(**graph.feeds))


def _keep(cases: Sequence[OperatorCase], folder: Path) -> str:
    """Writes the model of these cases and its inputs where they stay; the command that shows the failure."""
    graph = CaseGraph(cases)
    stem = folder / f"failing{sum(1 for _ in folder.glob('failing*.onnx'))}"
    onnx.save(graph.model(), stem.with_suffix(".onnx"))
    np.savez(stem.with_suffix(".npz"), **graph.feeds)
    return f"lepton compare {stem}.onnx --inputs {stem}.npz --tolerance strict"
