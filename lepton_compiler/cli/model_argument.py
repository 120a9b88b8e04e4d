"""The MODEL argument of verbs that run something: an artifact, or an ONNX file that is compiled on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lepton_compiler.cli.rendering import warn
from lepton_compiler.core.errors import InputError, TargetError
from lepton_compiler.core.options import CompileOptions, Dim
from lepton_compiler.runtime.elf_sections import ELF_MAGIC

if TYPE_CHECKING:
    import numpy as np

    from lepton_compiler.evaluation.input_values import InputTensor


def is_artifact(path: Path) -> bool:
    """Whether ``path`` is meant as a compiled library: by its first bytes, or by its name where they are damaged."""
    if path.suffix == ".so":
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(ELF_MAGIC)) == ELF_MAGIC
    except OSError:
        # Whoever reads the file as a model says what is wrong with it.
        return False


@contextmanager
def as_artifact(model: Path, options: CompileOptions, on_step: Callable[[str], None]) -> Iterator[Path]:
    """The artifact ``model``, or one compiled from it into a folder that is removed afterwards.

    Raises:
        TargetError: It would be compiled for a target whose code this machine can't run.
        LeptonError: It can't be compiled.
    """
    if is_artifact(model):
        yield model
        return
    from lepton_compiler.driver import compile_model, resolve_target
    from lepton_compiler.targets.registry import runs_here

    target = resolve_target(options.target)
    if not runs_here(target):
        raise TargetError(
            f"this machine can't run code for target {target.name}, and the model is compiled to be run here: leave "
            "--target out, or name one of those that `lepton targets` says run here"
        )
    with tempfile.TemporaryDirectory(prefix="lepton-run-") as folder:
        library = Path(folder) / f"{model.stem}.so"
        compile_model(model, library, options, on_step=on_step)
        on_step("run")
        yield library


def make_feed(
    inputs: Sequence[InputTensor],
    shapes: Mapping[str, tuple[Dim, ...]],
    inputs_file: Path | None,
    seed: int,
    *,
    allow_nan: bool,
) -> dict[str, np.ndarray]:
    """Input tensors from a file, or random ones.

    Raises:
        InputError: The file can't be read or doesn't fit the inputs or ``shapes``, holds NaN that nobody allowed, or a
            symbolic dimension has no size.
    """
    from lepton_compiler.evaluation.input_values import check_given_shapes, check_values, fixed_shapes, random_values
    from lepton_compiler.evaluation.tensor_files import read_tensors

    if inputs_file is None:
        return random_values(inputs, fixed_shapes(inputs, shapes), seed)
    values = read_tensors(inputs_file)
    check_values(inputs, values)
    check_given_shapes(inputs, shapes, values)
    _check_finite(values, inputs_file, allow_nan)
    return {entry.name: values[entry.name] for entry in inputs}


def _check_finite(values: Mapping[str, np.ndarray], file: Path, allow_nan: bool) -> None:
    """NaN spreads to every output and is refused; infinities are ordinary in attention masks and only mentioned."""
    from lepton_compiler.evaluation.input_values import non_finite_counts

    for name, value in values.items():
        nans, infinities = non_finite_counts(value)
        if nans and not allow_nan:
            raise InputError(
                f'input "{name}" in {file} holds {nans} NaN among {value.size} values, which would make the outputs '
                "meaningless; clean the file, or give --allow-nan if the model expects them"
            )
        if infinities:
            warn(f'input "{name}" in {file} holds {infinities} infinite values')
