"""Reads an ONNX file and checks it, so that everything after this may trust the graph.

External tensor data stays inside the model's folder: a path that is absolute, climbs out with ``..`` or leaves through
a symbolic link is refused, and so is a range that the file does not have or that does not fit the tensor's shape.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from lepton_compiler.core.errors import ModelError
from lepton_compiler.frontend.onnx_schemas import has_unknown_operators, put_unknown_operators_apart
from lepton_compiler.frontend.wire_format import describe_damage
from lepton_compiler.runtime.elf_sections import ELF_MAGIC

_PROTOBUF_LIMIT_BYTES = (1 << 31) - 1
_DEFAULT_DOMAINS = ("", "ai.onnx")
# Element types of which a byte holds several.
_PACKED_BITS = {
    onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4, onnx.TensorProto.FLOAT4E2M1: 4,
    onnx.TensorProto.INT2: 2, onnx.TensorProto.UINT2: 2,
}  # fmt: skip


@dataclass(frozen=True)
class LoadedModel:
    """A checked ONNX model.

    Attributes:
        path: The file that it was read from.
        proto: The model; the external data of initializers is not loaded into it, that of attributes and sparse
            tensors is.
        sha256: Hash of the file, in hex.
        opsets: Version of each imported operator set, by domain; the default domain is ``""``.
    """

    path: Path
    proto: onnx.ModelProto
    sha256: str
    opsets: dict[str, int]

    def read_tensor(self, tensor: onnx.TensorProto) -> np.ndarray:
        """The tensor's values; external data is mapped, not copied."""
        if not _is_external(tensor):
            return onnx.numpy_helper.to_array(tensor)
        data = _external_bytes(tensor, self.path)
        if tensor.data_type in _PACKED_BITS:
            inline = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=data.tobytes())
            return onnx.numpy_helper.to_array(inline)
        return data.view(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).reshape(tuple(tensor.dims))


def load_model(path: Path) -> LoadedModel:
    """Reads and checks the ONNX file at ``path``.

    Raises:
        ModelError: The file can't be read, is not ONNX, is truncated or malformed, uses an operator set that is
            not known, or its external data is missing, lies outside of the model's folder or does not fit its tensor.
    """
    data = _read_bytes(path)
    proto = _parse(data, path)
    opsets = _check_opsets(proto, path)
    external = [tensor for tensor in _all_tensors(proto) if _is_external(tensor)]
    for tensor in external:
        _external_range(tensor, path)
    _check(proto, opsets, data, path, has_external_data=bool(external))
    for tensor in _tensors_in_messages(proto):
        if _is_external(tensor):
            _inline(tensor, path)
    return LoadedModel(path, proto, hashlib.sha256(data).hexdigest(), opsets)


def _check(proto: onnx.ModelProto, opsets: dict[str, int], data: bytes, path: Path, *, has_external_data: bool) -> None:
    """Refuses what ONNX's checker refuses; operators that don't exist are left to whoever
    lists all of them, and missing shapes to whoever knows those that the user gives."""
    checked: bytes | str = data
    if has_unknown_operators(proto, opsets) or any(_without_shape(proto.graph)):
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        put_unknown_operators_apart(copy, opsets)
        for value in _without_shape(copy.graph):
            # The checker would not say which; outputs need none, and inputs get theirs from the user.
            value.type.tensor_type.shape.SetInParent()
        for tensor in _all_tensors(copy):
            if _is_external(tensor):
                tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0]))
        checked = copy.SerializeToString()
    elif has_external_data:
        # The checker looks for external files beside the path that it is given.
        checked = str(path)
    try:
        onnx.checker.check_model(checked)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path} is not a valid ONNX model: {_first_lines(str(error))}") from error
    if not proto.graph.output:
        raise ModelError(f"{path} has no outputs, so there is nothing to compute: export the model again with outputs")


def _without_shape(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    """Inputs and outputs that are tensors of a known type and of no declared shape."""
    for value in (*graph.input, *graph.output):
        tensor = value.type.tensor_type
        if value.type.HasField("tensor_type") and tensor.elem_type and not tensor.HasField("shape"):
            yield value


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ModelError(f"{path} is a folder; give the path of an ONNX file")
    try:
        size = path.stat().st_size
        if size > _PROTOBUF_LIMIT_BYTES:
            raise ModelError(
                f"{path} has {size} bytes, more than an ONNX file can hold (2 GiB): "
                "save it again with its weights as external data"
            )
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"can't read {path}: {error.strerror}") from error


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    if not data:
        raise ModelError(f"{path} is empty, not an ONNX model")
    if data.startswith(ELF_MAGIC):
        raise ModelError(
            f"{path} is a compiled artifact or another shared library, not an ONNX model: give the ONNX file that it "
            "was compiled from"
        )
    damage = describe_damage(data)
    if damage is not None:
        raise ModelError(f"{path} is not an ONNX model, or not a whole one: {damage}")
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX model, or is damaged: {error}") from error
    if not proto.HasField("graph") or not proto.ir_version:
        raise ModelError(f"{path} is not an ONNX model: it holds no graph")
    return proto


def _check_opsets(proto: onnx.ModelProto, path: Path) -> dict[str, int]:
    opsets: dict[str, int] = {}
    for entry in proto.opset_import:
        domain = "" if entry.domain in _DEFAULT_DOMAINS else entry.domain
        opsets[domain] = entry.version
    newest = onnx.defs.onnx_opset_version()
    version = opsets.get("")
    if version is None:
        if not opsets:
            raise ModelError(f"{path} does not say which operator set it uses")
    elif not 1 <= version <= newest:
        raise ModelError(
            f"{path} uses ONNX operator set {version}; the installed onnx {onnx.__version__} knows 1 to {newest}: "
            "export the model with an older operator set, or install a newer onnx"
        )
    return opsets


def _is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def _all_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _graphs(proto):
        yield from graph.initializer
    yield from _tensors_in_messages(proto)


def _tensors_in_messages(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The tensors that onnx's helpers read where they stand, without the model's folder: all but initializers."""
    for graph in _graphs(proto):
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in _attributes(proto):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in _sparse_tensors(attribute):
            yield from (sparse.values, sparse.indices)


def _sparse_tensors(attribute: onnx.AttributeProto) -> Iterator[onnx.SparseTensorProto]:
    if attribute.HasField("sparse_tensor"):
        yield attribute.sparse_tensor
    yield from attribute.sparse_tensors


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield proto.graph
    for attribute in _attributes(proto):
        yield from _subgraphs(attribute)


def _attributes(proto: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """The attributes of all nodes, in subgraphs and local functions too, and the defaults of the functions' own."""
    yield from _attributes_below(proto.graph.node)
    for function in proto.functions:
        yield from function.attribute_proto
        yield from _attributes_below(function.node)


def _attributes_below(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.AttributeProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute
            for graph in _subgraphs(attribute):
                yield from _attributes_below(graph.node)


def _subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _inline(tensor: onnx.TensorProto, model: Path) -> None:
    """Puts a tensor's external data into its message."""
    data = _external_bytes(tensor, model).tobytes()
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.DEFAULT
    tensor.raw_data = data


def _external_bytes(tensor: onnx.TensorProto, model: Path) -> np.ndarray:
    """A tensor's external data as bytes, mapped."""
    file, offset, length = _external_range(tensor, model)
    return np.memmap(file, np.uint8, "r", offset, (length,)) if length else np.zeros(0, np.uint8)


def _tensor_bytes(tensor: onnx.TensorProto, what: str) -> int:
    """Bytes that a tensor's values take in ``raw_data`` or in a file."""
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"{what} has a shape with a negative size, {list(tensor.dims)}")
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(f"{what} holds strings, which ONNX has no external form of")
    bits = _PACKED_BITS.get(tensor.data_type)
    if bits is None:
        try:
            bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        except KeyError:
            raise ModelError(f"{what} has the element type {tensor.data_type}, which is not known") from None
    return (math.prod(tensor.dims) * bits + 7) // 8


def _external_range(tensor: onnx.TensorProto, model: Path) -> tuple[Path, int, int]:
    """File, offset and length in bytes of a tensor's external data, checked.

    Raises:
        ModelError: The location leads out of the model's folder, the file lacks the range, or its length is not what
            the tensor's shape and element type need.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    what = f'the external data of tensor "{tensor.name}" in {model}'
    folder = model.resolve().parent
    relative = Path(location)
    if not location or relative.is_absolute() or ".." in relative.parts or "\\" in location:
        raise ModelError(f'{what} lies at "{location}", which leads out of the model\'s folder; that is refused')
    file = (folder / relative).resolve()
    if not file.is_relative_to(folder):
        raise ModelError(f'{what} lies at "{location}", a link that leads out of the model\'s folder; that is refused')
    if not file.is_file():
        raise ModelError(f"{what} is missing: there is no file {folder / relative}; copy it beside the model")
    size = file.stat().st_size
    needed = _tensor_bytes(tensor, what)
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else needed
    except ValueError:
        raise ModelError(f"{what} has an offset or length that is not a number") from None
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelError(f"{what} needs bytes {offset} to {offset + length} of {location}, which has {size}")
    if length != needed:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise ModelError(
            f"{what} has {length} bytes; the shape {list(tensor.dims)} of {kind} needs {needed}: export the model again"
        )
    return file, offset, length


def _first_lines(text: str) -> str:
    """The checker's message without the C++ context that follows it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2])
