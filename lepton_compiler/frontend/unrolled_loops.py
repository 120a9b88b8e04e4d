"""Loop and Scan whose number of iterations is known while importing: the body is written out that many times.

A Loop's count may also follow from the declared shape of what it collects. Anything else is control flow at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from tvm import relax, tirx

from lepton_compiler.frontend.conversion import Conversion, ConversionError, rank_of, shape_of
from lepton_compiler.frontend.run_time_checks import require_values

MAX_NODES = 8192
"""Most nodes that the iterations of one loop may become together."""

RunBody = Callable[[Mapping[str, Any], str], "list[Any] | None"]
"""Converts the body once, given values for its inputs and a prefix for names; None where a node was refused."""

_RUN_TIME = "run-time control flow can't be compiled yet"


def convert_scan(conversion: Conversion, body: onnx.GraphProto, run_body: RunBody) -> list[Any] | None:
    """Outputs of a Scan (operator set 9 and later): final states, then what each iteration gave, stacked."""
    if conversion.opset < 9:
        raise ConversionError("Scan of operator set 8, with its batch axis, can't be compiled")
    scanned = conversion.attribute("num_scan_inputs")
    states = list(conversion.inputs[: len(conversion.inputs) - scanned])
    sources = list(conversion.inputs[len(states) :])
    in_axes = conversion.attribute("scan_input_axes", [0] * scanned)
    in_backward = conversion.attribute("scan_input_directions", [0] * scanned)
    count = _length(conversion, sources[0], in_axes[0])
    for source, axis in zip(sources[1:], in_axes[1:], strict=True):
        if _length(conversion, source, axis) != count:
            raise ConversionError("its inputs have different lengths along the axes that it scans")
    _check_size(count, body)
    collected: list[list[Any]] = [[] for _ in body.output[len(states) :]]
    for step in range(count):
        items = [
            _item(conversion, source, axis, count - 1 - step if backward else step)
            for source, axis, backward in zip(sources, in_axes, in_backward, strict=True)
        ]
        results = run_body(_named(body, [*states, *items]), f"{conversion.name}/step{step}/")
        if results is None:
            return None
        states, items = results[: len(states)], results[len(states) :]
        for values, item in zip(collected, items, strict=True):
            values.append(item)
    out_axes = conversion.attribute("scan_output_axes", [0] * len(collected))
    out_backward = conversion.attribute("scan_output_directions", [0] * len(collected))
    stacks = [
        _stack(conversion, values[::-1] if backward else values, axis)
        for values, axis, backward in zip(collected, out_axes, out_backward, strict=True)
    ]
    return [*states, *stacks]


def convert_loop(conversion: Conversion, body: onnx.GraphProto, run_body: RunBody) -> list[Any] | None:
    """Outputs of a Loop: final states, then what each iteration gave, stacked."""
    condition = conversion.inputs[1] if conversion.has(1) else np.array(True)
    states = list(conversion.inputs[2:])
    count = _trip_count(conversion, len(states))
    if count is not None:
        _check_size(count, body)
    collected: list[list[Any]] = [[] for _ in body.output[1 + len(states) :]]
    step = 0
    declared = not isinstance(conversion.inputs[0], np.ndarray)
    while (count is None or step < count) and _holds(condition, count is not None and declared):
        _require_iterations(conversion, condition, None)
        given = [np.array(step, np.int64), condition, *states]
        results = run_body(_named(body, given), f"{conversion.name}/step{step}/")
        if results is None:
            return None
        condition, states, items = results[0], results[1 : 1 + len(states)], results[1 + len(states) :]
        for values, item in zip(collected, items, strict=True):
            values.append(item)
        step += 1
        _check_size(step, body)
    if declared and count is not None and conversion.has(0):
        _require_iterations(conversion, condition, step)
    return [*states, *(_stack(conversion, values, 0) for values in collected)]


def _trip_count(conversion: Conversion, states: int) -> int | None:
    """The number of iterations, None where only the condition ends the loop."""
    if not conversion.has(0):
        return None
    count = conversion.inputs[0]
    if isinstance(count, np.ndarray):
        return min(int(count.reshape(-1)[0]), MAX_NODES + 1)
    for shape in conversion.declared_shapes[states:]:
        if shape:
            return shape[0]
    raise ConversionError(f"its number of iterations is known only when the model runs, and {_RUN_TIME}")


def _holds(condition: Any, ignored: bool) -> bool:
    # A count that the model declares has the condition in it already.
    if isinstance(condition, np.ndarray):
        return bool(condition.reshape(-1)[0])
    if ignored:
        return True
    raise ConversionError(f"its condition is computed from data, and {_RUN_TIME}")


def _require_iterations(conversion: Conversion, condition: Any, last: int | None) -> None:
    """A condition that is known only when the model runs must hold, or after the last iteration end the loop."""
    message = "the loop has another number of iterations than the model declares"
    if last is None:
        if isinstance(condition, relax.Expr):
            require_values(conversion, message, lambda goes_on: goes_on[0], condition)
        return
    if isinstance(condition, relax.Expr):
        require_values(
            conversion, message, lambda most, goes_on: tirx.any(most[0] == last, tirx.Not(goes_on[0])),
            conversion.tensor(0), condition,
        )  # fmt: skip
    elif condition.reshape(-1)[0]:
        require_values(conversion, message, lambda most: most[0] == last, conversion.tensor(0))


def _check_size(iterations: int, body: onnx.GraphProto) -> None:
    if iterations * max(len(body.node), 1) > MAX_NODES:
        raise ConversionError(
            f"it has at least {iterations} iterations of {len(body.node)} nodes; more than {MAX_NODES} nodes in all "
            f"would have to stay a loop, and {_RUN_TIME}"
        )


def _named(body: onnx.GraphProto, values: Sequence[Any]) -> dict[str, Any]:
    return {info.name: value for info, value in zip(body.input, values, strict=True)}


def _length(conversion: Conversion, source: Any, axis: int) -> int:
    size = source.shape[axis] if isinstance(source, np.ndarray) else shape_of(conversion.as_tensor(source))[axis]
    if not isinstance(size, int):
        raise ConversionError(f"it scans an axis of the symbolic size {size}, and {_RUN_TIME}")
    return size


def _item(conversion: Conversion, source: Any, axis: int, index: int) -> Any:
    """Element ``index`` along ``axis``, without that axis."""
    if isinstance(source, np.ndarray):
        return np.take(source, index, axis)
    tensor = conversion.as_tensor(source)
    axis %= rank_of(tensor)
    part = conversion.emit(relax.op.strided_slice(tensor, [axis], [index], [index + 1], assume_inbound=True))
    shape = shape_of(tensor)
    return conversion.emit(relax.op.reshape(part, [*shape[:axis], *shape[axis + 1 :]]))


def _stack(conversion: Conversion, values: Sequence[Any], axis: int) -> Any:
    if not values:
        raise ConversionError("a loop without iterations gives a result of unknown shape")
    if all(isinstance(value, np.ndarray) for value in values):
        return np.stack(values, axis)
    parts = []
    for value in values:
        tensor = conversion.as_tensor(value)
        shape = shape_of(tensor)
        place = axis % (len(shape) + 1)
        parts.append(conversion.emit(relax.op.reshape(tensor, [*shape[:place], 1, *shape[place:]])))
    return conversion.emit(relax.op.concat(parts, axis)) if len(parts) > 1 else parts[0]
