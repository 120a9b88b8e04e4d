"""The committed expectations: one line a case, its name, the operator that it tests and how it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
EXPECTATIONS_FILE = FOLDER / "expectations.txt"
SAMPLE_FILE = FOLDER / "sample.txt"

_HEADER = """\
# How every case of ONNX's backend test suite ends: case, operator, "pass" or why it fails. The tests want exactly this;
# a case that passes unexpectedly fails the test too.
# Written by: pytest tests/onnx_backend -m onnx_suite -n 2 --update-expectations
"""
PASS = "pass"


@dataclass(frozen=True)
class Expectation:
    """How one case has to end.

    Attributes:
        operator: The operator that it tests; ``model`` for those that test whole models.
        result: ``pass``, or why not.
    """

    operator: str
    result: str


def read_expectations() -> dict[str, Expectation]:
    """By case name, in the file's order."""
    if not EXPECTATIONS_FILE.exists():
        return {}
    fields = (line.split(maxsplit=2) for line in _lines(EXPECTATIONS_FILE))
    return {name: Expectation(operator, result) for name, operator, result in fields}


def write_expectations(expectations: Mapping[str, Expectation]) -> None:
    """Replaces the file; cases in the order of their names."""
    rows = ((name, expectations[name]) for name in sorted(expectations))
    lines = [f"{name} {expectation.operator} {expectation.result}\n" for name, expectation in rows]
    EXPECTATIONS_FILE.write_text(_HEADER + "".join(lines), encoding="utf-8")


def read_sample() -> list[str]:
    """Names of the cases that belong to the ordinary suite."""
    return _lines(SAMPLE_FILE)


def describe_results(results: Mapping[str, str]) -> list[str]:
    """The count of passes, then the causes of failure with their counts, most frequent first."""
    passed = sum(result == PASS for result in results.values())
    causes = Counter(result for result in results.values() if result != PASS)
    lines = [f"{passed} of {len(results)} ONNX backend cases pass through standalone artifacts"]
    return lines + [f"{count:5} {cause}" for cause, count in causes.most_common()]


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
