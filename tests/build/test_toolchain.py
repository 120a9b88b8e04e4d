import errno
import os
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from lepton_compiler.build import toolchain
from lepton_compiler.core.errors import InternalError, OutputError, UserError
from lepton_compiler.targets.registry import TARGETS
from lepton_compiler.targets.spec import Architecture

TRIPLE, CPU = "x86_64-linux-gnu.2.17", "x86_64_v2"
ELF_MACHINES = {Architecture.X86_64: 62, Architecture.AARCH64: 183, Architecture.ARMV7: 40}
TINY = {"one.c": b'#include "two.h"\nint one(void) { return TWO - 1; }\n', "two.h": b"#define TWO 2\n"}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; zig keeps its own, which takes long to fill."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(toolchain.cache_folder() / "zig"))
    monkeypatch.setenv("LEPTON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the C files that are compiled from here on."""
    names: list[str] = []
    compile_c = toolchain.compile_c

    def recorded(source: str, *arguments: object) -> None:
        names.append(source)
        compile_c(source, *arguments)

    monkeypatch.setattr(toolchain, "compile_c", recorded)
    return names


def use_sources(monkeypatch: pytest.MonkeyPatch, sources: dict[str, bytes]) -> None:
    monkeypatch.setattr(toolchain, "runtime_sources", lambda: sources)


def test_second_call_compiles_nothing(own_cache: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_sources(monkeypatch, TINY)
    first = toolchain.runtime_objects(TRIPLE, CPU)
    assert [path.name for path in first] == ["one.o"]
    assert compiled == ["one.c"]
    assert toolchain.runtime_objects(TRIPLE, CPU) == first
    assert compiled == ["one.c"]


@pytest.mark.parametrize(
    "change",
    [
        lambda: ({**TINY, "two.h": b"#define TWO 3\n"}, TRIPLE, CPU),
        lambda: (TINY, "aarch64-linux-gnu.2.17", "generic"),
        lambda: (TINY, TRIPLE, "x86_64_v3"),
    ],
)
def test_other_sources_or_target_are_compiled_anew(
    change: Callable[[], tuple[dict[str, bytes], str, str]],
    own_cache: Path,
    compiled: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_sources(monkeypatch, TINY)
    before = toolchain.runtime_objects(TRIPLE, CPU)
    sources, triple, cpu = change()
    use_sources(monkeypatch, sources)
    after = toolchain.runtime_objects(triple, cpu)
    assert compiled == ["one.c", "one.c"]
    assert before[0].read_bytes() != after[0].read_bytes() or cpu != CPU
    assert before[0].parent != after[0].parent


def test_calls_at_once_all_succeed(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_sources(monkeypatch, TINY)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: toolchain.runtime_objects(TRIPLE, CPU), range(4)))
    assert all(result == results[0] for result in results)
    assert results[0][0].read_bytes()[:4] == b"\x7fELF"
    # Nobody's scratch folder is left.
    assert sorted(path.name for path in own_cache.iterdir() if path.name != "zig") == [results[0][0].parent.name]


def test_failing_compilation_says_what_the_compiler_said_and_is_not_cached(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_sources(monkeypatch, {"broken.c": b"int f(void) { return missing_name; }\n"})
    for _ in range(2):
        with pytest.raises(InternalError, match=r"zig cc failed with exit code 1: .*missing_name"):
            toolchain.runtime_objects(TRIPLE, CPU)
    assert [path.name for path in own_cache.iterdir() if path.name != "zig"] == []


@pytest.mark.parametrize(
    "target",
    {(spec.zig_triple, spec.zig_cpu): spec for spec in TARGETS.values()}.values(),
    ids=lambda spec: f"{spec.zig_triple}-{spec.zig_cpu}",
)
def test_runtime_compiles_for_every_triple(target) -> None:
    objects = toolchain.runtime_objects(target.zig_triple, target.zig_cpu)
    sources = [name for name in toolchain.runtime_sources() if name.endswith(".c")]
    assert len(objects) == len(sources) > 5
    for path in objects:
        header = path.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert header[4] * 32 == target.architecture.pointer_bits
        assert struct.unpack_from("<H", header, 18) == (ELF_MACHINES[target.architecture],)


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), ("", "Permission denied")])
def test_compiler_that_can_not_be_started_is_named_with_what_installs_it(
    content: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zig = tmp_path / "zig"
    if content is not None:
        zig.write_text(content)
    monkeypatch.setattr(toolchain, "_zig", lambda: str(zig))
    with pytest.raises(UserError) as error:
        toolchain.run_zig(["--version"], tmp_path)
    assert f"the C compiler {zig} can't be started: {reason}" in str(error.value)
    assert f"pip install --force-reinstall ziglang=={toolchain.zig_version()}" in str(error.value)


def test_folder_that_is_missing_is_not_taken_for_a_missing_compiler(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        toolchain.run_zig(["--version"], tmp_path / "gone")


def test_compiler_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(toolchain, "version", missing)
    with pytest.raises(UserError, match="pip install ziglang"):
        toolchain.zig_version()
    toolchain._zig.cache_clear()
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(UserError, match="pip install ziglang"):
        toolchain._zig()


def test_cache_on_a_full_disk_is_an_output_error(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(toolchain, "compile_c", full)
    with pytest.raises(OutputError, match=r"cache can't be written: No space left.*LEPTON_CACHE"):
        toolchain.runtime_objects(TRIPLE, CPU)


def test_compiler_without_room_for_its_cache_is_an_output_error(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zig = tmp_path / "zig"
    zig.write_text("#!/bin/sh\necho 'error: unable to create compilation: No space left on device' >&2\nexit 1\n")
    zig.chmod(0o755)
    monkeypatch.setattr(toolchain, "_zig", lambda: str(zig))
    with pytest.raises(OutputError, match=r"the cache folder .*cache.* is full; LEPTON_CACHE and TMPDIR"):
        toolchain.run_zig(["-c", "one.c"], tmp_path)


def test_objects_name_no_path_of_this_machine() -> None:
    for path in toolchain.runtime_objects(TRIPLE, CPU):
        assert str(path.parent.parent).encode() not in path.read_bytes()


def test_headers_are_written_and_sources_are_not(tmp_path: Path) -> None:
    toolchain.write_runtime_headers(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".h"}
    assert {"lepton.h", "model.h"} <= {path.name for path in tmp_path.iterdir()}


def test_cache_folder_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEPTON_CACHE", str(tmp_path / "a"))
    assert toolchain.cache_folder() == tmp_path / "a"
    monkeypatch.delenv("LEPTON_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert toolchain.cache_folder() == tmp_path / "b" / "lepton"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert toolchain.cache_folder() == tmp_path / "c" / ".cache" / "lepton"


def test_relative_cache_folder_is_not_taken_relative_to_the_compilers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEPTON_CACHE", "cache")
    assert toolchain.cache_folder() == tmp_path / "cache"


def test_cache_folder_that_can_not_be_made_is_the_users_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEPTON_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"can't be created.*LEPTON_CACHE"):
        toolchain.cache_folder()


def test_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LEPTON_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(OutputError, match=r"home directory.*LEPTON_CACHE"):
        toolchain.cache_folder()


def test_cache_folder_that_is_not_writable_is_an_output_error(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="not writable; LEPTON_CACHE"):
        toolchain.cache_folder()


def test_what_is_linked_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    """A library is as large as its weights: kept for each build, they would fill the user's disk."""
    kept = toolchain.cache_folder() / "zig" / "o"
    before = None
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "own.c").write_text(f'const char own_words[] = "{folder} {os.getpid()}";\n')
        toolchain.compile_c("own.c", "own.o", folder, TRIPLE, CPU)
        toolchain.run_zig(["-target", TRIPLE, "-shared", "-o", "own.so", "own.o"], folder)
        assert (folder / "own.so").is_file()
        after = {path.name for path in kept.iterdir()}
        # The first link may make the C library's parts.
        assert before is None or after == before
        before = after
