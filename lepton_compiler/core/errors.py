"""The errors that users see.

A ``UserError`` says in one message what failed, on which node or file, why, and what to do next; the command line
prints it without a traceback and ends with exit code 2. An ``InternalError`` is a fault of the compiler.
"""

from __future__ import annotations


class LeptonError(Exception):
    """Root of all errors that this package raises on purpose."""

    exit_code = 1


class UserError(LeptonError):
    """What the user gave can't be worked with."""

    exit_code = 2


class ModelError(UserError):
    """The model file can't be read, is malformed, or leads outside of its folder."""


class UnsupportedOperatorError(ModelError):
    """The model holds operators that can't be imported; the message names every one with its nodes."""


class InputError(UserError):
    """A tensor or shape does not fit the model's inputs."""


class TargetError(UserError):
    """The target is unknown or can't do what was asked."""


class ArtifactError(UserError):
    """A compiled library is damaged, of another version, or for another machine."""


class TuningLogError(UserError):
    """A tuning log or a record in it can't be worked with."""


class OutputError(UserError):
    """A result can't be written."""


class MissingExtraError(UserError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs the package "{package}", which is not installed; '
            f"install it with: pip install 'lepton-compiler[{extra}]'"
        )


class RunError(LeptonError):
    """A compiled model failed while it ran."""


class DeviceError(LeptonError):
    """A device, or the agent on it, can't be reached, does not answer in time, or refuses what it was asked."""


class InternalError(LeptonError):
    """The compiler broke one of its own rules; the message names the pass or step."""


class LeptonWarning(UserWarning):
    """Something works, but probably not as the user expects; the command line prints it as one line."""
