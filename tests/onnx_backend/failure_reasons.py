"""Why a case failed, in the few words that the expectations hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx

from lepton_compiler.core.errors import InternalError, LeptonError, UnsupportedOperatorError

FOLDED = "ran outside of compiled code"
WRONG_RESULT = "wrong result"
CRASH = "crash"
TIMEOUT = "timeout"
_NOT_A_TENSOR = "string, sequence or optional type"
_NARROW = "sub-byte or float8 type"
_COMPLEX = "complex type"

_TYPES = onnx.TensorProto
_NARROW_TYPES = {number for name, number in _TYPES.DataType.items() if re.fullmatch(r"(U?INT[24]|FLOAT[468]E.*)", name)}
_COMPLEX_TYPES = {_TYPES.COMPLEX64, _TYPES.COMPLEX128}
# One line of the message of an UnsupportedOperatorError: "  Loop x1 (node l): run-time control flow ...".
_REFUSAL = re.compile(r"^  (?P<operator>\S+) x\d+ \(.*?\): (?P<reason>.*)$", re.MULTILINE)
_CAUSES = (
    ("Lepton has no converter", "unsupported operator"),
    ("control flow", "control flow"),
    ("depends on data", "data-dependent size"),
    ("when the model runs", "data-dependent size"),
)


def border_type_reason(model: onnx.ModelProto) -> str | None:
    """What about the types of the model's inputs and outputs keeps it from ever being an artifact."""
    types = set(_element_types(model))
    if not types.isdisjoint({_TYPES.STRING, _TYPES.UNDEFINED}):
        return _NOT_A_TENSOR
    if not types.isdisjoint(_NARROW_TYPES):
        return _NARROW
    return _COMPLEX if not types.isdisjoint(_COMPLEX_TYPES) else None


def reason_of(error: Exception) -> str:
    """The category of what compiling or running a case raised."""
    if isinstance(error, UnsupportedOperatorError):
        refusal = _REFUSAL.search(str(error))
        if refusal is None:
            return "unsupported operator"
        for words, cause in _CAUSES:
            if words in refusal["reason"]:
                return f"{cause}: {refusal['operator']}"
        return f"refused: {refusal['operator']}"
    if isinstance(error, InternalError):
        return "compiler error"
    return "refused" if isinstance(error, LeptonError) else f"unexpected {type(error).__name__}"


def _element_types(model: onnx.ModelProto) -> Iterator[int]:
    for info in (*model.graph.input, *model.graph.output):
        kind = info.type.WhichOneof("value")
        yield info.type.tensor_type.elem_type if kind == "tensor_type" else _TYPES.UNDEFINED
