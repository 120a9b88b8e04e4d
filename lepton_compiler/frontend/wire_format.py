"""Finds out from the raw bytes why a file can't be an ONNX model, in words that help.

A protobuf parser says "parse error" for a holiday photo and for a download that stopped early alike. The top-level
records of the wire format tell them apart: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Later versions of ONNX may add fields; numbers far above theirs are another kind of file.
_HIGHEST_PLAUSIBLE_FIELD = 100
_MODEL_FIELDS = {1: "ir_version", 2: "producer_name", 3: "producer_version", 4: "domain", 5: "model_version",
                 6: "doc_string", 7: "graph", 8: "opset_import", 14: "metadata_props", 20: "training_info",
                 25: "functions", 26: "configuration"}  # fmt: skip


def describe_damage(data: bytes) -> str | None:
    """Walks the top-level records of a ModelProto.

    Returns:
        None where they are complete, otherwise one sentence that says what is wrong and where.
    """
    position = 0
    while position < len(data):
        start = position
        key, position = _read_varint(data, position)
        if key is None:
            return _damage(data, start, "a record's key")
        field, kind = key >> 3, key & 7
        if not 0 < field <= _HIGHEST_PLAUSIBLE_FIELD or kind not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            return f"byte {start} starts no field of an ONNX model"
        length, position = _payload(data, position, kind)
        if length is None or position + length > len(data):
            return _damage(data, start, f'the field "{_MODEL_FIELDS.get(field, field)}"', length)
        position += length
    return None


def _read_varint(data: bytes, position: int) -> tuple[int | None, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            return None, position
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return None, position


def _payload(data: bytes, position: int, kind: int) -> tuple[int | None, int]:
    """Number of bytes that follow, and where they start."""
    if kind == _VARINT:
        value, position = _read_varint(data, position)
        return (None if value is None else 0), position
    if kind == _BYTES:
        return _read_varint(data, position)
    return (8 if kind == _FIXED64 else 4), position


def _damage(data: bytes, start: int, what: str, length: int | None = None) -> str:
    size = "" if length is None else f" of {length} bytes"
    return f"{what}{size} at byte {start} goes beyond the end of the file ({len(data)} bytes); the file is truncated"
