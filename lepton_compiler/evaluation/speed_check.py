"""The whole model with and without what was found; knobs and algorithms that are slower inside of it are taken back."""

from __future__ import annotations

from lepton_compiler.evaluation.tuned_model import TunedModelTimes, time_tuned_model
from lepton_compiler.tuning.lowered_model import lower_model
from lepton_compiler.tuning.session import Plan, TuningRequest, reject_slower
from lepton_compiler.tuning.slower_algorithms import refused_defaults, reject_slower_algorithms, stand_ins
from lepton_compiler.tuning.tuned_knobs import TunedKnobs
from lepton_compiler.tuning.tuner import Tuner

_ROUNDS = 30
_MOST_CHECKS = 5
"""Each takes knobs back that are slower in the model than alone, and looks at what takes their place."""


def hold_model_to_speed(
    request: TuningRequest, plan: Plan, tuner: Tuner, threads: int, *, rejects: bool = True
) -> TunedModelTimes:
    """Times a model, and takes back what is slower in it than the defaults.

    Args:
        request: What the user asked for.
        plan: What the session did.
        tuner: What has searched; its kernels are told.
        threads: Threads of the model.
        rejects: Whether anything is taken back.

    Returns:
        The times with what the records give in the end.

    Raises:
        InputError: A symbolic dimension has no size.
        LeptonError: The model can't be compiled or run.
        TuningLogError: A record could not be written.
    """

    def timed() -> TunedModelTimes:
        return time_tuned_model(request.model, request.options, request.logs, threads, _ROUNDS, request.seed)

    times = timed()
    for _ in range(_MOST_CHECKS if rejects else 0):
        if _reject_slower(request, plan, tuner, times) == 0:
            break
        times = timed()
    return times


def is_default_exact(request: TuningRequest, plan: Plan) -> bool:
    """Whether the model without logs takes no algorithm that the accuracy gate has refused."""
    return not refused_defaults(plan, TunedKnobs.load(request.logs).database)


def _reject_slower(request: TuningRequest, plan: Plan, tuner: Tuner, times: TunedModelTimes) -> int:
    """Takes knobs and algorithms back that are slower in the model than alone; how many."""
    tuned = TunedKnobs.load(request.logs)
    taken = {made.workload for _, made in lower_model(request.model, request.options, request.logs).taken()}
    others = stand_ins(plan, taken)
    replaced = {name for task in others for name in task.stands_for}
    own = {name: pair for name, pair in times.kernels.items() if name not in replaced}
    slower = reject_slower_algorithms(plan, tuner, others, tuned.database, times.kernels)
    return slower + reject_slower(plan, tuner, tuned, own)
