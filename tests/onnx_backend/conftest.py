"""The server of the cases, and the count at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server_client import CaseServer


@pytest.fixture(scope="session")
def case_server() -> Iterator[CaseServer]:
    """The process that runs cases, one for each test process."""
    server = CaseServer()
    yield server
    server.close()
