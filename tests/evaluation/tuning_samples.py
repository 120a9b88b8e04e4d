"""A tuning session of round numbers, for tests of what is made of it."""

from __future__ import annotations

from pathlib import Path

from lepton_compiler.tuning.tuning_report import TaskReport, TuningReport


def task(
    kernel: str,
    default_us: float | None,
    curve_us: tuple[float | None, ...],
    *,
    flops: int | None = 4_000_000,
    moved_bytes: int | None = 100_000,
    anchor: str = "packed_convolution",
    problem: str | None = None,
) -> TaskReport:
    """A kernel whose best time is the curve's last one."""
    curve = tuple(None if time is None else time * 1e-6 for time in curve_us)
    best = curve[-1] if curve else None
    default = None if default_us is None else default_us * 1e-6
    return TaskReport(
        kernel=(kernel,),
        workload="w1-0",
        anchor=anchor,
        calls=2,
        candidates=80,
        trials=len(curve),
        flops=flops,
        moved_bytes=moved_bytes,
        operand_type="float32",
        default_seconds=default,
        best_seconds=best,
        gain=default / best if default and best else 1.0,
        knobs={"tile.rows": 2},
        curve_seconds=curve,
        problem=problem,
    )


TASKS = (
    task("conv", 100.0, (None, 100.0, 80.0, 50.0)),
    task("depthwise", 20.0, (20.0, 20.0), anchor="packed_depthwise"),
    task("dense<b>$x_1$", 40.0, (40.0, 39.0, 32.0), flops=1_000_000, moved_bytes=4_000_000, anchor="dense"),
    task("uncounted", 10.0, (10.0, 8.0), flops=None, moved_bytes=None, anchor="winograd"),
    task("broken", None, (), problem="its reference can't be built: no memory"),
)

REPORT = TuningReport(TASKS, (), Path("logs/x86-64-v3/net"), 11, 60.0, 0.25, False, 340e-6, 220e-6)
