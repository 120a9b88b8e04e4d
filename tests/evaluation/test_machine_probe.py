"""The machine probe: what its microkernels consist of, which ones run, and what is made of their rates."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import lepton_compiler.evaluation
from lepton_compiler.evaluation import machine_probe
from lepton_compiler.evaluation.machine_probe import (
    ArithmeticPeak,
    MachinePeaks,
    MemoryPeak,
    best_peaks,
    measure_peaks,
)
from lepton_compiler.targets.registry import get_target

CSRC = Path(lepton_compiler.evaluation.__file__).with_name("csrc")
ZIG = (sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined")
FLAGS = ("-std=c23", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
TRIPLES = {
    "x86_64": ("x86_64-linux-gnu.2.17", "x86_64_v2"),
    "aarch64": ("aarch64-linux-gnu.2.17", "generic"),
    "armv7l": ("arm-linux-gnueabihf.2.28", "cortex_a7"),
}
STATIC_AARCH64 = ("aarch64-linux-musl", "generic")

# Function, the instruction that multiplies, and how many products it adds.
MULTIPLY_ADDS = {
    "arithmetic_x86.c": {
        "fp32_fma": ("vfmadd231ps", 8),
        "fp32_avx512": ("vfmadd231ps", 16),
        "bf16_avx512": ("vdpbf16ps", 32),
        "int8_ssse3": ("pmaddubsw", 16),
        "int8_avx2": ("vpmaddubsw", 32),
        "int8_avx_vnni": ("vpdpbusd", 32),
        "int8_avx512_vnni": ("vpdpbusd", 64),
    },
    "arithmetic_arm64.c": {
        "fp32_fmla": ("fmla", 4),
        "bf16_bfdot": ("bfdot", 8),
        "int8_smull": ("smull", 8),
        "int8_sdot": ("sdot", 16),
    },
}
ARCHITECTURES = {"arithmetic_x86.c": "x86_64", "arithmetic_arm64.c": "aarch64"}

RUN_ALL = """
#include <stdio.h>
#include "probe.h"
int main(void) {
  for (int i = 0; lepton_probe_arithmetic_at(i) != NULL; i++) {
    const lepton_probe_arithmetic *kernel = lepton_probe_arithmetic_at(i);
    printf("%s|%s|%.0f|%d\\n", kernel->type, kernel->instruction, kernel->operations,
           lepton_probe_operation_rate(i, 0.001, i % 2) > 0);
  }
  return 0;
}
"""


def _zig(architecture: str, *arguments: str | Path) -> None:
    triple, cpu = TRIPLES.get(architecture, STATIC_AARCH64)
    command = [*ZIG, "-target", triple, f"-mcpu={cpu}", *FLAGS, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("architecture", TRIPLES)
@pytest.mark.parametrize("source", sorted(path.name for path in CSRC.glob("*.c")))
def test_compiles_without_a_warning_for_every_family(architecture: str, source: str, tmp_path: Path) -> None:
    _zig(architecture, "-c", CSRC / source, "-o", tmp_path / "object.o")


@pytest.mark.parametrize("source", MULTIPLY_ADDS)
def test_operations_are_those_of_the_loop(source: str, tmp_path: Path) -> None:
    """Counted in the assembly: nothing was moved out of the loop, merged or dropped."""
    # zig adds a -c that -S leaves unused.
    _zig(ARCHITECTURES[source], "-Wno-unused-command-line-argument", "-S", CSRC / source, "-o", tmp_path / "kernels.s")
    instructions = _instructions((tmp_path / "kernels.s").read_text())
    declared = _declared_operations((CSRC / source).read_text())
    for function, (mnemonic, products) in MULTIPLY_ADDS[source].items():
        count = instructions[function][mnemonic]
        assert count >= 8, function
        assert declared[function] == 2 * count * products, function
    if source == "arithmetic_x86.c":
        assert declared["fp32_sse"] == 4 * (instructions["fp32_sse"]["mulps"] + instructions["fp32_sse"]["addps"])
    assert set(declared) - {"fp32_sse"} == set(MULTIPLY_ADDS[source])


def _instructions(assembly: str) -> dict[str, Counter[str]]:
    """How often each mnemonic stands in each function."""
    found: dict[str, Counter[str]] = {}
    function = ""
    for line in assembly.splitlines():
        label = re.match(r"([A-Za-z_]\w*):", line)
        if label:
            function = label[1]
            found[function] = Counter()
        elif line.startswith("\t") and not line.startswith("\t.") and function:
            # "{vex}" stands before an instruction that has two encodings.
            found[function][line.replace("{vex}", "").split()[0]] += 1
    return found


def _declared_operations(source: str) -> dict[str, int]:
    """The products in the table, with the enumeration's names replaced by their numbers."""
    numbers = dict(re.findall(r"(\w*CHAINS\w*) = (\d+)", source))
    table = re.findall(r', (2 \* [^"]+?), (\w+)\}', source)
    return {function: _product([int(numbers.get(f, f)) for f in text.split(" * ")]) for text, function in table}


def _product(factors: list[int]) -> int:
    result = 1
    for factor in factors:
        result *= factor
    return result


def test_every_kernel_of_64_bit_arm_runs(tmp_path: Path) -> None:
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-aarch64-static is not installed")
    main = tmp_path / "main.c"
    main.write_text(RUN_ALL)
    _zig("static", "-static", f"-I{CSRC}", main, *sorted(CSRC.glob("*.c")), "-o", tmp_path / "probe")
    done = subprocess.run([emulator, "-cpu", "max", tmp_path / "probe"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "float32|fmla|160|1",
        "bfloat16|bfdot|320|1",
        "int8|smull, sadalp|320|1",
        "int8|sdot|640|1",
    ]


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_this_machine_is_measured(clock: machine_probe.Clock) -> None:
    peaks = measure_peaks(2, clock)
    assert peaks.threads == 2
    assert {"float32"} <= {peak.type for peak in peaks.arithmetic} <= {"float32", "bfloat16", "int8"}
    assert all(peak.operations_per_second > 0 for peak in peaks.arithmetic)
    assert peaks.memory.bytes_per_second > 0
    # Three arrays a thread.
    assert peaks.cache.array_bytes == 2 * 3 * (64 << 10)
    assert peaks.memory.array_bytes > peaks.cache.array_bytes


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels named are those of x86-64")
@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "amd-zen5"])
def test_only_what_the_target_has_is_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = get_target(name)
    if machine_probe.missing_features(target.cpu_features):
        pytest.skip(f"this processor can't run code for {name}")
    monkeypatch.setattr(machine_probe, "_SECONDS", 0.001)
    peaks = measure_peaks(1, cpu_features=target.cpu_features)
    widths = {"zmm": 512, "ymm": 256, "512 bit": 512, "256 bit": 256}
    names = [*(peak.instruction for peak in peaks.arithmetic), peaks.memory.kernel, peaks.cache.kernel]
    bits = [next((width for word, width in widths.items() if word in text), 128) for text in names]
    assert max(bits) == max(bits[: len(peaks.arithmetic)]) == target.vector_bits
    float32, bfloat16 = peaks.arithmetic_of("float32"), peaks.arithmetic_of("bfloat16")
    assert float32 is not None
    assert (bfloat16 is not None) == target.has_bfloat16_dot


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels named are those of x86-64")
@pytest.mark.parametrize(
    ("features", "instructions"),
    [
        (("sse2",), ["mulps, addps"]),
        (("sse2", "ssse3", "avx2"), ["mulps, addps", "pmaddubsw, pmaddwd, paddd", "vpmaddubsw, vpmaddwd, vpaddd ymm"]),
    ],
)
def test_only_what_the_processor_has_is_run(
    features: tuple[str, ...], instructions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if machine_probe.missing_features(features):
        pytest.skip(f"this processor lacks one of {', '.join(features)}")
    library = machine_probe._load_probe()
    monkeypatch.setattr(machine_probe, "host_cpu_features", lambda: frozenset(features))
    monkeypatch.setattr(machine_probe, "_SECONDS", 0.001)
    assert [peak.instruction for peak in machine_probe._Probe(library, 1).arithmetic()] == instructions


def test_a_thread_that_fails_does_not_leave_the_others_waiting() -> None:
    probe = machine_probe._Probe(machine_probe._load_probe(), 2)
    failing = iter([True, False])

    def prepare() -> object:
        if next(failing):
            raise MemoryError
        return None

    with pytest.raises((MemoryError, machine_probe.threading.BrokenBarrierError)):
        probe._best(lambda given: 1.0, prepare)


PEAKS = MachinePeaks(
    1,
    (
        ArithmeticPeak("float32", "narrow", 1e9),
        ArithmeticPeak("float32", "wide", 4e9),
        ArithmeticPeak("int8", "dot", 16e9),
    ),
    MemoryPeak("read", 100, 2e9),
    MemoryPeak("triad", 10, 8e9),
)


def test_the_best_kernel_of_a_type_is_its_peak() -> None:
    peak = PEAKS.arithmetic_of("float32")
    assert peak is not None
    assert peak.instruction == "wide"
    assert PEAKS.arithmetic_of("uint8") == PEAKS.arithmetic_of("int8") == PEAKS.arithmetic[2]
    assert PEAKS.arithmetic_of("bfloat16") is None
    assert [peak.instruction for peak in PEAKS.best_arithmetic()] == ["wide", "dot"]


def test_of_two_measurements_each_rate_is_the_better_one() -> None:
    slower = (ArithmeticPeak("float32", "narrow", 2e9), *PEAKS.arithmetic[1:])
    other = MachinePeaks(1, slower, MemoryPeak("triad", 100, 1e9), MemoryPeak("read", 10, 9e9))
    best = best_peaks(PEAKS, other)
    assert [peak.operations_per_second for peak in best.arithmetic] == [2e9, 4e9, 16e9]
    assert (best.memory, best.cache) == (PEAKS.memory, other.cache)


def test_peaks_of_some_types_alone() -> None:
    rates = MemoryPeak("read", 1, 1.0)
    peaks = MachinePeaks(1, (ArithmeticPeak("float32", "a", 1.0), ArithmeticPeak("int8", "b", 4.0)), rates, rates)
    assert [peak.type for peak in peaks.of_types({"float32"}).arithmetic] == ["float32"]
    assert [peak.type for peak in peaks.of_types({"uint8"}).arithmetic] == ["int8"]
    assert peaks.of_types({"float64"}) == peaks
