"""Options and fixtures that several test folders share."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest
import tvm
from compiled_models import CompiledModels

from lepton_compiler.core.lone_operators import lone_operators
from lepton_compiler.core.pass_base import PassResult
from lepton_compiler.passes.fusion.fuse_operators import FuseOperators
from lepton_compiler.targets.spec import TargetSpec

pytest_plugins = ("suite_report",)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-docs", action="store_true", help="write docs/generated anew instead of comparing it")


@pytest.fixture(scope="session")
def compiled_models(tmp_path_factory: pytest.TempPathFactory) -> CompiledModels:
    """Test models and their compiled libraries, each made once a run, whichever test process asks first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return CompiledModels(folder / "compiled_models")


@pytest.fixture(scope="session", autouse=True)
def no_missed_fusions() -> Iterator[None]:
    """A fusion that nothing prevents and that is missed: users read it in ``inspect --why``, here it is an error."""
    fuse = FuseOperators.run

    @functools.wraps(fuse)
    def strict(self: FuseOperators, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        result = fuse(self, module, target)
        missed = [lone for lone in lone_operators(result.module) if lone.reason is None]
        assert not missed, "; ".join(f"{lone.node} could run in the kernel of {lone.anchor}" for lone in missed)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FuseOperators, "run", strict)
        yield


@pytest.fixture
def missed_fusions_allowed(no_missed_fusions: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the tests of what users see."""
    monkeypatch.setattr(FuseOperators, "run", FuseOperators.run.__wrapped__)
