"""Pytest plugin: ``--update-expectations``, and the count of passing backend cases at the end of a run."""

from __future__ import annotations

import pytest
from expectations import Expectation, describe_results, read_expectations, write_expectations

RESULT_PROPERTY = "onnx_backend_result"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-expectations", action="store_true", help="write tests/onnx_backend/expectations.txt from this run"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    # Read from the reports, which pytest-xdist brings here from all its processes.
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    results = dict(
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for key, value in report.user_properties
        if key == RESULT_PROPERTY
    )
    if not results:
        return
    terminalreporter.section("ONNX backend suite")
    for line in describe_results(results):
        terminalreporter.write_line(line)
    if config.getoption("--update-expectations"):
        _update(results)


def _update(results: dict[str, str]) -> None:
    from backend_cases import load_cases, operators_of

    operators = operators_of(load_cases())
    kept = {name: expectation for name, expectation in read_expectations().items() if name in operators}
    write_expectations({**kept, **{name: Expectation(operators[name], result) for name, result in results.items()}})
