"""Which trial of a kernel is best: the right one with the lowest median time.

Records of one workload and one target are compared, no others. Knobs that gave a wrong result don't count as right
because another trial of them looked right: they are out for the version of Lepton that found it, and for every version
before the finding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from lepton_compiler.tuning.log_reader import Entry
from lepton_compiler.tuning.record import Status, TunedTarget, TuningRecord


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
    trials = list(trials)
    wrong = wrong_results(trials)
    best: dict[Hashable, Entry] = {}
    for entry in trials:
        candidate = candidate_of(entry.record)
        if entry.record.outcome.status is not Status.OK or _is_refuted(entry.record, wrong.get(candidate, ())):
            continue
        if candidate not in best or _rank(entry) < _rank(best[candidate]):
            best[candidate] = entry
    return sorted(best.values(), key=_rank)


def wrong_results(trials: Iterable[Entry]) -> dict[Hashable, list[Entry]]:
    """Trials whose result was wrong, by candidate: for each version of Lepton the latest."""
    latest: dict[tuple[Hashable, str], Entry] = {}
    for entry in trials:
        if entry.record.outcome.status is Status.WRONG_RESULT:
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
