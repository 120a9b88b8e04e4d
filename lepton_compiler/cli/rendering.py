"""How verbs show results: tables and sentences for people, one JSON document for programs.

Results go to standard output; progress, warnings and errors go to standard error, so that a pipe carries results alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lepton_compiler.core.manifest import Manifest
    from lepton_compiler.evaluation.machine import MachineDescription

_PIPED_WIDTH = 160
"""Columns where nobody says how wide the reader is: wide enough that no cell of ours is cut."""

_REFRESH_PER_SECOND = 2

_BUSY = 0.25
"""Share of a machine's cores that others may keep busy before its timings are called unreliable."""


def console(*, error: bool = False) -> Console:
    """A console that wraps nothing away when its output is piped."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else _PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def table(title: str | None, *columns: str) -> Table:
    """An empty table; a column whose heading ends in ``>`` is right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        right = column.endswith(">")
        result.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
    return result


def show_table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints one table."""
    from rich.text import Text

    result = table(title, *columns)
    for row in rows:
        # As Text: a name such as "[/conv]" is no markup.
        result.add_row(*(Text(cell) for cell in row))
    target = console()
    with target.capture() as capture:
        target.print(result)
    # Rich pads every line to the table's width and frames it with empty ones.
    lines = [line.rstrip() for line in capture.get().splitlines()]
    click.echo("\n".join(line for line in lines if line))


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints pairs of label and value, aligned."""
    width = max(len(label) for label, _ in facts)
    for label, value in facts:
        click.echo(f"{label:<{width}}  {value}")


def show_json(document: Any) -> None:
    """Prints one JSON document; dataclasses become objects, numbers that JSON lacks become null."""
    click.echo(json.dumps(plain(document), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """As JSON has it: dataclasses are objects, paths text, numbers that JSON lacks null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def warn(message: str) -> None:
    """Prints a warning to standard error."""
    click.echo(f"warning: {message}", err=True)


def warn_of_load(machine: MachineDescription) -> None:
    """Warns where others kept the machine busy before a measurement."""
    if machine.load_average > _BUSY * machine.cores:
        warn(
            f"the load average was {machine.load_average:.2f} on {machine.cores} cores before the start: "
            "times are higher than on a quiet machine, ratios less certain"
        )


@contextmanager
def progress(first_step: str) -> Iterator[Callable[[str], None]]:
    """Shows what is going on while it does, on a terminal; the yielded function names the next step."""
    if not sys.stderr.isatty():
        yield _no_step
        return
    # Slow on purpose: the animation shares the processors with what is being timed.
    with console(error=True).status(first_step, refresh_per_second=_REFRESH_PER_SECOND) as status:
        yield status.update


def _no_step(step: str) -> None:
    """Progress for readers who are not there."""


def machine_text(machine: MachineDescription) -> str:
    """Where a measurement was made, in one line."""
    versions = ", ".join(f"{package} {version}" for package, version in machine.versions.items())
    load = f"load average {machine.load_average:.2f}"
    return f"{machine.processor}, {machine.cores} cores, {load}; {machine.system}; {versions}"


def bytes_text(count: int) -> str:
    """``"13.4 MiB"``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def symbol_values_text(manifest: Manifest) -> str:
    """``" at batch = 64"`` where the planned memory is that of typical sizes; empty where it is exact."""
    value = manifest.memory.typical_symbol_value
    return "" if value is None else f" at {', '.join(f'{symbol} = {value}' for symbol in manifest.symbols)}"


def shape_text(shape: Sequence[int | str | None]) -> str:
    """``"1x3x224x224"``; ``"scalar"`` without dimensions, ``?`` for an unknown one."""
    return "x".join("?" if dim is None else str(dim) for dim in shape) or "scalar"


def count_text(number: int) -> str:
    """``"3.49 M"``: three figures with a decimal prefix."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return str(number)
