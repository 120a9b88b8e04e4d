"""Builds the artifact of a scheduled program: objects first, then one shared library, sealed and moved into place."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lepton_compiler.build.constants_pool import write_constants
from lepton_compiler.build.describe import describe
from lepton_compiler.build.emit_executor import MANIFEST_FILE, WEIGHTS_FILE, ExecutorSource
from lepton_compiler.build.execution_plan import plan_execution
from lepton_compiler.build.in_place_results import overwrite_verdicts
from lepton_compiler.build.kernel_work import KernelWork
from lepton_compiler.build.lower_kernels import collect_kernels, compile_kernels
from lepton_compiler.build.memory_limits import check_memory
from lepton_compiler.build.plan_in_place import overwriting_kernels, plan_in_place
from lepton_compiler.build.plan_memory import plan_memory
from lepton_compiler.build.toolchain import (
    EXPORTS,
    LINK_FLAGS,
    compile_c,
    run_zig,
    runtime_objects,
    write_runtime_headers,
)
from lepton_compiler.core.abi import weights_trailer
from lepton_compiler.core.errors import OutputError
from lepton_compiler.core.manifest import Manifest
from lepton_compiler.core.program import Program
from lepton_compiler.runtime.artifact_file import seal
from lepton_compiler.targets.spec import TargetSpec

KERNELS_OBJECT = "kernels.o"
EXECUTOR_OBJECT = "executor.o"
_EXECUTOR_SOURCE = "executor.c"
_LIBRARY = "library.so"
_EXPORTS_FILE = "exports.map"
_EXECUTABLE, _READABLE = 0o777, 0o666


@dataclass(frozen=True)
class ModelObjects:
    """A folder with ``kernels.o`` and ``executor.o``, and the weights file where they are not embedded."""

    folder: Path
    manifest: Manifest
    external_weights: Path | None


def weights_file_name(output: Path) -> str:
    """Name of the weights file beside the library ``output``."""
    return output.name + ".weights"


def generate_objects(
    program: Program,
    folder: Path,
    output_name: str,
    embed_weights_bytes: int,
    work: Mapping[str, KernelWork] = MappingProxyType({}),
    in_place: bool = True,
) -> ModelObjects:
    """Compiles kernels and executor of a SCHEDULED program into ``folder``.

    Raises:
        InputError: No process on the target could hold what the program needs.
    """
    kernels = collect_kernels(program.module)
    plan = plan_execution(program.module, kernels.workspaces)
    if in_place:
        verdicts = {name: overwrite_verdicts(function) for name, function in kernels.functions.items()}
        plan = plan_in_place(plan, verdicts)
    workspace_bytes = compile_kernels(
        kernels.overwriting(overwriting_kernels(plan)), program.target, folder / KERNELS_OBJECT
    )
    layout = plan_memory(plan.allocations, plan.symbols)
    weights = folder / WEIGHTS_FILE
    constants = write_constants(plan.constants, weights)
    check_memory(plan, layout, constants.size_bytes, program.target)
    external = output_name if constants.size_bytes > embed_weights_bytes else None
    if external is not None:
        with weights.open("ab") as file:
            file.write(weights_trailer(constants.sha256))
    manifest = describe(program, plan, layout, constants, workspace_bytes, external, work)
    (folder / MANIFEST_FILE).write_bytes(manifest.to_json())
    source = ExecutorSource(plan, layout, constants, manifest, workspace_bytes, external).emit()
    (folder / _EXECUTOR_SOURCE).write_text(source, encoding="utf-8")
    write_runtime_headers(folder)
    target = program.target
    # The executor only calls kernels; optimising its straight line of calls harder would just take longer.
    compile_c(_EXECUTOR_SOURCE, EXECUTOR_OBJECT, folder, target.zig_triple, target.zig_cpu, "-O1")
    return ModelObjects(folder, manifest, weights if external else None)


def link_library(objects: ModelObjects, target: TargetSpec) -> Path:
    """Links the shared library inside the objects' folder and seals it with its digest."""
    folder = objects.folder
    (folder / _EXPORTS_FILE).write_text(EXPORTS, encoding="utf-8")
    runtime = []
    for number, path in enumerate(runtime_objects(target.zig_triple, target.zig_cpu)):
        # Copied, so that the linker is told no path of this machine.
        name = f"runtime_{number}.o"
        shutil.copyfile(path, folder / name)
        runtime.append(name)
    run_zig(
        [
            *("-target", target.zig_triple, f"-mcpu={target.zig_cpu}"),
            *LINK_FLAGS,
            f"-Wl,--version-script={_EXPORTS_FILE}",
            *("-o", _LIBRARY, EXECUTOR_OBJECT, KERNELS_OBJECT, *runtime),
            *("-lm", "-lpthread", "-ldl"),
        ],
        folder,
    )
    seal(folder / _LIBRARY)
    return folder / _LIBRARY


def build_artifact(
    program: Program,
    output: Path,
    embed_weights_bytes: int,
    on_step: Callable[[str], None] = lambda step: None,
    work: Mapping[str, KernelWork] = MappingProxyType({}),
    in_place: bool = True,
) -> Manifest:
    """Builds ``output``, and its weights file where the weights are large.

    Both are made in a scratch folder and appear by rename when complete; after a failure nothing is left.

    Args:
        program: The SCHEDULED program.
        output: Where the library goes.
        embed_weights_bytes: Larger weights lie in a file beside it.
        on_step: Told the name of each step as it begins.
        work: For the manifest, how much each kernel has to do; kernels that are not named are described without.
        in_place: Whether kernels may write results over operands that are read for the last time.

    Raises:
        OutputError: The output can't be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="lepton-") as scratch:
            on_step("generate")
            weights = weights_file_name(output)
            objects = generate_objects(program, Path(scratch), weights, embed_weights_bytes, work, in_place)
            on_step("link")
            made = [(link_library(objects, program.target), output, _EXECUTABLE)]
            if objects.external_weights is not None:
                made.insert(0, (objects.external_weights, output.with_name(weights_file_name(output)), _READABLE))
            _move_into_place(made)
    except OSError as error:
        raise OutputError(f"building in the temporary folder failed: {error}; TMPDIR names another one") from error
    return objects.manifest


def check_output(output: Path, force: bool) -> None:
    """Refuses an output that can't be written, before any work is done.

    Raises:
        OutputError: The folder is missing or not writable, or the library or its weights file exists and ``force``
            is not set.
    """
    folder = output.parent
    if output.is_dir():
        raise OutputError(f"{output} is a folder; name a file in it, such as {output / 'model.so'}")
    if not _is_utf8(output.name):
        raise OutputError(f"the name {output.name!r} is not valid UTF-8, which a library's manifest needs")
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {folder} is not writable")
    for path in (output, output.with_name(weights_file_name(output))):
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is no regular file, which a library can't replace; name another one")
        if path.exists() and not force:
            raise OutputError(f"{path} exists; --force replaces it")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _move_into_place(files: Sequence[tuple[Path, Path, int]]) -> None:
    """Copies each source beside its destination and flushes it to disk; once all are complete, renames them.

    Args:
        files: Source, destination and permissions, of which the user's mask takes its part.
    """
    parts: list[tuple[Path, Path]] = []
    try:
        for source, destination, mode in files:
            parts.append((destination.with_name(f".lepton-{secrets.token_hex(8)}.part"), destination))
            _copy(source, parts[-1][0], mode)
        _rename_all(parts)
    except OSError as error:
        full = " (the disk is full)" if error.errno == errno.ENOSPC else ""
        raise OutputError(f"{error.filename2 or parts[-1][1]} can't be written: {error.strerror}{full}") from error
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)


def _rename_all(parts: Sequence[tuple[Path, Path]]) -> None:
    """Renames each part to its destination; where one fails, puts back what the others replaced."""
    previous_files: list[Path] = []
    with ExitStack() as undo:
        for part, destination in parts[:-1]:
            replaces = destination.is_symlink() or destination.is_file()
            if replaces:
                previous = part.with_suffix(".previous")
                destination.replace(previous)
                undo.callback(previous.replace, destination)
                previous_files.append(previous)
            part.replace(destination)
            if not replaces:
                undo.callback(destination.unlink)
        last, destination = parts[-1]
        last.replace(destination)
        undo.pop_all()
    for previous in previous_files:
        previous.unlink()


def _copy(source: Path, part: Path, mode: int) -> None:
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as out, source.open("rb") as data:
        shutil.copyfileobj(data, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
