"""Which trial of a kernel is best: the right one with the lowest median time.

Records of one workload and one target are compared, no others; where times become a gain, also of one device and one
way of timing. Knobs that gave a wrong result don't count as right because another trial of them looked right: they are
out for the version of Lepton that found it, and for every version before the finding. So are knobs that made a model
slower, however fast their kernel was alone. A kernel whose algorithm cost a model too much accuracy is out with all its
knobs, in the same way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from lepton_compiler.tuning.log_reader import Entry
from lepton_compiler.tuning.record import REFUTED, Status, TunedTarget, TuningRecord

TIMING_FIELD = "timing"
"""Field of a record with the threads and caches of its trial."""


class Kernel(NamedTuple):
    """What records must share to be compared."""

    workload: str
    target: TunedTarget


def kernel_of(record: TuningRecord) -> Kernel:
    """The kernel and target that a record is about."""
    return Kernel(record.workload, record.target)


def candidate_of(record: TuningRecord) -> Hashable:
    """The schedule and knobs that were tried."""
    return record.anchor, tuple(sorted(record.knobs.items(), key=lambda knob: knob[0]))


def by_kernel(entries: Iterable[Entry]) -> dict[Kernel, list[Entry]]:
    """All trials of each kernel, in the order in which they stand."""
    groups: dict[Kernel, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[kernel_of(entry.record)].append(entry)
    return dict(groups)


def ranked(trials: Iterable[Entry]) -> list[Entry]:
    """The right candidates of one kernel, best first: of each its fastest trial."""
    best: dict[Hashable, Entry] = {}
    for entry in right_trials(trials):
        candidate = candidate_of(entry.record)
        if candidate not in best or _rank(entry) < _rank(best[candidate]):
            best[candidate] = entry
    return sorted(best.values(), key=_rank)


def ranked_alike(trials: Iterable[Entry]) -> list[list[Entry]]:
    """The same, but apart for each device and way of timing: a time on one machine says nothing of another's."""
    groups: dict[Hashable, list[Entry]] = defaultdict(list)
    for entry in right_trials(trials):
        groups[conditions_of(entry.record)].append(entry)
    return [ranked(group) for group in groups.values()]


def right_trials(trials: Iterable[Entry]) -> list[Entry]:
    """The trials of one kernel that were right, without those that a wrong one speaks against."""
    trials = list(trials)
    wrong, inexact = refutations(trials), _inexact(trials)
    return [
        entry
        for entry in trials
        if entry.record.outcome.status is Status.OK
        and not _is_refuted(entry.record, [*wrong.get(candidate_of(entry.record), ()), *inexact])
    ]


def refusal_of(trials: Iterable[Entry]) -> Entry | None:
    """The latest trial that says that a kernel's algorithm is not exact enough; None where it may be used."""
    trials = list(trials)
    inexact = _inexact(trials)
    return max(inexact, key=lambda entry: entry.record.time) if inexact and not right_trials(trials) else None


def _inexact(trials: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in trials if entry.record.outcome.status is Status.INEXACT_IN_MODEL]


def conditions_of(record: TuningRecord) -> Hashable:
    """What else records must share so that their times can be compared: the device, and how it was timed."""
    return record.device.name, record.device.processor, timing_of(record)


def timing_of(record: TuningRecord) -> str:
    """How a trial was timed, in a form that can be compared."""
    return timing_text(record.extra.get(TIMING_FIELD))


def timing_text(timing: object) -> str:
    """What ``timing_of`` gives for a record with this field."""
    return json.dumps(timing, sort_keys=True)


def refutations(trials: Iterable[Entry]) -> dict[Hashable, list[Entry]]:
    """Trials that count against their candidate, by candidate: for each version of Lepton the latest."""
    latest: dict[tuple[Hashable, str], Entry] = {}
    for entry in trials:
        if entry.record.outcome.status in REFUTED:
            key = candidate_of(entry.record), entry.record.versions.lepton
            if key not in latest or entry.record.time > latest[key].record.time:
                latest[key] = entry
    found: dict[Hashable, list[Entry]] = defaultdict(list)
    for (candidate, _), entry in latest.items():
        found[candidate].append(entry)
    return dict(found)


def _is_refuted(record: TuningRecord, wrong: Iterable[Entry]) -> bool:
    return any(
        other.record.versions.lepton == record.versions.lepton or other.record.time >= record.time for other in wrong
    )


def _rank(entry: Entry) -> tuple[float, float, str]:
    """Order of right trials: by time, then by spread and age, so that the order of the files decides nothing."""
    times = entry.record.outcome.times
    assert times is not None, "only right trials are ranked"
    return times.median_s, times.spread_s, entry.record.time
