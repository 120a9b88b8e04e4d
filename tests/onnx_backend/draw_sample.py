"""Draws the sample of the ordinary suite: ``python tests/onnx_backend/draw_sample.py``.

The cases are put into strata, one for each operator that is tested, or kind; every round takes
one case from each stratum, in an order fixed by the seed, until there are enough.
"""

from __future__ import annotations

import random
from collections import defaultdict

from backend_cases import BackendCase, load_cases, operators_of
from expectations import SAMPLE_FILE

_SIZE = 150
_SEED = 2033
_HEADER = "# The cases of the ordinary suite, drawn over operators by draw_sample.py.\n"


def draw(cases: dict[str, BackendCase], size: int, seed: int) -> list[str]:
    """Names of ``size`` cases."""
    generator = random.Random(seed)
    operators = operators_of(cases)
    strata: dict[str, list[str]] = defaultdict(list)
    for name in sorted(cases):
        # The large models have tests of their own.
        if cases[name].kind != "real":
            strata[operators[name] if cases[name].kind == "node" else cases[name].kind].append(name)
    order = sorted(strata)
    generator.shuffle(order)
    for names in strata.values():
        generator.shuffle(names)
    drawn: list[str] = []
    while len(drawn) < size:
        drawn += [strata[key].pop() for key in order if strata[key]][: size - len(drawn)]
    return sorted(drawn)


if __name__ == "__main__":
    SAMPLE_FILE.write_text(
        _HEADER + "".join(f"{name}\n" for name in draw(load_cases(), _SIZE, _SEED)), encoding="utf-8"
    )
