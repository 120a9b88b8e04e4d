"""TVM's own ONNX converters, used for operators that ``operators/`` has none for.

TVM's table knows no operator domains and some of its converters give wrong results, so an operator is taken from it
only if it belongs to the default domain and is not one of those below.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import onnx
import tvm
from tvm import relax, te, tirx, topi
from tvm.relax.frontend.onnx import onnx_frontend

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, ConversionError, shape_of
from lepton_compiler.frontend.run_time_checks import require_equal
from lepton_compiler.frontend.shape_values import ShapeValue

# Shapes that depend on data have no place in a program whose every size follows from its inputs' sizes.
DATA_DEPENDENT = frozenset({"NonZero", "NonMaxSuppression", "Unique", "Compress", "StringNormalizer"})
_CONTRIB_ONLY = frozenset(
    {"Attention", "AllClassNMS", "FastGelu", "BiasGelu", "EmbedLayerNormalization", "SkipLayerNormalization",
     "MatMulInteger16"}
)  # fmt: skip
# TVM represents sequences and optionals as tuples, which can't cross the program's border.
_NOT_TENSORS = frozenset(
    {"Optional", "OptionalHasElement", "OptionalGetElement", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
     "SequenceInsert", "SequenceLength", "ConcatFromSequence", "SplitToSequence", "SequenceAt"}
)  # fmt: skip
# Inputs that these take as Relax shapes; everything else gets tensors.
_SHAPE_INPUTS = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Resize": 3}
# Inputs whose numbers TVM's kernels use as indices into input 0, unchecked: batch numbers of regions.
_BATCH_NUMBERS = {"RoiAlign": 2, "MaxRoiPool": 1}
# What TVM's converters raise when they meet a model that they can't handle.
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError,
             ValueError)  # fmt: skip


@functools.cache
def _table() -> dict[str, Any]:
    return onnx_frontend._get_convert_map()


def is_available(domain: str, op: str) -> bool:
    """Whether TVM's converter of ``op`` may be used."""
    return domain == "" and op in _table() and op not in (DATA_DEPENDENT | _CONTRIB_ONLY | _NOT_TENSORS)


def convert(conversion: Conversion, node: onnx.NodeProto) -> relax.Expr:
    """Converts a node with TVM's converter.

    Raises:
        ConversionError: TVM's converter failed; the message is its first line.
    """
    _require(conversion)
    inputs = onnx_frontend.onnx_input(_argument(conversion, index) for index in range(len(conversion.inputs)))
    attributes = _parse_attributes(node, conversion)
    function = _table()[conversion.op].get_converter(conversion.opset)
    builder = NamingBuilder(conversion)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = function(builder, inputs, attributes, [{}, {}])
            return builder.normalize(result)
        except _FAILURES as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ConversionError(lines[-1].removeprefix("ValueError: ")) from error


def _require(conversion: Conversion) -> None:
    """What TVM's converters take for granted.

    Raises:
        ConversionError: It does not hold, or TVM's converter would give wrong results.
    """
    if conversion.op == "RoiAlign":
        if conversion.attribute("mode", "avg") != "avg":
            raise ConversionError('mode "max" can\'t be compiled')
        regions = shape_of(conversion.tensor(1))[:1]
        require_equal(conversion, "the number of batch numbers", shape_of(conversion.tensor(2)), regions)
    if conversion.op == "GridSample":
        batch = shape_of(conversion.tensor(0))[:1]
        require_equal(conversion, "the batch size of the grid", shape_of(conversion.tensor(1))[:1], batch)


class NamingBuilder:
    """Stands in for the BlockBuilder that TVM's converters expect, and names what they emit after the node."""

    def __init__(self, conversion: Conversion) -> None:
        self._conversion = conversion

    def emit(self, expr: relax.Expr, name_hint: str = "") -> relax.Expr:
        """Binds ``expr`` to an inner variable of the node."""
        return self._conversion.emit(expr)

    def normalize(self, expr: relax.Expr) -> relax.Expr:
        """Infers the type of ``expr``; calls inside of it become inner variables of the node."""
        if isinstance(expr, relax.Var | tvm.ir.GenericConst | relax.ShapeExpr) or tvm.ir.is_prim_expr(expr):
            return expr
        return self._conversion.builder.normalize(self._conversion.flatten(expr))

    def emit_te(self, function: Any, *arguments: Any, **keywords: Any) -> relax.Expr:
        """Binds a tensor-expression kernel to an inner variable of the node."""
        keywords.pop("primfunc_name_hint", None)
        conversion = self._conversion
        arguments = tuple(conversion.flatten_argument(a) if isinstance(a, relax.Expr) else a for a in arguments)
        hint = conversion.op.lower()
        return conversion.emit(conversion.builder.call_te(function, *arguments, primfunc_name_hint=hint, **keywords))

    def match_cast(self, value: relax.Expr, ty: relax.Type, name_hint: str = "") -> relax.Expr:
        """Refuses: TVM emits casts where a size depends on data."""
        raise ConversionError("a size depends on data that is known only when the model runs")


def _argument(conversion: Conversion, index: int) -> relax.Expr | None:
    value = conversion.inputs[index]
    if value is None:
        return None
    if isinstance(value, ShapeValue) and _SHAPE_INPUTS.get(conversion.op) == index:
        return relax.ShapeExpr(conversion.sizes(index))
    if _BATCH_NUMBERS.get(conversion.op) == index:
        return _existing_batches(conversion, index)
    return conversion.tensor(index)


def _existing_batches(conversion: Conversion, index: int) -> relax.Expr:
    """Input ``index`` with batch numbers that input 0 does not have made 0: a vector, or the first of five columns."""

    def compute(regions: te.Tensor, data: te.Tensor) -> te.Tensor:
        batches = tirx.Cast(regions.dtype, data.shape[0])
        zero = tirx.const(0, regions.dtype)

        def element(*i: tirx.Var) -> tirx.Expr:
            value = regions(*i)
            # Written so that NaN counts as outside.
            exists = tirx.all(value >= zero, value < batches)
            return tirx.Select(tirx.any(exists, i[1] > 0) if len(i) > 1 else exists, value, zero)

        return te_compute(regions.shape, element, name="existing_batches", tag=topi.tag.ELEMWISE)

    return conversion.emit_te(compute, conversion.tensor(index), conversion.tensor(0))


def _parse_attributes(node: onnx.NodeProto, conversion: Conversion) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = conversion.attributes[attribute.name]
        if isinstance(value, str):
            value = value.encode()
        elif isinstance(value, np.ndarray):
            value = attribute.t
        elif isinstance(value, list):
            value = tuple(value)
        attributes[attribute.name] = value
    attributes["tvm_custom"] = {"name": conversion.name, "num_outputs": len(conversion.output_names)}
    return attributes
