"""The accuracy gate of ``lepton tune``: its inputs, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.model_argument import make_feed
from lepton_compiler.cli.options import given_options
from lepton_compiler.cli.rendering import progress, warn
from lepton_compiler.core.node_names import nodes_of
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation.tolerances import tolerance_of

if TYPE_CHECKING:
    from lepton_compiler.tuning.accuracy_gate import Choice, GateReport
    from lepton_compiler.tuning.session import Plan, TuningRequest
    from lepton_compiler.tuning.tuner import Tuner


def check_gate_options(without_check: bool) -> None:
    """Refuses what has no effect where the model is not checked.

    Raises:
        UsageError: It was given.
    """
    given = given_options(("max_error", "inputs_file"))
    if without_check and given:
        raise click.UsageError(
            f"--no-check and --dry-run leave out the check of the whole model, which uses {' and '.join(given)}"
        )


def read_feed(model: Path, options: CompileOptions, file: Path | None, seed: int = 0) -> Any:
    """Sample inputs of a model: those of ``--inputs``, else random ones.

    Raises:
        InputError: The file can't be read, doesn't fit the model's inputs, or a symbolic dimension has no size.
        ModelError: The model can't be read.
    """
    from lepton_compiler.frontend.input_shapes import resolve_inputs
    from lepton_compiler.frontend.load_model import load_model

    inputs = resolve_inputs(load_model(model).proto.graph, options.input_shapes)
    return make_feed(inputs, {}, file, seed, allow_nan=False)


def check_accuracy(
    request: TuningRequest, plan: Plan, tuner: Tuner, max_error: float | None, given: Any
) -> GateReport | None:
    """Takes algorithms back that cost the whole model too much accuracy.

    Args:
        request: What the user asked for.
        plan: What the session did.
        tuner: What has searched; its kernels are told.
        max_error: The limit; None for that of the precision.
        given: Sample inputs; None for random ones.

    Returns:
        None where nothing changes numbers, or sizes are not known.
    """
    from lepton_compiler.core.errors import InputError
    from lepton_compiler.evaluation.accuracy_check import hold_model_to_error
    from lepton_compiler.tuning.tuner import NOT_EXACT

    limit = tolerance_of(request.options.precision).max_abs_of_range if max_error is None else max_error
    with progress("check accuracy") as on_step:
        try:
            feed = given or read_feed(request.model, request.options, None, request.seed)
        except InputError as error:
            warn(f"the accuracy of the whole model was not checked: {error}")
            return None
        report = hold_model_to_error(
            request.model, request.options, request.logs, plan.folder, tuner.bench, feed, limit, on_step
        )
    if report is not None:
        refused = {choice.workload for choice in report.refused}
        for search in tuner.searches:
            if search.task.workload in refused:
                search.problem = NOT_EXACT
    return report


def gate_sentences(gate: GateReport | None) -> list[str]:
    """What the gate found, in words."""
    if gate is None:
        return []
    count = sum(len(choice.layers) for choice in gate.kept)
    layers = "1 layer takes an algorithm that changes" if count == 1 else f"{count} layers take algorithms that change"
    limit = f"--max-error {gate.max_error:g}"
    after, before = gate.after, gate.before
    sentences = [
        f"accuracy: output {after.output} is off by {after.share:.1e} of its range ({limit}); {layers} numbers"
    ]
    sentences += [
        f"taken back for accuracy: {choice.alternative.algorithm} for {_layers_text(choice)}" for choice in gate.refused
    ]
    if gate.refused:
        sentences.append(f"with these, output {before.output} was off by {before.share:.1e} of its range")
    if not gate.holds:
        sentences.append(
            f"no algorithm is left that could be taken back, and the model stays above {limit}: kernels differ in the "
            "order of their sums as well"
        )
    return sentences


def gate_document(gate: GateReport | None) -> dict[str, Any] | None:
    """What the gate found, for JSON."""
    if gate is None:
        return None
    return {
        "max_error": gate.max_error,
        "before": gate.before,
        "after": gate.after,
        "holds": gate.holds,
        "kept": [_choice_document(choice) for choice in gate.kept],
        "refused": [_choice_document(choice) for choice in gate.refused],
    }


def _choice_document(choice: Choice) -> dict[str, Any]:
    return {
        "algorithm": choice.alternative.algorithm,
        "workload": choice.workload,
        "layers": [nodes_of(layer) for layer in choice.layers],
    }


def _layers_text(choice: Choice) -> str:
    first, *others = (nodes_of(layer) for layer in choice.layers)
    return f"{first} and {len(others)} more" if others else first
