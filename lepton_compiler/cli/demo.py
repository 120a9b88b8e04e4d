"""``lepton demo``: the main job on a real model, from download to text."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.options import file_path, format_option
from lepton_compiler.cli.rendering import bytes_text, progress, show_facts, show_json
from lepton_compiler.core.errors import ModelError
from lepton_compiler.core.optional_packages import PILLOW
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation.tolerances import TOLERANCES

if TYPE_CHECKING:
    import numpy as np

    from lepton_compiler.evaluation.benchmark import RunnerTimes
    from lepton_compiler.evaluation.runner import Peer

EXIT_DISAGREES = 1
_INPUT = "x"
_METADATA_KEY = "character"
_ROUNDS = 15
_WARMUP = 3


@click.command("demo", short_help="Compile a text recogniser and read a line with it.")
@click.option("--text", default="Compiled ahead of time", show_default=True, help="What to render and read.")
@click.option(
    "--model", "model_file", type=file_path, metavar="FILE.onnx", help="The recogniser, instead of a download."
)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of one run.")
@format_option
def command(text: str, model_file: Path | None, threads: int, output_format: str) -> None:
    """Obtains PP-OCRv4's text recogniser, compiles it, reads a rendered line of text, and compares with ONNX Runtime.

    The model (11 MB) comes from the PyPI package rapidocr-onnxruntime and stays in Lepton's cache folder. Ends with
    exit code 1 where Lepton and ONNX Runtime disagree.

    \b
    Examples:
      lepton demo
      lepton demo --text "Hello, world" --threads 2
    """
    PILLOW.require("rendering the demo's line of text")
    from lepton_compiler.evaluation.runner import require_peer

    peer = require_peer("onnxruntime", "comparing the demo's result", extra="demo")
    if not text.strip():
        raise click.BadParameter("the text is empty", param_hint="--text")
    with progress("download the model") as on_step:
        document = _run(text, model_file, threads, peer, on_step)
    if output_format == "json":
        show_json(document)
    else:
        _show(document)
    if not document["agrees"]:
        raise click.exceptions.Exit(EXIT_DISAGREES)


def _run(
    text: str, model_file: Path | None, threads: int, peer: Peer, on_step: Callable[[str], None]
) -> dict[str, Any]:
    from lepton_compiler.driver import compile_model
    from lepton_compiler.evaluation.benchmark import BenchmarkRequest, run_benchmark
    from lepton_compiler.evaluation.comparison import compare_outputs
    from lepton_compiler.evaluation.demo_model import fetch_demo_model
    from lepton_compiler.evaluation.runner import open_peer
    from lepton_compiler.evaluation.text_line import alphabet, decode, preprocess, render_line
    from lepton_compiler.runtime.model import load

    model = model_file or fetch_demo_model()
    feed = {_INPUT: preprocess(render_line(text))}
    with tempfile.TemporaryDirectory(prefix="lepton-demo-") as folder:
        library = Path(folder) / "recogniser.so"
        options = CompileOptions(input_shapes={_INPUT: feed[_INPUT].shape})
        report = compile_model(model, library, options, on_step=lambda step: on_step(f"compile: {step}"))
        metadata = report.manifest.model.metadata
        if _METADATA_KEY not in metadata:
            raise ModelError(f'{model} is no PP-OCR recogniser: its metadata has no key "{_METADATA_KEY}"')
        characters = alphabet(metadata[_METADATA_KEY])
        on_step("read the text")
        with load(library, threads=threads) as loaded:
            ours = loaded(*feed.values())
        runner = open_peer(peer, model, threads, {_INPUT: feed[_INPUT].shape})
        theirs = runner.run(feed)
        runner.close()
        on_step("time both")
        times = run_benchmark(BenchmarkRequest(library, model, (peer.name,), threads, feed, _ROUNDS, _WARMUP))
    (comparison,) = compare_outputs(ours, theirs, TOLERANCES["fp32"])
    read, confidence = decode(_single(ours)[0], characters)
    read_by_peer, _ = decode(_single(theirs)[0], characters)
    return {
        "rendered": text,
        "read": read,
        "confidence": confidence,
        "read_by_onnxruntime": read_by_peer,
        "agrees": comparison.agrees and read == read_by_peer,
        "comparison": comparison,
        "artifact_bytes": report.artifact_bytes,
        "compile_seconds": sum(report.seconds.values()),
        "times": times,
    }


def _single(outputs: dict[str, np.ndarray]) -> np.ndarray:
    (value,) = outputs.values()
    return value


def _show(document: dict[str, Any]) -> None:
    comparison = document["comparison"]
    show_facts(
        [
            ("rendered", document["rendered"]),
            ("read", f"{document['read']} (confidence {document['confidence']:.3f})"),
            ("ONNX Runtime", document["read_by_onnxruntime"]),
            (
                "agreement",
                f"max abs error {comparison.max_abs:.2g}, cosine {comparison.cosine:.8f}: "
                + ("agrees within 1e-4 of the range" if comparison.agrees else "; ".join(comparison.reasons)),
            ),
            ("compiled", f"{bytes_text(document['artifact_bytes'])} in {document['compile_seconds']:.1f} s"),
            ("times", _times_text(document["times"])),
        ]
    )


def _times_text(times: list[RunnerTimes]) -> str:
    ours, theirs = times
    text = f"Lepton {ours.milliseconds.median:.2f} ms, ONNX Runtime {theirs.milliseconds.median:.2f} ms"
    threads = f"{ours.threads} thread{'s' if ours.threads > 1 else ''}"
    if theirs.ratio is not None:
        text += f": {theirs.ratio.median:.2f} times its time (p10 {theirs.ratio.p10:.2f}, p90 {theirs.ratio.p90:.2f})"
    return f"{text}; {threads}, {_ROUNDS} interleaved rounds"
