"""Runs the passes of a pipeline over a program, checks each stage's contract, and keeps the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import tvm

from lepton_compiler.core.contracts import bindings, check_contract
from lepton_compiler.core.errors import InternalError, UserError
from lepton_compiler.core.instruments import Instrument
from lepton_compiler.core.node_names import node_of, parts_of
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import PassRecord, Program, Rewrite, Stage


@dataclass(frozen=True)
class StagePlan:
    """The passes that lead to a stage, in order."""

    stage: Stage
    passes: tuple[Pass, ...]


def run_stages(program: Program, plans: Sequence[StagePlan], instruments: Sequence[Instrument] = ()) -> Program:
    """Takes ``program`` through every stage of ``plans``.

    Raises:
        InternalError: A pass failed, and the message names it and those before it; or a contract is broken, and the
            message names the passes of the stage.
        UserError: A pass found that the user asked for something impossible.
    """
    for plan in plans:
        for pass_ in plan.passes:
            program = _run_pass(program, pass_, plan.stage, instruments)
        _check_stage(program, plan)
        program = replace(program, stage=plan.stage)
    return program


def _check_stage(program: Program, plan: StagePlan) -> None:
    try:
        check_contract(program.module, plan.stage)
    except InternalError as error:
        passes = ", ".join(pass_.name() for pass_ in plan.passes) or "none"
        raise InternalError(f"{error}; passes of the stage: {passes}") from error


def _run_pass(program: Program, pass_: Pass, stage: Stage, instruments: Sequence[Instrument]) -> Program:
    name = pass_.name()
    for instrument in instruments:
        instrument.before_pass(name, program.module)
    try:
        # Some of TVM's passes write into their input, so each pass gets a module of its own.
        result = pass_.run(program.module.clone(), program.target)
    except UserError:
        raise
    except Exception as error:
        before = ", ".join(record.pass_name for record in program.history) or "none"
        raise InternalError(f"pass {name} (stage {stage.name}) failed; passes before it: {before}; {error}") from error
    if not isinstance(result.module, tvm.IRModule):
        raise InternalError(f"pass {name} returned no module")
    for instrument in instruments:
        instrument.after_pass(name, result.module)
    rewrites = (*result.rewrites, *_vanished(program.module, result))
    record = PassRecord(name, stage, rewrites, result.declines)
    return replace(program, module=result.module, history=(*program.history, record))


def _vanished(before: tvm.IRModule, result: PassResult) -> Iterator[Rewrite]:
    """Nodes that are gone and that the pass has no sentence about, such as the first transpose of a pair."""
    left = {part for name in _names(result.module) for part in parts_of(name)}
    left |= {part for entry in result.rewrites for part in parts_of(entry.node)}
    for part in dict.fromkeys(node_of(part) for name in _names(before) for part in parts_of(name)):
        if part not in left and not any(node_of(name) == part for name in left):
            yield Rewrite(part, "nothing reads it any more: removed")


def _names(module: tvm.IRModule) -> list[str]:
    return [binding.var.name for binding in bindings(module)]
