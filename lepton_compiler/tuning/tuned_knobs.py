"""TunedKnobs: what tuning logs say about the kernels that are being compiled.

A record counts for exactly its kernel and target, and only where it beat the default by more than noise, on the same
device and timed in the same way.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tvm import tirx

from lepton_compiler.core.errors import LeptonWarning
from lepton_compiler.targets.cpu.knobs import TunedChoice
from lepton_compiler.targets.cpu.schedule import default_knobs_of, knob_types
from lepton_compiler.targets.spec import TargetSpec
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.knob_check import why_knobs_do_not_fit
from lepton_compiler.tuning.knob_values import from_values, to_values
from lepton_compiler.tuning.log_reader import Entry, problem_sentences
from lepton_compiler.tuning.ranking import Kernel
from lepton_compiler.tuning.record import KnobValue, TunedTarget
from lepton_compiler.tuning.task_search import SIGNIFICANT_GAIN
from lepton_compiler.tuning.workload_key import workload_key


class TunedKnobs:
    """Knobs by kernel, from logs.

    Attributes:
        database: What the logs hold.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def load(cls, paths: Iterable[Path]) -> TunedKnobs:
        """Reads logs and folders of logs, and warns about lines that are skipped.

        Raises:
            TuningLogError: A path does not exist, or holds no log.
        """
        database = Database.load(paths, why_knobs_do_not_fit)
        for sentence in problem_sentences(database.problems):
            warnings.warn(sentence, LeptonWarning, stacklevel=2)
        return cls(database)

    def find(self, function: tirx.PrimFunc, target: TargetSpec) -> TunedChoice | None:
        """The best knobs of a kernel; None where the logs know none that are better than its default."""
        groups = self.database.ranked_alike(Kernel(workload_key(function), TunedTarget.of(target)))
        standard = default_knobs_of(function, target) if groups else None
        if standard is None:
            return None
        choices = [choice for group in groups if (choice := _choice(group, to_values(standard))) is not None]
        return max(choices, key=lambda choice: choice.gain, default=None)


def _choice(group: Sequence[Entry], default: Mapping[str, KnobValue]) -> TunedChoice | None:
    """The best of some trials that can be compared, where it is better than the default by more than noise."""
    best = group[0].record
    standard = next((entry.record for entry in group if entry.record.knobs == default), None)
    if best.knobs == default or standard is None:
        return None
    assert best.median_s is not None and standard.median_s is not None, "right trials have times"
    gain = standard.median_s / best.median_s
    if gain < 1 / (1 - SIGNIFICANT_GAIN):
        return None
    return TunedChoice(best.anchor, from_values(knob_types()[best.anchor], best.knobs), _place(group[0]), gain)


def _place(entry: Entry) -> str:
    return f"{entry.log}:{entry.line}"
