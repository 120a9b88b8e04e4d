"""``lepton``: the group of verbs, each loaded when it is called, and the one place where errors become messages.

Verbs are modules of this folder, and none imports TVM, NumPy or ONNX at its top: ``lepton --help`` and shell completion
answer at once, and a verb pays for what it uses.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import click

from lepton_compiler.core.errors import InternalError, LeptonError, LeptonWarning, OutputError, UserError

VERBS = (
    "compile",
    "run",
    "compare",
    "benchmark",
    "profile",
    "inspect",
    "tune",
    "passes",
    "targets",
    "logs",
    "doctor",
    "demo",
    "completion",
)
"""In the order of ``--help``: what a user does first comes first."""

EXIT_INTERNAL = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_REPORT = "run it again as `lepton --debug ...` and report the traceback that appears"


class VerbGroup(click.Group):
    """Loads verbs on demand and turns whatever they raise into one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the verb's module; the function in it that has the verb's name is the command."""
        if cmd_name not in VERBS:
            return None
        return importlib.import_module(f"lepton_compiler.cli.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Adds the nearest verb to the message about an unknown one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise _with_suggestion(error, args[0]) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb; click's own errors pass through to click."""
        _end_in_order_on_sigterm()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", LeptonWarning)
                warnings.showwarning = _warning_printer(warnings.showwarning)
                result = super().invoke(ctx)
            # What can't be written is an error of the verb; at exit it would only be Python's.
            sys.stdout.flush()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except LeptonError as error:
            _report(ctx, error)
        except OSError as error:
            if error.errno == errno.EPIPE:
                _silence_stdout()
                ctx.exit(EXIT_BROKEN_PIPE)
            if error.filename is None and error.errno in _DISK_ERRNOS:
                _silence_stdout()
            _report(ctx, _disk_error(error) or error)
        except MemoryError as error:
            _report(ctx, UserError(f"this machine's memory is too small for that: {error or 'an allocation failed'}"))
        except Exception as error:  # noqa: BLE001 (the last place that can turn a fault into a message)
            _report(ctx, error)


def _end_in_order_on_sigterm() -> None:
    """Has SIGTERM leave through the blocks that remove temporary files, as an interrupt does."""

    def leave(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave)


def _warning_printer(other: Callable[..., None]) -> Callable[..., None]:
    """Shows each warning of ours once, as one line; those of other packages go to ``other``."""
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if not issubclass(category, LeptonWarning):
            other(message, category, *place)
        elif str(message) not in shown:
            shown.add(str(message))
            click.echo(f"warning: {message}", err=True)

    return show


def _with_suggestion(error: click.UsageError, word: str) -> click.UsageError:
    import difflib

    near = difflib.get_close_matches(word, VERBS, n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    return click.UsageError(f"{error.message.rstrip('.')}.{hint}", ctx=error.ctx)


_DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def _disk_error(error: OSError) -> OutputError | None:
    """A full or read-only disk can show in any write, also of temporary files and of standard output."""
    if error.errno not in _DISK_ERRNOS:
        return None
    place = error.filename or "standard output or a temporary file (TMPDIR names the folder of those)"
    return OutputError(f"can't write {place}: {error.strerror}")


def _report(ctx: click.Context, error: Exception) -> None:
    """Prints one message, with the traceback where it was asked for, and leaves with the error's exit code."""
    if ctx.params.get("debug"):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, InternalError):
        click.echo(f"internal error: {error}; this is a fault of Lepton: {_REPORT}", err=True)
        ctx.exit(error.exit_code)
    if isinstance(error, LeptonError):
        click.echo(f"error: {error}", err=True)
        ctx.exit(error.exit_code)
    summary = " ".join(str(error).split())
    click.echo(f"internal error: {type(error).__name__}: {summary}; please report it: {_REPORT}", err=True)
    ctx.exit(EXIT_INTERNAL)


def _silence_stdout() -> None:
    """Nobody can take our output; what Python still flushes at exit must not raise once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.command(
    "lepton",
    cls=VerbGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 the comparison failed, or a fault of Lepton; 2 something in what was given.",
)
@click.version_option(package_name="lepton-compiler", prog_name="lepton", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="LEPTON_DEBUG", help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Compiles trained models ahead of time: ONNX in, a shared library that needs the C library alone out.

    \b
    Examples:
      lepton compile model.onnx -o model.so
      lepton run model.so --inputs in.npz --outputs out.npz
      lepton compare model.so model.onnx
    """
