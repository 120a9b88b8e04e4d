"""One function call in a process of its own, which starts from nothing and ends with all that it loaded."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from lepton_compiler.core.errors import RunError

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def in_own_process(function: Callable[[Argument], Result], argument: Argument, work: str) -> Result:
    """What ``function(argument)`` returns or raises in a fresh process.

    Args:
        function: A function of a module, which the other process imports.
        argument: What it is given; it travels by pickle.
        work: What the process does, for the message: "the process that ... was killed".

    Raises:
        RunError: The process was killed or crashed.
    """
    # The default action on an interrupt: the process ends at once, without a traceback of its own.
    on_interrupt = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_DFL)}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), **on_interrupt) as pool:
        try:
            return pool.submit(function, argument).result()
        except BrokenProcessPool as error:
            raise RunError(f"the process that {work} was killed or crashed") from error
