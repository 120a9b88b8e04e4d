"""Page of a tuning session: its sentences, the search of each kernel that gained, the roofline, and the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lepton_compiler.evaluation.figure_files import svg_element
from lepton_compiler.evaluation.html_page import Table, html_heading, html_page, html_paragraph, html_table
from lepton_compiler.evaluation.machine_probe import MachinePeaks
from lepton_compiler.evaluation.tuning_pictures import NumberedTasks, draw_curves, draw_roofline_of_tuning
from lepton_compiler.tuning.tuning_report import TuningReport


def tuning_page(
    model: str, report: TuningReport, summary: Sequence[str], table: Table, peaks: MachinePeaks | None
) -> str:
    """The page.

    Args:
        model: What the model is called.
        report: The session.
        summary: Sentences for the top of the page.
        table: A row for each kernel, in the report's order; the page numbers them.
        peaks: What the device reaches; None where nobody measured that, and there is no roofline.
    """
    return html_page(f"Tuning of {model}", summary, _parts(model, report, table, peaks))


def _parts(model: str, report: TuningReport, table: Table, peaks: MachinePeaks | None) -> Iterator[str]:
    tasks: NumberedTasks = dict(enumerate(report.tasks, 1))
    columns, rows = table
    yield html_heading("Kernels")
    yield html_table(("#>", *columns), [(str(number), *row) for number, row in enumerate(rows, 1)])
    gained = {number: task for number, task in tasks.items() if task.gain > 1}
    if gained:
        yield html_heading("Best time after each trial, of the kernels that gained")
        yield html_paragraph(
            "Trials of earlier sessions count, and so do those that confirmed the best at the end. The default counts "
            "with its best time, so a curve begins above 100 % where its first one was slower."
        )
        yield svg_element(draw_curves(gained))
    if peaks is not None:
        yield html_heading("Before and after, under what the machine reaches")
        yield html_paragraph(
            "A mark above the roof of memory is a kernel whose operands the trials found in a cache. Kernels whose "
            "operations can't be counted are left out."
        )
        threads = f"{peaks.threads} thread{'s' if peaks.threads > 1 else ''}"
        yield svg_element(draw_roofline_of_tuning(tasks, peaks, f"{model}, {threads}"))
