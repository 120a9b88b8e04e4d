"""The support page says what the expectations and the converter table say."""

from __future__ import annotations

import re

import pytest
from expectations import read_expectations
from failure_reasons import WRONG_RESULT
from support_page import PAGE, with_fresh_table


def test_support_page_names_every_wrong_result() -> None:
    wrong = {name for name, expectation in read_expectations().items() if expectation.result == WRONG_RESULT}
    section = PAGE.read_text(encoding="utf-8").partition("### Wrong results\n")[2].partition("<!-- table")[0]
    assert set(re.findall(r"`(test_\w+)`", section)) == wrong


def test_support_page_is_fresh(pytestconfig: pytest.Config) -> None:
    text = PAGE.read_text(encoding="utf-8")
    fresh = with_fresh_table(text)
    if pytestconfig.getoption("update_docs"):
        PAGE.write_text(fresh, encoding="utf-8")
        text = fresh
    assert text == fresh, "docs/onnx_support.md is stale: pytest tests/onnx_backend --update-docs"
