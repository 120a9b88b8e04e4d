"""The key of a kernel in tuning logs: a hash of what the unscheduled PrimFunc computes.

Two kernels have the same key exactly if they are alike up to the names of variables, buffers, blocks and of the
function itself, whichever model, process or machine they come from. TVM's own ``structural_hash`` is no such key: it is
64 bits of an algorithm that its documentation limits to hash tables, it counts names of functions, and a record must
outlive the TVM that it was made with. So the function is written as a canonical text, which is hashed with SHA-256:

* a node is its kind, without the dialect that it stands in, and its fields in the order of their names;
* a variable or buffer is a number, counted from its first appearance, where its type follows;
* empty fields don't appear, so that a field that TVM adds changes nothing where it is not used;
* source positions, names, regions that follow from the body, and function attributes are left out.

A test pins the keys of some kernels: it fails where a new TVM writes them differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from lepton_compiler.core.errors import InternalError
from lepton_compiler.targets.cpu.schedule import SCHEDULE_ATTRIBUTE

_VERSION = "w1"
"""Of the canonical text. Another text needs another version, so that old records are told from new ones."""

_HEX_DIGITS = 32

_LEFT_OUT = {
    "span",  # where it was written
    "name",
    "name_hint",
    "attrs",  # of the function
    "reads",  # both follow from the body
    "writes",
}


def workload_key(func: tirx.PrimFunc) -> str:
    """The key of an unscheduled kernel, such as ``"w1-0123456789abcdef0123456789abcdef"``.

    Raises:
        InternalError: The kernel is scheduled already, or holds something that has no canonical text.
    """
    if func.attrs is not None and SCHEDULE_ATTRIBUTE in func.attrs:
        raise InternalError(f"a workload key was asked for a scheduled kernel ({func.attrs[SCHEDULE_ATTRIBUTE]})")
    digest = hashlib.sha256()
    for token in canonical_tokens(func):
        digest.update(token.encode())
        digest.update(b"\0")
    return f"{_VERSION}-{digest.hexdigest()[:_HEX_DIGITS]}"


def canonical_tokens(func: tirx.PrimFunc) -> Iterator[str]:
    """The canonical text, token by token: parameters first, then the body."""
    numbers: dict[Any, int] = {}
    # A stack, because kernels are nested deeper than Python may recurse.
    waiting: list[Any] = [func.body, func.params]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Token):
            yield str(item)
            continue
        head, parts = _split(item, numbers)
        yield head
        waiting.extend(reversed(parts))


class _Token(str):
    """Text that stands as it is."""


def _split(item: Any, numbers: dict[Any, int]) -> tuple[str, list[Any]]:
    """The token of a value, and what follows it."""
    if isinstance(item, tvm.ir.Var):
        if item in numbers:
            return f"v{numbers[item]}", []
        numbers[item] = len(numbers)
        return f"v{numbers[item]}:", [item.ty]
    if isinstance(item, tvm.ir.Op):
        return f"op {item.name}", []
    if isinstance(item, tvm_ffi.Array | list | tuple):
        return "[", [*item, _Token("]")]
    if isinstance(item, tvm_ffi.Map | dict):
        pairs = sorted((str(key), value) for key, value in item.items())
        return "{", [part for key, value in pairs for part in (_Token(key), value)] + [_Token("}")]
    if isinstance(item, tvm_ffi.Object):
        return _split_object(item)
    if isinstance(item, float):
        return item.hex(), []
    if isinstance(item, tvm_ffi.dtype):
        return str.__str__(item), []
    if item is None or isinstance(item, bool | int | str):
        return repr(item), []
    raise InternalError(f"no workload key for this kernel: a {type(item).__name__} has no canonical text")


def _split_object(item: Any) -> tuple[str, list[Any]]:
    kind, names = _description(type(item))
    parts: list[Any] = []
    for name in names:
        value = getattr(item, name)
        if not _is_empty(value):
            parts += [_Token(name), value]
    return f"({kind}", [*parts, _Token(")")]


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, tvm_ffi.Array | tvm_ffi.Map) and len(value) == 0)


def _description(kind: type) -> tuple[str, tuple[str, ...]]:
    """Name of a node type without its dialect, and its fields, those of its bases included."""
    info = getattr(kind, "__tvm_ffi_type_info__", None)
    if info is None:
        raise InternalError(f"no workload key for this kernel: TVM does not say which fields a {kind.__name__} has")
    name, fields = info.type_key.rpartition(".")[2], set()
    while info is not None:
        fields |= {field.name for field in info.fields or ()}
        info = info.parent_type_info
    return name, tuple(sorted(fields - _LEFT_OUT))
