"""Options of numbers, and those that change the graph of every verb that compiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from onnx import TensorProto, helper
from small_onnx_models import write_model

from lepton_compiler.cli.graph_options import GRAPH_OPTIONS
from lepton_compiler.cli.main import main
from lepton_compiler.cli.options import NumberRange
from lepton_compiler.targets.registry import get_target

CHANNELS = 64


def _commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _commands(child)


def test_every_option_that_takes_a_fraction_refuses_nan() -> None:
    types = [parameter.type for command in _commands(main) for parameter in command.params]
    fractions = [kind for kind in types if isinstance(kind, click.types.FloatParamType)]
    assert fractions
    assert all(isinstance(kind, NumberRange) for kind in fractions)


@pytest.mark.parametrize(
    ("value", "message"), [("nan", "'nan' is not a number"), ("-1", "not in the range"), ("x", "not a valid float")]
)
def test_numbers_are_checked(lepton, fixed_model: Path, tmp_path: Path, value: str, message: str) -> None:
    result = lepton("compile", fixed_model, "-o", tmp_path / "model.so", "--max-winograd-error", value)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_bound_for_an_algorithm_that_is_switched_off(lepton, fixed_model: Path, tmp_path: Path) -> None:
    options = ("--no-winograd", "--max-winograd-error", "1e-3")
    result = lepton("compile", fixed_model, "-o", tmp_path / "model.so", *options)
    assert result.exit_code == 2
    assert "--no-winograd leaves no error for --max-winograd-error to bound" in " ".join(result.stderr.split())


@pytest.mark.parametrize("verb", ["compile", "compare", "benchmark", "profile", "inspect"])
def test_every_verb_that_compiles_has_all_of_them(verb: str) -> None:
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    assert {parameter.name for parameter in command.params} >= set(GRAPH_OPTIONS)


@pytest.fixture(scope="module")
def square_convolution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution that Winograd's algorithm computes faster."""
    weight = np.random.default_rng(0).standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / 24
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "/conv", pads=[1, 1, 1, 1])]
    inputs = {"x": (TensorProto.FLOAT, [1, CHANNELS, 56, 56])}
    return write_model(tmp_path_factory.mktemp("square") / "square.onnx", nodes, inputs, {"y": 4}, {"w": weight})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "Winograd F(4x4, 3x3)"),
        (("--no-winograd",), "direct: Winograd is switched off"),
        (("--max-winograd-error", "1e-9"), "no Winograd error is estimated below 1e-09 of the range"),
        (("--precision", "bf16", "--no-winograd"), "operands rounded to bfloat16"),
        (("--precision", "bf16", "--keep-fp32", "/conv"), 'it is kept by "/conv"'),
    ],
    ids=["none", "no-winograd", "max-winograd-error", "precision", "keep-fp32"],
)
def test_a_node_is_followed_as_it_would_be_compiled(
    lepton, square_convolution: Path, options: tuple[str, ...], sentence: str
) -> None:
    if "bf16" in options and not get_target("native").has_bfloat16_dot:
        options = (*options, "--target", "amd-zen4")
    result = lepton("inspect", square_convolution, "--why", "/conv", *options)
    assert result.exit_code == 0, result.output
    assert sentence in " ".join(result.stdout.split())


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Narrow products of one tensor, which take less time as one."""
    random = np.random.default_rng(0)
    weights = {name: random.standard_normal((256, 3)).astype(np.float32) for name in ("w1", "w2")}
    nodes = [helper.make_node("MatMul", ["x", name], [f"y{name}"], f"/{name}") for name in weights]
    inputs = {"x": (TensorProto.FLOAT, [512, 256])}
    path = tmp_path_factory.mktemp("heads") / "heads.onnx"
    return write_model(path, nodes, inputs, {"yw1": 2, "yw2": 2}, weights)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "merged with /w2 into one product of 6 columns"),
        (("--no-merge-products",), "not merged with /w2: merging of products is switched off"),
    ],
    ids=["none", "no-merge-products"],
)
def test_merging_is_explained(lepton, two_heads: Path, options: tuple[str, ...], sentence: str) -> None:
    result = lepton("inspect", two_heads, "--why", "/w1", *options)
    assert result.exit_code == 0, result.output
    assert sentence in " ".join(result.stdout.split())
