"""Indices that a model reads from data, kept inside of the buffers that they address.

Data may hold any number. What lies outside of an axis is defined, so that no run reads or writes foreign memory:
what is gathered is taken from the nearest element, what is scattered is left out, lengths are cut to what there is.
Indices that are out of range make the run fail besides (``run_time_checks.py``); these kernels don't rely on that.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx


def wrapped(index: Any, size: Any) -> tirx.Expr:
    """An index (int64) of which negative values count from the end of the axis; it may lie outside still."""
    index = tirx.Cast("int64", index)
    return tirx.Select(index < 0, index + tirx.Cast("int64", size), index)


def clamped(value: Any, low: Any, high: Any) -> tirx.Expr:
    """An integer (int64) moved to the nearest of ``low`` to ``high``."""
    value = tirx.Cast("int64", value)
    return tirx.Max(tirx.Min(value, tirx.Cast("int64", high)), tirx.Cast("int64", low))


def inside(index: Any, size: Any) -> tirx.Expr:
    """The element (int64) of an axis of ``size`` that an index names, the nearest one where there is none."""
    size = tirx.Cast("int64", size)
    return clamped(wrapped(index, size), 0, size - 1)


def is_inside(index: Any, size: Any) -> tirx.Expr:
    """Whether an index that is wrapped already lies on an axis of ``size``."""
    return tirx.all(index >= 0, index < tirx.Cast("int64", size))
