"""The pages of ``docs/generated``, made from the code that they describe."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

import click

NOTE = "<!-- Made from the code: `pytest tests/docs --update-docs` writes it anew. -->\n"


def passes_page() -> str:
    """The passes in order, each with what it does and the stage that it leads to."""
    from lepton_compiler.core.options import CompileOptions
    from lepton_compiler.pipeline import build_pipeline

    rows = [
        (plan.stage.name, f"`{pass_.name()}`", pass_.summary(), _pass_fields(pass_), "no" if pass_.required else "yes")
        for plan in build_pipeline(CompileOptions())
        for pass_ in plan.passes
    ]
    text = "The passes in the order in which they run, as `lepton_compiler/pipeline.py` lists them.\n"
    header = ("stage", "pass", "what it does", "options", "`--disable-pass`")
    return _page("Passes", text, _table(header, rows))


def _pass_fields(pass_: object) -> str:
    fields = [f"`{field.name}={getattr(pass_, field.name)!r}`" for field in dataclasses.fields(pass_)]
    return ", ".join(fields) or "-"


def targets_page() -> str:
    """The targets with what schedules and the linker take from each."""
    from lepton_compiler.targets.registry import TARGETS

    rows = [
        (
            f"`{spec.name}`",
            spec.description,
            spec.architecture.value,
            f"{spec.vector_registers} x {spec.vector_bits} bit",
            f"{spec.l1_data_bytes >> 10} KiB, {spec.l2_bytes >> 10} KiB",
            "yes" if spec.has_bfloat16_dot else "no",
            f"`{spec.zig_triple}`",
            spec.source,
        )
        for spec in TARGETS.values()
    ]
    text = "What `--target` takes beside `native`, the best of these that this machine can run.\n"
    header = (
        "target",
        "what it is",
        "architecture",
        "vectors",
        "level 1, level 2",
        "bf16",
        "triple",
        "source of the numbers",
    )
    return _page("Targets", text, _table(header, rows))


def verbs_page() -> str:
    """The command line: each verb with its arguments and options."""
    from lepton_compiler.cli.main import main

    parts = [_options_table(main)]
    context = click.Context(main, info_name="lepton")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None, name
        parts += _verb_parts(command, click.Context(command, info_name=name, parent=context))
    return _page("Verbs", "The verbs of `lepton`; `lepton VERB --help` adds examples.\n", "\n".join(parts))


def _verb_parts(command: click.Command, context: click.Context) -> Iterable[str]:
    """A verb's section, and behind it those of the verbs that it has itself."""
    with context:
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    heading = "#" * (context.command_path.count(" ") + 1)
    title = context.command_path.partition(" ")[2]
    yield f"{heading} {title}\n\n```\n{usage}\n```\n\n{_first_paragraph(command)}\n\n{_options_table(command)}"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            own = command.get_command(context, name)
            assert own is not None, name
            yield from _verb_parts(own, click.Context(own, info_name=name, parent=context))


def _first_paragraph(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _options_table(command: click.Command) -> str:
    rows = [
        (
            f"`{', '.join([*option.opts, *option.secondary_opts])}{_value_name(option)}`",
            " ".join((option.help or "").split()),
        )
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    return _table(("option", "what it does"), rows) if rows else ""


def _value_name(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return f" [{'|'.join(str(choice) for choice in option.type.choices)}]"
    return f" {option.metavar or option.type.name.upper()}"


def _page(title: str, text: str, body: str) -> str:
    return f"{NOTE}\n# {title}\n\n{text}\n{body}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["-"] * len(header), *rows]
    cells = ([re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


PAGES: dict[str, Callable[[], str]] = {"passes.md": passes_page, "targets.md": targets_page, "verbs.md": verbs_page}
