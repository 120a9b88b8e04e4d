"""Reads an ONNX file and checks it, so that everything after this may trust the graph.

External tensor data stays inside the model's folder: a path that is absolute, climbs out with ``..`` or leaves through
a symbolic link is refused, and so is a range that the file does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from lepton_compiler.core.errors import ModelError
from lepton_compiler.frontend.wire_format import describe_damage

_PROTOBUF_LIMIT_BYTES = (1 << 31) - 1
_DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class LoadedModel:
    """A checked ONNX model.

    Attributes:
        path: The file that it was read from.
        proto: The model; external data is not loaded into it.
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
        file, offset, length = _external_range(tensor, self.path)
        data = np.memmap(file, np.uint8, "r", offset, (length,)) if length else np.zeros(0, np.uint8)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if length != int(np.prod(tensor.dims, dtype=np.int64)) * dtype.itemsize:
            # Sub-byte types are packed; onnx knows how.
            inline = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=data.tobytes())
            return onnx.numpy_helper.to_array(inline)
        return data.view(dtype).reshape(tuple(tensor.dims))


def load_model(path: Path) -> LoadedModel:
    """Reads and checks the ONNX file at ``path``.

    Raises:
        ModelError: The file can't be read, is not ONNX, is truncated or malformed, uses an operator set that is
            not known, or its external data is missing or lies outside of the model's folder.
    """
    data = _read_bytes(path)
    proto = _parse(data, path)
    opsets = _check_opsets(proto, path)
    external = [tensor for tensor in _all_tensors(proto) if _is_external(tensor)]
    for tensor in external:
        _external_range(tensor, path)
    try:
        # The checker looks for external files beside the path that it is given.
        onnx.checker.check_model(str(path) if external else data)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path} is not a valid ONNX model: {_first_lines(str(error))}") from error
    return LoadedModel(path, proto, hashlib.sha256(data).hexdigest(), opsets)


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
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)


def _external_range(tensor: onnx.TensorProto, model: Path) -> tuple[Path, int, int]:
    """File, offset and length in bytes of a tensor's external data, checked.

    Raises:
        ModelError: The location leads out of the model's folder, or the file lacks the range.
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
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else size - offset
    except ValueError:
        raise ModelError(f"{what} has an offset or length that is not a number") from None
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelError(f"{what} needs bytes {offset} to {offset + length} of {location}, which has {size}")
    return file, offset, length


def _first_lines(text: str) -> str:
    """The checker's message without the C++ context that follows it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2])
