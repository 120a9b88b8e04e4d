"""The order of the passes: the first file to read.

A pass is named here once, in the stage that it leads to. Its options come from ``CompileOptions``; the target it is
given when it runs.
"""

from __future__ import annotations

from lepton_compiler.core.errors import UserError
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.core.pass_base import Pass
from lepton_compiler.core.pass_manager import StagePlan
from lepton_compiler.core.program import Stage
from lepton_compiler.passes.canonicalize.convert_divide_to_multiply import ConvertDivideToMultiply
from lepton_compiler.passes.canonicalize.convert_take_to_slice import ConvertTakeToSlice
from lepton_compiler.passes.canonicalize.convert_to_reshape import ConvertToReshape
from lepton_compiler.passes.canonicalize.decompose_batch_norm import DecomposeBatchNorm
from lepton_compiler.passes.canonicalize.eliminate_common_subexpressions import EliminateCommonSubexpressions
from lepton_compiler.passes.canonicalize.eliminate_dead_code import EliminateDeadCode
from lepton_compiler.passes.canonicalize.eliminate_identity import EliminateIdentity
from lepton_compiler.passes.canonicalize.eliminate_transpose_pairs import EliminateTransposePairs
from lepton_compiler.passes.canonicalize.fold_batch_norm import FoldBatchNorm
from lepton_compiler.passes.canonicalize.fold_constants import FoldConstants
from lepton_compiler.passes.canonicalize.fold_pad import FoldPad
from lepton_compiler.passes.canonicalize.fold_scale import FoldScale
from lepton_compiler.passes.canonicalize.merge_constant_arithmetic import MergeConstantArithmetic
from lepton_compiler.passes.canonicalize.sink_reshape import SinkReshape
from lepton_compiler.passes.fusion.fuse_attention import FuseAttention
from lepton_compiler.passes.fusion.fuse_layer_norm import FuseLayerNorm
from lepton_compiler.passes.fusion.fuse_operators import FuseOperators
from lepton_compiler.passes.fusion.merge_products import MergeProducts
from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.passes.lowering.schedule_functions import ScheduleFunctions
from lepton_compiler.passes.precision.convert_precision import ConvertPrecision, Precision
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.tuning.algorithm_layers import MeasuredAlgorithms
from lepton_compiler.tuning.tuned_knobs import TunedKnobs

LOWERING = (
    # Fusion works on kernels, so operators become kernels first.
    LegalizeOperators(),
    FuseOperators(),
)
"""From a packed module to a lowered one; compilations can't do without these."""


def build_pipeline(options: CompileOptions, measured: MeasuredAlgorithms | None = None) -> tuple[StagePlan, ...]:
    """All passes of a compilation, stage by stage, without those that the user disabled.

    Args:
        options: What the user asked for.
        measured: Who knows the times of algorithms; None for the logs that ``options`` name.

    Raises:
        UserError: A disabled pass doesn't exist, or later stages can't do without it, or options contradict each other.
        TuningLogError: There is no tuning log where one was named.
    """
    contradiction = options.contradiction()
    if contradiction is not None:
        raise UserError(contradiction)
    tuned = TunedKnobs.load(options.tuning_logs) if options.tuning_logs else None
    if measured is None and tuned is not None:
        measured = MeasuredAlgorithms(tuned.database, LOWERING)
    winograd = WinogradPolicy(options.winograd, options.max_winograd_error)
    precision, attention = Precision(options.precision), FuseAttention()
    fused = attention if attention.name() not in options.disabled_passes else None
    plans = (
        StagePlan(
            Stage.CANONICAL,
            (
                EliminateDeadCode(),
                FoldConstants(),
                EliminateIdentity(),
                EliminateCommonSubexpressions(),
                EliminateTransposePairs(),
                ConvertTakeToSlice(),
                FuseLayerNorm(),
                FoldPad(),
                # What is not folded into a convolution is decomposed, so that no BatchNorm is left.
                FoldBatchNorm(),
                DecomposeBatchNorm(),
                FoldScale(),
                # Behind the folding, which leaves additions of constants next to each other.
                MergeConstantArithmetic(),
                # What was merged is a product already.
                ConvertDivideToMultiply(),
                ConvertToReshape(),
                # Behind everything that makes reshapes.
                SinkReshape(),
                # Before attentions, which read parts of joined products in place.
                MergeProducts(options.merge_products, fused, precision, options.keep_fp32),
                attention,
            ),
        ),
        StagePlan(
            Stage.ARRANGED,
            (
                ConvertPrecision(precision, options.keep_fp32, winograd),
                PackActivations(winograd, measured),
            ),
        ),
        StagePlan(Stage.FUSED, LOWERING),
        StagePlan(Stage.LOWERED, ()),
        StagePlan(Stage.SCHEDULED, (ScheduleFunctions(tuned),)),
    )
    return _without(plans, options.disabled_passes)


def _without(plans: tuple[StagePlan, ...], disabled: tuple[str, ...]) -> tuple[StagePlan, ...]:
    known: dict[str, Pass] = {pass_.name(): pass_ for plan in plans for pass_ in plan.passes}
    for name in disabled:
        if name not in known:
            raise UserError(f'there is no pass "{name}" to disable; "lepton passes" lists them')
        if known[name].required:
            raise UserError(f"pass {name} can't be disabled: later stages can't do without it")
    return tuple(
        StagePlan(plan.stage, tuple(pass_ for pass_ in plan.passes if pass_.name() not in disabled)) for plan in plans
    )
