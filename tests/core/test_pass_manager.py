"""The manager: clones, history, instruments, and errors that name the pass."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import tvm
from tiny_programs import Relu, relu_program
from tvm import relax

from lepton_compiler.core.errors import InternalError, UserError
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.pass_manager import StagePlan, run_stages
from lepton_compiler.core.program import Decline, PassRecord, Rewrite, Stage
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class KeepAll(Pass):
    """Does nothing, and says so.

    More about it.
    """

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        return PassResult(module, (Rewrite("relu1", "kept"),), (Decline("relu1", "nothing to do"),))


@dataclass(frozen=True)
class ChangeInput(Pass):
    """Writes into the module that it is given."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        variable = module.get_global_var("main")
        module.update_func(variable, module["main"].with_attr("changed", 1))
        return PassResult(module)


@dataclass(frozen=True)
class DropAll(Pass):
    """Gives back the input of ``main``, without a word about its nodes."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType((2, 3), "float32"))
        with builder.function("main", [x], attrs={"input_names": ["x"], "output_names": ["y"]}):
            builder.emit_func_output(x)
        return PassResult(builder.get())


@dataclass(frozen=True)
class Crash(Pass):
    """Fails."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        raise KeyError("weights")


@dataclass(frozen=True)
class BlameUser(Pass):
    """Finds that the user asked for something impossible."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        raise UserError("no such layout")


@dataclass(frozen=True)
class BreakRule(Pass):
    """Finds that the compiler broke a rule of its own."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        raise InternalError("two nodes are called conv1")


@dataclass(frozen=True)
class ReturnNothing(Pass):
    """Forgets its result."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        return PassResult(None)


@dataclass(frozen=True)
class AddBatchNorm(Pass):
    """Breaks the contract of stage CANONICAL."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType((2, 3), "float32"))
        ones = relax.const([1.0, 1.0, 1.0], "float32")
        with builder.function("main", [x]):
            with builder.dataflow():
                norm = builder.emit(relax.op.nn.batch_norm(x, ones, ones, ones, ones, axis=1), "bn1")
                output = builder.emit_output(relax.TupleGetItem(norm, 0))
            builder.emit_func_output(output)
        return PassResult(builder.get())


class _Listener:
    """Writes down what the manager tells an instrument."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def before_pass(self, name: str, module: tvm.IRModule) -> None:
        self.heard.append(f"before {name}")

    def after_pass(self, name: str, module: tvm.IRModule) -> None:
        self.heard.append(f"after {name}")


def test_takes_a_program_through_its_stages_and_keeps_the_history() -> None:
    plans = [StagePlan(Stage.CANONICAL, (KeepAll(),)), StagePlan(Stage.FUSED, (KeepAll(),))]
    program = relu_program()
    result = run_stages(program, plans)
    entries = ((Rewrite("relu1", "kept"),), (Decline("relu1", "nothing to do"),))
    assert result.stage is Stage.FUSED
    assert result.history == (
        PassRecord("keep-all", Stage.CANONICAL, *entries),
        PassRecord("keep-all", Stage.FUSED, *entries),
    )
    assert (program.stage, program.history) == (Stage.IMPORTED, ())


def test_nodes_that_a_pass_is_silent_about_are_recorded_when_they_vanish() -> None:
    program = run_stages(relu_program(), [StagePlan(Stage.CANONICAL, (DropAll(),))])
    assert program.history[0].rewrites == (Rewrite("relu1", "nothing reads it any more: removed"),)


def test_gives_each_pass_a_module_of_its_own() -> None:
    program = relu_program()
    result = run_stages(program, [StagePlan(Stage.CANONICAL, (ChangeInput(),))])
    assert "changed" in result.module["main"].attrs
    assert "changed" not in program.module["main"].attrs
    tvm.ir.assert_structural_equal(program.module, Relu)


def test_names_the_pass_that_fails_and_those_before_it() -> None:
    with pytest.raises(InternalError) as caught:
        run_stages(relu_program(), [StagePlan(Stage.CANONICAL, (KeepAll(), ChangeInput(), Crash()))])
    message = "pass crash (stage CANONICAL) failed; passes before it: keep-all, change-input; 'weights'"
    assert str(caught.value) == message
    assert isinstance(caught.value.__cause__, KeyError)


def test_names_the_pass_that_finds_a_fault_of_the_compiler() -> None:
    with pytest.raises(InternalError) as caught:
        run_stages(relu_program(), [StagePlan(Stage.CANONICAL, (KeepAll(), BreakRule()))])
    message = "pass break-rule (stage CANONICAL) failed; passes before it: keep-all; two nodes are called conv1"
    assert str(caught.value) == message


def test_lets_errors_for_the_user_through() -> None:
    with pytest.raises(UserError, match=r"^no such layout$"):
        run_stages(relu_program(), [StagePlan(Stage.CANONICAL, (BlameUser(),))])


def test_names_a_pass_that_returns_no_module() -> None:
    with pytest.raises(InternalError, match=r"^pass return-nothing returned no module$"):
        run_stages(relu_program(), [StagePlan(Stage.CANONICAL, (ReturnNothing(),))])


def test_names_the_stage_and_node_of_a_broken_contract() -> None:
    with pytest.raises(InternalError, match="contract of stage CANONICAL broken: node bn1: a BatchNorm is left"):
        run_stages(relu_program(), [StagePlan(Stage.CANONICAL, (AddBatchNorm(),))])


def test_names_the_passes_that_led_to_a_broken_contract() -> None:
    plans = [StagePlan(Stage.IMPORTED, (ChangeInput(),)), StagePlan(Stage.CANONICAL, (KeepAll(), AddBatchNorm()))]
    with pytest.raises(InternalError, match=r"; passes of the stage: keep-all, add-batch-norm$"):
        run_stages(relu_program(), plans)


def test_tells_every_instrument() -> None:
    listeners = [_Listener(), _Listener()]
    run_stages(relu_program(), [StagePlan(Stage.CANONICAL, (KeepAll(), ChangeInput()))], listeners)
    for listener in listeners:
        assert listener.heard == ["before keep-all", "after keep-all", "before change-input", "after change-input"]


def test_passes_describe_themselves() -> None:
    assert KeepAll.name() == "keep-all"
    assert KeepAll.summary() == "Does nothing, and says so."
    assert not KeepAll.required
