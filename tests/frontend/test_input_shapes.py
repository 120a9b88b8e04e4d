"""``--input-shapes``: its syntax, what it may change, and what becomes of dimensions that stay open."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper
from onnx_graphs import import_file, save
from tvm import tirx

from lepton_compiler.core.errors import InputError, ModelError
from lepton_compiler.core.program import Program
from lepton_compiler.frontend.input_shapes import parse_input_shapes


def test_syntax() -> None:
    assert parse_input_shapes("") == {}
    assert parse_input_shapes("x:[1,3,224,224]") == {"x": (1, 3, 224, 224)}
    assert parse_input_shapes(" x: [ 1 , n ] ,y:[n,16] ") == {"x": (1, "n"), "y": ("n", 16)}
    assert parse_input_shapes("in/put:0:[2] s:[]") == {"in/put:0": (2,), "s": ()}


@pytest.mark.parametrize("text", ["x", "x:1,2", "x:[1,2", "x:[1;2]", "x:[1.5]", "x:[1] x:[2]", "x:[n m]", "x:[2*n]"])
def test_bad_syntax_is_quoted(text: str) -> None:
    with pytest.raises(InputError) as error:
        parse_input_shapes(text)
    assert '"' in str(error.value)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """``a`` is (n, 4, ?), ``b`` (n, 1, 1): two inputs that share a symbol, one unnamed open dimension."""
    nodes = [helper.make_node("Add", ["a", "b"], ["y"], "add")]
    inputs = {"a": (TensorProto.FLOAT, ["n", 4, None]), "b": (TensorProto.FLOAT, ["n", 1, 1])}
    return save(tmp_path / "m.onnx", nodes, inputs, ["y"])


def shapes(program: Program) -> list[list[int | str]]:
    params = program.module["main"].params
    return [[int(d) if isinstance(d, tirx.IntImm) else d.name for d in p.ty.shape.values] for p in params]


def test_open_dimensions_stay_symbolic(model: Path) -> None:
    assert shapes(import_file(model)) == [["n", 4, "a_dim2"], ["n", 1, 1]]


def test_a_symbol_is_one_variable(model: Path) -> None:
    a, b = import_file(model).module["main"].params
    assert a.ty.shape.values[0].same_as(b.ty.shape.values[0])


def test_a_size_holds_wherever_the_symbol_stands(model: Path) -> None:
    assert shapes(import_file(model, a=(2, 4, "w"))) == [[2, 4, "w"], [2, 1, 1]]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"c": (1,)}, ['no input "c"', '"a", "b"']),
        ({"a": (1, 4)}, ["3 dimensions", "[n,4,a_dim2]"]),
        ({"a": (1, 5, 2)}, ["dimension 1 is fixed to 4", "can't become 5"]),
        ({"a": (1, "m", 2)}, ["dimension 1 is fixed to 4"]),
        ({"a": (0, 4, 2)}, ["at least 1"]),
        ({"a": (-1, 4, 2)}, ["at least 1"]),
        ({"a": (2, 4, 2), "b": (3, 1, 1)}, ['"n"', "2", "3"]),
    ],
)
def test_what_does_not_fit_is_explained(
    model: Path, wanted: dict[str, tuple[int | str, ...]], words: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        import_file(model, **wanted)
    for word in words:
        assert word in str(error.value)


def test_inputs_that_can_not_be_compiled(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"], "id")]
    with pytest.raises(ModelError, match="STRING"):
        import_file(save(tmp_path / "m.onnx", nodes, {"x": (TensorProto.STRING, [2])}, ["y"]))
