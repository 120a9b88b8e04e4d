"""Every case of ONNX's backend test suite, compiled to a shared library of its own and run from there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from backend_cases import load_cases
from expectations import FOLDER, PASS, read_expectations, read_sample
from server_client import CaseServer
from suite_report import RESULT_PROPERTY

_EXPECTED = read_expectations()
_SAMPLE_SIZE = 150


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "suite_case" in metafunc.fixturenames:
        # Reading the suite takes seconds, so its names come from the file where they may.
        names = load_cases() if metafunc.config.getoption("--update-expectations") else _EXPECTED
        metafunc.parametrize("suite_case", sorted(names))


def _check(name: str, server: CaseServer, record_property: Callable, config: pytest.Config) -> None:
    reply = server.run(name)
    record_property(RESULT_PROPERTY, (name, reply.result))
    if not config.getoption("--update-expectations"):
        expected = _EXPECTED[name].result
        assert reply.result == expected, f'{name} ended as "{reply.result}", expected "{expected}": {reply.detail}'


@pytest.mark.onnx_suite
def test_case(suite_case: str, case_server: CaseServer, record_property: Callable, pytestconfig: pytest.Config) -> None:
    _check(suite_case, case_server, record_property, pytestconfig)


@pytest.mark.parametrize("sample_case", read_sample())
def test_sample_case(
    sample_case: str, case_server: CaseServer, record_property: Callable, pytestconfig: pytest.Config
) -> None:
    _check(sample_case, case_server, record_property, pytestconfig)


@pytest.mark.onnx_suite
def test_expectations_name_every_case(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--update-expectations"):
        pytest.skip("this run writes the expectations")
    assert set(_EXPECTED) == set(load_cases())


def test_sample_is_part_of_the_suite() -> None:
    sample = read_sample()
    assert len(sample) == len(set(sample)) == _SAMPLE_SIZE
    assert set(sample) <= set(_EXPECTED)


def test_as_many_cases_pass_as_the_readme_says() -> None:
    passed = sum(expectation.result == PASS for expectation in _EXPECTED.values())
    readme = (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"{passed:,} of {len(_EXPECTED):,} cases" in readme
