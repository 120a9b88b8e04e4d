import platform
import struct
from pathlib import Path

import pytest

from lepton_compiler.targets import registry
from lepton_compiler.targets.registry import (
    TARGETS,
    UnknownTargetError,
    get_target,
    host_architecture,
    host_cpu_features,
    missing_features,
    native_target,
    runs_here,
)
from lepton_compiler.targets.spec import Architecture, TargetSpec

V2, V3, V4 = (TARGETS[f"x86-64-v{level}"] for level in (2, 3, 4))


def machine(monkeypatch: pytest.MonkeyPatch, name: str, features: tuple[str, ...]) -> None:
    """Makes this machine another one."""
    monkeypatch.setattr(platform, "machine", lambda: name)
    monkeypatch.setattr(registry, "host_cpu_features", lambda: frozenset(features))


def test_targets_are_found_by_their_own_name() -> None:
    for name, spec in TARGETS.items():
        assert spec.name == name
        assert get_target(name) is spec


def test_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTargetError, match=r'unknown target "x87"; known: native, .*x86-64-v3.*armv8-a'):
        get_target("x87")


@pytest.mark.parametrize("spec", TARGETS.values(), ids=TARGETS)
def test_every_record_is_consistent(spec: TargetSpec) -> None:
    assert spec.name == spec.name.lower()
    assert spec.description
    assert spec.source
    assert spec.cpu_features
    assert len(set(spec.cpu_features)) == len(spec.cpu_features)
    assert spec.vector_bits % 128 == 0
    assert spec.vector_registers in (16, 32)
    assert 0 < spec.l1_data_bytes < spec.l2_bytes
    assert spec.fma_per_cycle >= 1
    assert all(feature[0] in "+-" for feature in spec.llvm_features)
    # A library that asks for a glibc says for which one.
    assert spec.zig_triple.rsplit(".", 2)[0].endswith(("gnu", "gnueabihf"))
    assert spec.llvm_triple.split("-")[0].startswith(spec.zig_triple.split("-")[0])


def test_cortex_a7_asks_for_the_division_that_llvm_uses() -> None:
    """The instruction is optional in ARMv7-A: a Cortex-A9 has NEON and no division."""
    import tvm
    from tvm import te, tirx

    spec = TARGETS["arm-cortex-a7"]
    x, y = (te.placeholder((4,), "int32", name) for name in "xy")
    quotient = te.compute((4,), lambda i: tirx.truncdiv(x[i], y[i]))
    built = tvm.compile(te.create_prim_func([x, y, quotient]), tvm.target.Target(spec.llvm_target()))
    assert "sdiv" in built.mod.inspect_source("asm")
    assert {"idiva", "idivt"} <= set(spec.cpu_features)


@pytest.mark.parametrize("spec", TARGETS.values(), ids=TARGETS)
def test_llvm_knows_every_record(spec: TargetSpec) -> None:
    import tvm

    target = tvm.target.Target(spec.llvm_target())
    assert str(target.attrs["mcpu"]) == spec.llvm_cpu
    assert str(target.attrs["mtriple"]) == spec.llvm_triple


@pytest.mark.parametrize(("bits", "lanes"), [(8, 32), (16, 16), (32, 8), (64, 4)])
def test_lanes_of_a_vector(bits: int, lanes: int) -> None:
    assert V3.vector_lanes(bits) == lanes


def test_levels_of_x86_contain_each_other() -> None:
    assert set(V2.cpu_features) < set(V3.cpu_features) < set(V4.cpu_features)
    assert V2.vector_bits < V3.vector_bits < V4.vector_bits


@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [
        ("x86_64", V4.cpu_features, "x86-64-v4"),
        ("x86_64", (*V3.cpu_features, "avx512f"), "x86-64-v3"),
        ("x86_64", V2.cpu_features, "x86-64-v2"),
        ("aarch64", ("fp", "asimd", "sve"), "armv8-a"),
        ("armv7l", ("neon", "vfpv4", "vfpv3", "idiva", "idivt"), "arm-cortex-a7"),
    ],
)
def test_native_is_the_most_capable_that_fits(
    name: str, features: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, name, features)
    assert native_target().name == expected
    assert get_target("native").name == expected


@pytest.mark.parametrize(
    ("name", "features"),
    [("x86_64", ("sse2",)), ("riscv64", V4.cpu_features), ("aarch64", ()), ("armv7l", ("neon", "vfpv4"))],
)
def test_machine_without_a_target_is_told_which_there_are(
    name: str, features: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, name, features)
    with pytest.raises(UnknownTargetError, match=f"no target fits this machine .{name}.; name one with --target: x86"):
        native_target()


def test_native_target_of_this_machine_runs_here() -> None:
    assert runs_here(native_target())


def test_target_of_another_architecture_does_not_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "aarch64", V4.cpu_features)
    assert host_architecture() is Architecture.AARCH64
    assert not runs_here(V2)


@pytest.mark.parametrize(
    ("name", "bits", "expected"),
    [
        ("aarch64", 64, Architecture.AARCH64),
        ("aarch64", 32, Architecture.ARMV7),
        ("armv8l", 32, Architecture.ARMV7),
        ("armv8l", 64, Architecture.ARMV7),
        ("armv7l", 32, Architecture.ARMV7),
        ("x86_64", 64, Architecture.X86_64),
        ("x86_64", 32, None),
        ("riscv64", 64, None),
    ],
)
def test_architecture_is_that_of_the_process(
    name: str, bits: int, expected: Architecture | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)
    monkeypatch.setattr(registry, "_pointer_bits", lambda: bits)
    assert host_architecture() is expected


def test_pointer_width_is_that_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(struct, "calcsize", lambda format_: {"P": 4}[format_])
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert host_architecture() is Architecture.ARMV7


@pytest.mark.parametrize(("bits", "neon"), [(32, True), (64, False)])
def test_features_of_armv8_are_named_as_a_32_bit_process_needs_them(
    bits: int, neon: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(registry, "_pointer_bits", lambda: bits)
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd evtstrm\n")
    features = host_cpu_features(tmp_path / "cpuinfo")
    assert features >= {"fp", "asimd", "evtstrm"}
    assert runs_here(TARGETS["arm-cortex-a7"], features) is neon


def test_missing_features_keep_their_order() -> None:
    assert missing_features(("a", "b", "c", "d"), frozenset("bd")) == ("a", "c")
    assert missing_features((), frozenset()) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx\nprocessor\t: 1\nflags\t\t: other\n", {"fpu", "sse2", "avx"}),
        ("processor\t: 0\nFeatures\t: fp asimd evtstrm\n", {"fp", "asimd", "evtstrm"}),
        ("processor\t: 0\nvmx flags\t: vnmi\n", set()),
        ("", set()),
    ],
)
def test_features_are_read_from_the_first_processor(text: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert host_cpu_features(tmp_path / "cpuinfo") == expected


def test_system_without_cpuinfo_has_no_features(tmp_path: Path) -> None:
    assert host_cpu_features(tmp_path / "missing") == frozenset()


@pytest.mark.parametrize("architecture", Architecture)
def test_pointer_width(architecture: Architecture) -> None:
    assert architecture.pointer_bits == (32 if architecture is Architecture.ARMV7 else 64)
