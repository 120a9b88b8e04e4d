"""Whether a record's knobs are those of a schedule that this version has. Imports TVM, with which schedules come."""

from __future__ import annotations

from lepton_compiler.core.errors import TuningLogError
from lepton_compiler.targets.cpu.schedule import knob_types
from lepton_compiler.tuning.knob_values import from_values
from lepton_compiler.tuning.record import TuningRecord


def why_knobs_do_not_fit(record: TuningRecord) -> str | None:
    """One sentence; None where the knobs can be given to their schedule."""
    kind = knob_types().get(record.anchor)
    if kind is None:
        return f'this version of Lepton has no schedule with knobs for "{record.anchor}"'
    try:
        from_values(kind, record.knobs)
    except TuningLogError as error:
        return str(error)
    return None
