"""Errors: who is to blame decides the exit code."""

from __future__ import annotations

import pytest

from lepton_compiler.core import errors

USER_ERRORS = (
    errors.ModelError,
    errors.UnsupportedOperatorError,
    errors.InputError,
    errors.TargetError,
    errors.ArtifactError,
    errors.OutputError,
)


@pytest.mark.parametrize("kind", USER_ERRORS)
def test_what_the_user_can_mend_exits_with_2(kind: type[errors.LeptonError]) -> None:
    assert issubclass(kind, errors.UserError)
    assert kind("why").exit_code == 2


@pytest.mark.parametrize("kind", [errors.InternalError, errors.RunError, errors.DeviceError])
def test_what_the_user_can_not_mend_exits_with_1(kind: type[errors.LeptonError]) -> None:
    assert not issubclass(kind, errors.UserError)
    assert kind("why").exit_code == 1


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    error = errors.MissingExtraError("openvino", "peers", "benchmarking against OpenVINO")
    assert str(error) == (
        'benchmarking against OpenVINO needs the package "openvino", which is not installed; '
        "install it with: pip install 'lepton-compiler[peers]'"
    )
    assert error.exit_code == 2
