"""Writes the AOT executor: a C file that lays tensors into the arena and calls the kernels in order.

The file also holds the model's description for the runtime (``runtime/csrc/model.h``), the weights and the manifest.
Symbols are plain ``int64_t`` variables in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import tvm

from lepton_compiler.build.constants_pool import PAGE_BYTES, ConstantsPool
from lepton_compiler.build.dim_expressions import C_HELPERS, Size, to_c, to_text
from lepton_compiler.build.execution_plan import (
    ArenaPlace,
    ConstantPlace,
    DimCheck,
    ExecutionPlan,
    InputPlace,
    KernelCall,
    OutputPlace,
    Tensor,
    size_bytes,
)
from lepton_compiler.build.plan_memory import SlotLayout, StaticLayout
from lepton_compiler.core.manifest import MANIFEST_SECTION, Manifest, TensorEntry

MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "weights.bin"

_PREAMBLE = """\
/* Written by the Lepton Compiler: runs one model's kernels in order. */
#include "lepton.h"
#include "model.h"

#include <string.h>

#define TENSOR(pointer, rank, code, bits, dims) \\
  {(void *)(pointer), {1, 0}, (rank), {(code), (bits), 1}, (int64_t *)(dims), NULL, 0}
#define PASS(tensor) {LEPTON_ARGUMENT_TENSOR, 0, {.v_ptr = &(tensor)}}
#define PASS_INT(value) {LEPTON_ARGUMENT_INT, 0, {.v_int64 = (value)}}
#define UNUSED __attribute__((unused))
"""


@dataclass(frozen=True)
class ExecutorSource:
    """What the C text is written from.

    Attributes:
        plan: The calls.
        layout: Where allocations lie in the arena.
        constants: Where constants lie in the weights.
        manifest: What the artifact says of itself.
        thread_workspace_bytes: Scratch that one thread's kernels allocate at once, at the most.
        external_weights: Name of the weights file beside the library; None to embed them.
    """

    plan: ExecutionPlan
    layout: StaticLayout | SlotLayout
    constants: ConstantsPool
    manifest: Manifest
    thread_workspace_bytes: int
    external_weights: str | None = None

    @cached_property
    def symbol_names(self) -> dict[tvm.tirx.Var, str]:
        """C name of each symbol; the model's own name may be no C identifier."""
        return {symbol: f"symbol_{index}" for index, symbol in enumerate(self.plan.symbols)}

    def emit(self) -> str:
        """The C file."""
        return "\n".join(
            [
                _PREAMBLE,
                C_HELPERS.replace("static inline", "UNUSED static inline"),
                *self._blobs(),
                *self._shape_tables(),
                *self._kernel_declarations(),
                self._arena_function(),
                self._output_shapes_function(),
                self._run_function(),
                *self._descriptions(),
            ]
        )

    # The sections of the file, in order.

    def _blobs(self) -> Iterable[str]:
        yield f"""\
__attribute__((section("{MANIFEST_SECTION}"), used, aligned(64))) static const uint8_t manifest[] = {{
#embed "{MANIFEST_FILE}"
}};
"""
        if self.external_weights is None:
            yield f"""\
__attribute__((aligned({PAGE_BYTES}))) static const uint8_t embedded_weights[] = {{
#embed "{WEIGHTS_FILE}"
}};
"""

    @cached_property
    def _static_shapes(self) -> dict[tuple[int, ...], str]:
        shapes = {tensor.shape: None for call in self.plan.calls for tensor in call.tensors if _is_static(tensor.shape)}
        return {shape: f"dims_{index}" for index, shape in enumerate(shapes)}  # type: ignore[misc]

    def _shape_tables(self) -> Iterable[str]:
        for shape, name in self._static_shapes.items():
            yield f"static const int64_t {name}[] = {{{', '.join(map(str, shape)) or '0'}}};"

    def _kernel_declarations(self) -> Iterable[str]:
        for kernel in dict.fromkeys(call.kernel for call in self.plan.calls):
            yield f"extern int32_t {_c_symbol(kernel)}(void *, TVMFFIAny *, int32_t, TVMFFIAny *);"

    def _symbol_definitions(self, source: str) -> str:
        return "".join(
            f"  UNUSED const int64_t {name} = {source}[{index}];\n"
            for index, name in enumerate(self.symbol_names.values())
        )

    def _arena_function(self) -> str:
        if isinstance(self.layout, StaticLayout):
            return f"""
static int64_t arena_bytes(const int64_t *symbols) {{
  (void)symbols;
{self._symbol_definitions("symbols")}{self._dimension_checks()}  return INT64_C({self.layout.arena_bytes});
}}
"""
        lines = []
        for number, slot in enumerate(self.layout.slots):
            size = "INT64_C(0)"
            for tenant in dict.fromkeys(to_c(bytes_, self.symbol_names) for bytes_ in slot):
                size = f"lepton_size_max({size}, {tenant})"
            lines.append(f"  offsets[{number}] = end;\n  end = lepton_size_add(end, lepton_size_align({size}));\n")
        return f"""
#define SLOTS {len(self.layout.slots)}
static int64_t lay_out(const int64_t *symbols, int64_t *offsets) {{
{self._symbol_definitions("symbols")}  int64_t end = 0;
{"".join(lines)}  return end;
}}

static int64_t arena_bytes(const int64_t *symbols) {{
{self._symbol_definitions("symbols")}{self._dimension_checks()}  int64_t offsets[SLOTS];
  return lay_out(symbols, offsets);
}}
"""

    def _dimension_checks(self) -> str:
        """Leaves ``arena_bytes`` where a tensor would have a negative dimension: the inputs are too small."""
        computed = dict.fromkeys(
            to_c(dim, self.symbol_names)
            for call in self.plan.calls
            for tensor in call.tensors
            for dim in tensor.shape
            # The runtime sees to it that symbols themselves are positive.
            if not isinstance(dim, int | tvm.tirx.Var)
        )
        return "".join(f"  if ({dim} < 0) return -1;\n" for dim in computed)

    def _output_shapes_function(self) -> str:
        dims = [dim for output in self.plan.outputs for dim in output.shape]
        lines = "".join(f"  dims[{i}] = {to_c(dim, self.symbol_names)};\n" for i, dim in enumerate(dims))
        return f"""
static void output_shapes(const int64_t *symbols, int64_t *dims) {{
  (void)symbols;
  (void)dims;
{self._symbol_definitions("symbols")}{lines}}}
"""

    def _run_function(self) -> str:
        calls = "".join(self._call(index, call) for index, call in enumerate(self.plan.calls))
        copies = "".join(
            f"  memcpy(frame->outputs[{copy.output}], {self._address(copy.source)}, "
            f"(size_t){to_c(size_bytes(copy.source.shape, copy.source.dtype), self.symbol_names)});\n"
            for copy in self.plan.copies
        )
        checks = "".join(
            f"  if (lepton_check_size(session, {_c_string(check.node)}, {_compared(check)}, "
            f"{to_c(check.size, self.symbol_names)}, {to_c(check.expected, self.symbol_names)}) != 0) return -1;\n"
            for check in self.plan.checks
        )
        layout = ""
        if isinstance(self.layout, SlotLayout):
            layout = "  int64_t offsets[SLOTS];\n  lay_out(frame->symbols, offsets);\n"
        return f"""
static int32_t run(lepton_session *session, const lepton_frame *frame) {{
  UNUSED uint8_t *const arena = frame->arena;
  UNUSED const uint8_t *const weights = frame->weights;
  (void)session;
{self._symbol_definitions("frame->symbols")}{checks}{layout}{calls}{copies}  return 0;
}}
"""

    def _call(self, index: int, call: KernelCall) -> str:
        dims, tensors, passed = [], [], []
        for argument in call.arguments:
            if not isinstance(argument, Tensor):
                passed.append(f"PASS_INT({to_c(argument, self.symbol_names)})")
                continue
            passed.append(f"PASS(tensors[{len(tensors)}])")
            if _is_static(argument.shape):
                name = self._static_shapes[argument.shape]  # type: ignore[index]
            else:
                name = f"dims{len(tensors)}"
                values = ", ".join(to_c(dim, self.symbol_names) for dim in argument.shape)
                dims.append(f"    const int64_t {name}[] = {{{values}}};\n")
            # TVM numbers types as DLPack does.
            dtype = tvm.DataType(argument.dtype)
            rank = len(argument.shape)
            tensors.append(f"TENSOR({self._address(argument)}, {rank}, {dtype.type_code}, {dtype.bits}, {name})")
        rows = ",\n      ".join(tensors)
        return (
            f"  {{\n{''.join(dims)}"
            f"    DLTensor tensors[] = {{\n      {rows}}};\n"
            f"    TVMFFIAny arguments[] = {{{', '.join(passed)}}};\n"
            f"    if (lepton_call_kernel(session, {index}, {_c_symbol(call.kernel)}, arguments, {len(passed)}) != 0)\n"
            f"      return -1;\n  }}\n"
        )

    def _address(self, tensor: Tensor) -> str:
        place = tensor.place
        if isinstance(place, InputPlace):
            return f"frame->inputs[{place.index}]"
        if isinstance(place, OutputPlace):
            return f"frame->outputs[{place.index}]"
        if isinstance(place, ConstantPlace):
            return f"weights + {self.constants.offsets[place.index]}"
        assert isinstance(place, ArenaPlace)
        if isinstance(self.layout, StaticLayout):
            return f"arena + {self.layout.offsets[place.index]}"
        return f"arena + offsets[{self.layout.slot_of[place.index]}]"

    def _descriptions(self) -> Iterable[str]:
        manifest = self.manifest
        yield from self._tensor_table("input", manifest.inputs)
        yield from self._tensor_table("output", manifest.outputs)
        yield _string_table("symbol_names", manifest.symbols)
        yield _string_table("cpu_features", (*manifest.target.cpu_features, None))
        rows = "".join(f"  {{{_c_string(call.kernel)}, {_c_string(call.nodes)}}},\n" for call in self.plan.calls)
        yield f"static const lepton_kernel_description kernels[] = {{\n{rows or '  {NULL, NULL}'}}};"
        embedded = self.external_weights is None
        yield f"""
const lepton_model lepton_generated_model = {{
  .runtime_abi = LEPTON_RUNTIME_ABI,
  .model_name = {_c_string(manifest.model.name)},
  .manifest = manifest,
  .manifest_bytes = sizeof manifest,
  .cpu_features = cpu_features,
  .input_count = {len(manifest.inputs)},
  .output_count = {len(manifest.outputs)},
  .symbol_count = {len(manifest.symbols)},
  .kernel_count = {len(self.plan.calls)},
  .inputs = input_table,
  .outputs = output_table,
  .symbols = symbol_names,
  .kernels = kernels,
  .weights = {"embedded_weights" if embedded else "NULL"},
  .weights_file = {"NULL" if embedded else _c_string(self.external_weights or "")},
  .weights_bytes = UINT64_C({self.constants.size_bytes}),
  .weights_sha256 = {{{", ".join(map(str, bytes.fromhex(self.constants.sha256)))}}},
  .thread_workspace_bytes = UINT64_C({self.thread_workspace_bytes}),
  .is_static = {int(not self.plan.symbols)},
  .arena_bytes = arena_bytes,
  .output_shapes = output_shapes,
  .run = run,
}};
"""

    def _tensor_table(self, kind: str, entries: Sequence[TensorEntry]) -> Iterable[str]:
        symbols = {name: index for index, name in enumerate(self.manifest.symbols)}
        rows = []
        for index, entry in enumerate(entries):
            dims = ", ".join(
                f"{{{dim}, -1}}"
                if isinstance(dim, int)
                else f"{{-1, {symbols.get(dim, -1) if kind == 'input' else -1}}}"
                for dim in entry.shape
            )
            texts = ", ".join(_c_string(str(dim)) for dim in entry.shape)
            yield f"static const lepton_dim {kind}_{index}_dims[] = {{{dims or '{0, -1}'}}};"
            yield f"static const char *const {kind}_{index}_text[] = {{{texts or 'NULL'}}};"
            rows.append(
                f"  {{{_c_string(entry.name)}, LEPTON_{entry.dtype.upper()}, {len(entry.shape)}, "
                f"{kind}_{index}_dims, {kind}_{index}_text}},\n"
            )
        body = "".join(rows) or "  {NULL, 0, 0, NULL, NULL}"
        yield f"static const lepton_tensor_description {kind}_table[] = {{\n{body}}};"


def _compared(check: DimCheck) -> str:
    """What is compared, and with what, as two C strings; the second is empty where its number says everything."""
    if check.axis is not None:
        return f'"dimension {check.axis}", ""'
    needed = "" if isinstance(check.expected, int) else f"{to_text(check.expected)} = "
    return f"{_c_string(f'size {to_text(check.size)}')}, {_c_string(needed)}"


def _is_static(shape: Sequence[Size]) -> bool:
    return all(isinstance(dim, int) for dim in shape)


def _c_symbol(kernel: str) -> str:
    """The name that TVM's code generator gives to a kernel's packed entry."""
    return f"__tvm_ffi_{kernel}"


def _string_table(name: str, strings: Sequence[str | None]) -> str:
    items = ", ".join("NULL" if text is None else _c_string(text) for text in strings)
    return f"static const char *const {name}[] = {{{items or 'NULL'}}};"


def _c_string(text: str) -> str:
    """A C string literal of the UTF-8 bytes; octal escapes end after three digits, hexadecimal ones don't."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'
