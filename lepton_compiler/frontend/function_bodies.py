"""The bodies of operators that are functions of other operators: the model's own, and those of ONNX's schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

FunctionKey = tuple[str, str, str]
"""Domain, name and overload of a model-local function."""


def local_functions(model: onnx.ModelProto) -> dict[FunctionKey, onnx.FunctionProto]:
    """The functions that the model brings along."""
    return {(f.domain, f.name, getattr(f, "overload", "")): f for f in model.functions}


def function_key(node: onnx.NodeProto) -> FunctionKey:
    """The key under which the node's operator would be a function of the model."""
    return node.domain, node.op_type, getattr(node, "overload", "")


def has_schema_function(domain: str, op: str, version: int) -> bool:
    """Whether ONNX defines the operator by a function body."""
    schema = _schema(domain, op, version)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def schema_function(
    node: onnx.NodeProto, version: int, input_types: Sequence[onnx.TypeProto | None]
) -> onnx.FunctionProto | None:
    """The function body that ONNX defines for a node's operator.

    Args:
        node: The node, with its attributes in place.
        version: Version of the operator's domain.
        input_types: Types of the inputs, None for left out ones; some bodies depend on them.

    Returns:
        The body with the operator sets that it uses, or None where ONNX has none for this case.
    """
    schema = _schema(node.domain, node.op_type, version)
    if schema is None:
        return None
    body = None
    if schema.has_context_dependent_function:
        body = _context_dependent_body(schema, node, version, input_types)
    elif schema.has_function:
        usable = [v for v in schema.function_opset_versions if v <= version] or schema.function_opset_versions
        body = schema.get_function_with_opset_version(max(usable))
    if not body:
        return None
    function = body if isinstance(body, onnx.FunctionProto) else onnx.FunctionProto.FromString(body)
    return _with_defaults(function, schema)


def _with_defaults(function: onnx.FunctionProto, schema: onnx.defs.OpSchema) -> onnx.FunctionProto:
    """The function with the schema's default values, which its body may refer to."""
    present = {attribute.name for attribute in function.attribute_proto}
    defaults = [attribute.default_value for attribute in schema.attributes.values()]
    result = onnx.FunctionProto()
    result.CopyFrom(function)
    result.attribute_proto.extend(value for value in defaults if value.type and value.name not in present)
    return result


def _context_dependent_body(
    schema: onnx.defs.OpSchema,
    node: onnx.NodeProto,
    version: int,
    input_types: Sequence[onnx.TypeProto | None],
) -> bytes | None:
    types = [(kind or onnx.TypeProto()).SerializeToString() for kind in input_types]
    versions = schema.context_dependent_function_opset_versions
    usable = [v for v in versions if v <= version] or list(versions)
    return schema.get_context_dependent_function_with_opset_version(max(usable), node.SerializeToString(), types)


def _schema(domain: str, op: str, version: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None


def bind_attributes(node: onnx.NodeProto, bound: Mapping[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """The node with references to its function's attributes replaced by their values.

    An attribute whose reference has no value is dropped: the operator's default holds then.
    """
    if not _refers(node):
        return node
    result = onnx.NodeProto()
    result.CopyFrom(node)
    del result.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            result.attribute.append(_bind_in_graphs(attribute, bound))
        elif attribute.ref_attr_name in bound:
            value = onnx.AttributeProto()
            value.CopyFrom(bound[attribute.ref_attr_name])
            value.name = attribute.name
            result.attribute.append(value)
    return result


def _refers(node: onnx.NodeProto) -> bool:
    return any(attribute.ref_attr_name or attribute.HasField("g") for attribute in node.attribute)


def _bind_in_graphs(attribute: onnx.AttributeProto, bound: Mapping[str, onnx.AttributeProto]) -> onnx.AttributeProto:
    if not attribute.HasField("g"):
        return attribute
    result = onnx.AttributeProto()
    result.CopyFrom(attribute)
    del result.g.node[:]
    result.g.node.extend(bind_attributes(node, bound) for node in attribute.g.node)
    return result


def attribute_bindings(node: onnx.NodeProto, function: onnx.FunctionProto) -> dict[str, onnx.AttributeProto]:
    """What the function's attribute names mean in a call by ``node``: the node's values, else the defaults."""
    bound = {attribute.name: attribute for attribute in function.attribute_proto}
    bound.update({attribute.name: attribute for attribute in node.attribute})
    return bound
