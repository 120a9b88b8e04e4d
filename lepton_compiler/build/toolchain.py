"""The C compiler and linker: ``zig cc`` from the PyPI package ``ziglang``, for every triple, with nothing installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from lepton_compiler.core.errors import InternalError, OutputError, UserError

# Undefined-behaviour traps that zig turns on by default would need its runtime; unwind tables serve C++ alone.
C_FLAGS = ("-std=c23", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=undefined", "-fno-unwind-tables", "-g0")

EXPORTS = "{ global: lepton_*; local: *; };\n"
"""Linker version script: what a program sees of an artifact."""

LINK_FLAGS = (
    "-shared",
    "-s",
    "-Wl,--build-id=none",
    "-Wl,--as-needed",
    "-Wl,-Bsymbolic",
    "-Wl,--no-undefined",
    "-Wl,-z,noexecstack",
    "-Wl,-z,relro",
    "-Wl,-z,now",
)


_PRINTED_CHARACTERS = 2000
_FULL_DISK_BYTES = 1 << 20
_FULL_DISK_WORDS = ("No space left on device", "NoSpaceLeft", "Disk quota exceeded", "DiskQuota")


def zig_version() -> str:
    """Version of the toolchain.

    Raises:
        UserError: It is not installed.
    """
    try:
        return version("ziglang")
    except PackageNotFoundError as error:
        raise _not_installed() from error


@cache
def _zig() -> str:
    try:
        import ziglang
    except ImportError as error:
        raise _not_installed() from error
    return str(Path(ziglang.__file__).parent / "zig")


def _not_installed() -> UserError:
    return UserError('the C compiler, package "ziglang", is not installed; install it with: pip install ziglang')


def run_zig(arguments: Sequence[str], folder: Path, tool: str = "cc") -> None:
    """Runs ``zig cc``, or another of its tools, in ``folder``, so that no path of this machine reaches its output.

    Raises:
        InternalError: The compiler or linker failed; the message holds what it printed.
        OutputError: The disk of ``folder`` or of the cache is full.
        UserError: The compiler is missing or can't be started.
    """
    environment = dict(os.environ)
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache_folder() / "zig"))
    zig = _zig()
    try:
        # What zig makes for the C library is worth keeping. What it makes of a model is as large as the weights, and
        # never made again.
        with tempfile.TemporaryDirectory(prefix="lepton-zig-") as local_cache:
            environment["ZIG_LOCAL_CACHE_DIR"] = local_cache
            done = subprocess.run([zig, tool, *arguments], cwd=folder, env=environment, capture_output=True)
    except OSError as error:
        if error.filename != zig:
            raise
        raise UserError(
            f"the C compiler {zig} can't be started: {error.strerror}; "
            f"install it again with: pip install --force-reinstall ziglang=={zig_version()}"
        ) from error
    if done.returncode != 0:
        # The linker writes through a mapping: on a full disk a signal ends it, and it prints nothing. What it writes is
        # no larger than what it reads.
        wanted = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        if shutil.disk_usage(folder).free < max(wanted, _FULL_DISK_BYTES):
            raise OutputError("building in the temporary folder failed: its disk is full; TMPDIR names another one")
        printed = done.stderr.decode(errors="replace").strip()
        if any(words in printed for words in _FULL_DISK_WORDS):
            raise OutputError(
                f"the disk of the cache folder {cache_folder()} or of the temporary folder {folder.parent} is full; "
                "LEPTON_CACHE and TMPDIR name other ones"
            )
        raise InternalError(f"zig {tool} failed with exit code {done.returncode}: {printed[-_PRINTED_CHARACTERS:]}")


def cache_folder() -> Path:
    """Folder for compiled parts of the runtime: ``$LEPTON_CACHE``, else ``lepton`` in the user's cache folder.

    Raises:
        OutputError: It can't be created or written.
    """
    try:
        path = _cache_path()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        # RuntimeError: the user has no home.
        raise OutputError(f"the cache folder can't be created: {error}; LEPTON_CACHE names another one") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"the cache folder {path} is not writable; LEPTON_CACHE names another one")
    return path


def _cache_path() -> Path:
    chosen = os.environ.get("LEPTON_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lepton"


def compile_c(source: str, output: str, folder: Path, zig_triple: str, zig_cpu: str, *extra: str) -> None:
    """Compiles ``source`` to the object ``output``, both named relative to ``folder``."""
    flags = ("-target", zig_triple, f"-mcpu={zig_cpu}", *C_FLAGS, *extra)
    run_zig([*flags, "-c", source, "-o", output], folder)


def runtime_objects(zig_triple: str, zig_cpu: str) -> list[Path]:
    """Object files of the C runtime for a triple: compiled on first use, then taken from the cache."""
    return cached_objects("runtime", runtime_sources(), zig_triple, zig_cpu)


def cached_objects(name: str, sources: dict[str, bytes], zig_triple: str, zig_cpu: str) -> list[Path]:
    """Object files of C sources, compiled once.

    Args:
        name: What they are together, for the cache's folder.
        sources: C files and the headers that they include, by name.
        zig_triple: Triple to compile for.
        zig_cpu: Processor to compile for.

    Raises:
        OutputError: The cache folder can't be written.
    """
    folder = _cached(name, sources, zig_triple, zig_cpu, (), _remove_sources)
    return sorted(folder.glob("*.o"))


def cached_program(
    name: str, sources: dict[str, bytes], zig_triple: str, zig_cpu: str, flags: Sequence[str], link_flags: Sequence[str]
) -> Path:
    """A program of C sources, compiled and linked once.

    Args:
        name: The program's file name, and what it is in the cache's folder.
        sources: C files and the headers that they include, by name.
        zig_triple: Triple to compile for.
        zig_cpu: Processor to compile for.
        flags: For the compiler, beside those of every C source.
        link_flags: For the linker; libraries come last.

    Raises:
        OutputError: The cache folder can't be written.
    """

    def link(build: Path) -> None:
        objects = sorted(path.name for path in build.glob("*.o"))
        run_zig(["-target", zig_triple, f"-mcpu={zig_cpu}", "-o", name, *objects, *link_flags], build)

    return _cached(name, sources, zig_triple, zig_cpu, (*flags, "link", *link_flags), link, flags) / name


def _cached(
    name: str,
    sources: dict[str, bytes],
    zig_triple: str,
    zig_cpu: str,
    variant: Sequence[str],
    finish: Callable[[Path], None],
    flags: Sequence[str] = (),
) -> Path:
    """The cache's folder of compiled sources; ``variant`` tells those apart that differ in nothing else."""
    key = hashlib.sha256(repr((zig_version(), C_FLAGS, zig_triple, zig_cpu, *variant)).encode())
    for file_name, content in sources.items():
        key.update(file_name.encode() + b"\0" + content + b"\0")
    folder = cache_folder() / f"{name}-{key.hexdigest()[:24]}"
    if not folder.is_dir():
        try:
            _compile_into_cache(sources, folder, zig_triple, zig_cpu, flags, finish)
        except OSError as error:
            raise OutputError(
                f"the cache folder {folder.parent} can't be written: {error.strerror}; LEPTON_CACHE names another one"
            ) from error
    return folder


def runtime_sources() -> dict[str, bytes]:
    """The runtime's C files and headers by name."""
    return c_sources("lepton_compiler.runtime")


def c_sources(package: str) -> dict[str, bytes]:
    """The C files and headers in a package's folder ``csrc`` by name."""
    csrc = files(package) / "csrc"
    names = sorted(item.name for item in csrc.iterdir() if item.name.endswith((".c", ".h")))
    return {name: (csrc / name).read_bytes() for name in names}


def write_runtime_headers(folder: Path) -> None:
    """Puts the headers that generated code includes into ``folder``."""
    for name, content in runtime_sources().items():
        if name.endswith(".h"):
            (folder / name).write_bytes(content)


def _compile_into_cache(
    sources: dict[str, bytes],
    folder: Path,
    zig_triple: str,
    zig_cpu: str,
    flags: Sequence[str],
    finish: Callable[[Path], None],
) -> None:
    # Built beside its place and renamed: two compilations at once both succeed, and nobody sees half of it.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="objects-") as scratch:
        build = Path(scratch) / "objects"
        build.mkdir()
        for name, content in sources.items():
            (build / name).write_bytes(content)
        for name in sources:
            if name.endswith(".c"):
                compile_c(name, name[:-2] + ".o", build, zig_triple, zig_cpu, "-O2", *flags)
        finish(build)
        try:
            build.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def _remove_sources(build: Path) -> None:
    for path in build.iterdir():
        if path.suffix != ".o":
            path.unlink()
