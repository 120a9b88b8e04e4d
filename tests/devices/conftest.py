"""One device for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lepton_compiler.devices.local_device import LocalDevice


@pytest.fixture(scope="session")
def device() -> Iterator[LocalDevice]:
    """This machine, on every core."""
    with LocalDevice() as local:
        yield local
