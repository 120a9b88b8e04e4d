"""Shapes of the model's inputs: what the model declares, and what the user asks for with ``--input-shapes``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from lepton_compiler.core.abi import MAX_SIZE, MAX_TENSOR_BYTES
from lepton_compiler.core.errors import InputError, ModelError
from lepton_compiler.core.options import Dim

# A name in quotes may hold anything but its quote.
_ITEM = re.compile(
    r"""\s*(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|(?P<name>[^\s\[\]]+?))\s*:\s*\[(?P<dims>[^\[\]]*)\]\s*[,;]?"""
)
_PLAIN_NAME = re.compile(r"""[^\s\[\]"',;]+\Z""")
_SYMBOL = re.compile(r"[A-Za-z_][\w.\-]*\Z")
_EXAMPLE = '--input-shapes "x:[1,3,224,224] tokens:[1,n]"'


@dataclass(frozen=True)
class InputSpec:
    """One input of the model.

    Attributes:
        name: ONNX name.
        shape: Its dimensions; a string is a symbolic one, and the same string is the same size everywhere.
        dtype: NumPy name of the element type.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: str


def parse_input_shapes(text: str) -> dict[str, tuple[Dim, ...]]:
    """Parses ``"x:[1,3,224,224] y:[n,16]"``; a name keeps a dimension symbolic.

    An input's name that holds spaces or brackets stands in quotes: ``'"my input":[1,3]'``.

    Raises:
        InputError: The text is not of that form, an input comes twice, a dimension is neither a positive number nor a
            name, or no memory could hold the input.
    """
    shapes: dict[str, tuple[Dim, ...]] = {}
    position = 0
    while text[position:].strip():
        match = _ITEM.match(text, position)
        if match is None:
            raise InputError(f'can\'t read the input shapes at "{text[position:].strip()}"; write them as {_EXAMPLE}')
        name = match["double"] or match["single"] or match["name"]
        if name in shapes:
            raise InputError(f'the input shapes name "{name}" twice')
        shapes[name] = tuple(_parse_dim(dim, name) for dim in match["dims"].split(",") if match["dims"].strip())
        check_extent(name, shapes[name])
        position = match.end()
    return shapes


def item_text(name: str, shape: Iterable[Dim]) -> str:
    """One input's shape as ``parse_input_shapes`` reads it."""
    quote = "" if _PLAIN_NAME.match(name) else "'" if '"' in name else '"'
    return f"{quote}{name}{quote}:[{','.join(str(dim) for dim in shape)}]"


def _parse_dim(text: str, name: str) -> Dim:
    text = text.strip()
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if _SYMBOL.match(text):
        return text
    raise InputError(f'input "{name}": dimension "{text}" is neither a number nor a name; write it as in {_EXAMPLE}')


def input_names(graph: onnx.GraphProto) -> list[str]:
    """Inputs that a caller has to give: those that are no initializers."""
    constants = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    return [value.name for value in graph.input if value.name not in constants]


def resolve_inputs(graph: onnx.GraphProto, requested: Mapping[str, tuple[Dim, ...]]) -> tuple[InputSpec, ...]:
    """The model's inputs with the requested shapes in place.

    A size given for a symbolic dimension holds for every input that has the same symbol. Unnamed dynamic dimensions
    are called after their input: ``x_dim0``.

    Raises:
        InputError: A requested name is unknown, a rank differs, a size is not positive, or a fixed size is changed.
        ModelError: An input is not a tensor of numbers, or has no shape and none was requested.
    """
    names = set(input_names(graph))
    declared = [_declared(value) for value in graph.input if value.name in names]
    _check_names(requested, [name for name, _, _ in declared])
    sizes: dict[str, Dim] = {}
    for name, shape, _ in declared:
        if name in requested:
            _match(name, shape, requested[name], sizes)
    specs = tuple(
        InputSpec(name, _apply(name, shape, requested.get(name), sizes), dtype) for name, shape, dtype in declared
    )
    for spec in specs:
        check_extent(spec.name, spec.shape)
    return specs


def check_extent(name: str, shape: tuple[Dim, ...]) -> None:
    """Refuses an input that no memory could hold.

    Raises:
        InputError: A size, or the number of elements, is beyond every machine; symbolic sizes count as 1.
    """
    sizes = [dim for dim in shape if isinstance(dim, int)]
    largest = max(sizes, default=0)
    if largest > MAX_SIZE:
        raise InputError(f'input "{name}": a dimension of {largest} is too large; {MAX_SIZE} is the most')
    if math.prod(sizes) > MAX_TENSOR_BYTES:
        raise InputError(f'input "{name}" with the shape {_text(shape)} is larger than any memory')


def _declared(value: onnx.ValueInfoProto) -> tuple[str, tuple[Dim, ...] | None, str]:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(f'input "{value.name}" is a {(kind or "value without a type")}; only tensors can be inputs')
    tensor = value.type.tensor_type
    if tensor.elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ModelError(f'input "{value.name}" holds elements of type {kind}; only numbers can be compiled')
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if not tensor.HasField("shape"):
        return value.name, None, dtype
    return value.name, tuple(_declared_dim(value.name, i, dim) for i, dim in enumerate(tensor.shape.dim)), dtype


def _declared_dim(name: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0:
        return dim.dim_value
    # Some exporters write -1 or "?" where they mean "any size".
    return dim.dim_param if dim.dim_param not in ("", "?", "-1") else f"{name}_dim{axis}"


def _check_names(requested: Mapping[str, tuple[Dim, ...]], known: Iterable[str]) -> None:
    names = list(known)
    for name in requested:
        if name not in names:
            listed = ", ".join(f'"{known_name}"' for known_name in names) or "none"
            raise InputError(f'the model has no input "{name}"; its inputs are: {listed}')


def _match(name: str, declared: tuple[Dim, ...] | None, wanted: tuple[Dim, ...], sizes: dict[str, Dim]) -> None:
    """Checks one requested shape against the declared one, and notes what it says about symbolic dimensions."""
    for dim in wanted:
        if isinstance(dim, int) and dim < 1:
            raise InputError(f'input "{name}": a dimension must be at least 1, got {_text(wanted)}')
    if declared is None:
        return
    if len(declared) != len(wanted):
        raise InputError(
            f'input "{name}" has {len(declared)} dimensions in the model, {_text(declared)}, got {_text(wanted)}'
        )
    for axis, (old, new) in enumerate(zip(declared, wanted, strict=True)):
        if isinstance(old, int):
            if old != new:
                raise InputError(
                    f'input "{name}": dimension {axis} is fixed to {old} in the model and can\'t become {new}; '
                    f"only dimensions that the model leaves open can be set. Its shape is {_text(declared)}"
                )
        elif sizes.setdefault(old, new) != new:
            raise InputError(
                f'input "{name}": dimension {axis} is "{old}", which another input sets to {sizes[old]}, not {new}'
            )


def _apply(
    name: str, declared: tuple[Dim, ...] | None, wanted: tuple[Dim, ...] | None, sizes: Mapping[str, Dim]
) -> tuple[Dim, ...]:
    if declared is None:
        if wanted is None:
            raise InputError(
                f'input "{name}" has no shape in the model: give one, with numbers and names of sizes, as in {_EXAMPLE}'
            )
        return wanted
    return tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in declared)


def _text(shape: tuple[Dim, ...]) -> str:
    return "[" + ",".join(str(dim) for dim in shape) + "]"
