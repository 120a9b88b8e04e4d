"""TargetSpec: what the compiler knows about a processor, as plain data.

Schedules take vector width, registers, caches and arithmetic rate from here, the linker its triple, and the runtime's
check its CPU features. Nothing here imports TVM, so that
the command line and the runtime can read it in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Architecture(Enum):
    """Instruction set of a target; the value is the name that ``platform.machine()`` prints on such a machine."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"
    ARMV7 = "armv7l"

    @property
    def pointer_bits(self) -> int:
        """Width of an address in bits."""
        return 32 if self is Architecture.ARMV7 else 64


@dataclass(frozen=True)
class TargetSpec:
    """One compile target.

    Attributes:
        name: What users type after ``--target``.
        architecture: Instruction set.
        description: One line for ``lepton targets``.
        llvm_triple: Target triple for LLVM.
        llvm_cpu: LLVM's processor name.
        llvm_features: LLVM features beyond the processor's own, each with its sign, as in ``"+neon"``.
        llvm_float_abi: ``"hard"`` or ``"soft"`` where the triple leaves the float ABI open, else empty.
        zig_triple: Triple for ``zig cc``, glibc version included.
        zig_cpu: Processor for ``zig cc -mcpu``; the runtime's C code is compiled for this baseline.
        cpu_features: Features that the machine must have, as ``/proc/cpuinfo`` names them.
        vector_bits: Width of a vector register in bits.
        vector_registers: Number of vector registers.
        l1_data_bytes: Level 1 data cache of one core in bytes.
        l2_bytes: Level 2 cache of one core in bytes.
        fma_per_cycle: Vector fused multiply-adds that one core starts in a cycle.
        source: Where the numbers come from.
        has_bfloat16_dot: Whether one instruction multiplies pairs of bfloat16 and adds them to float32 lanes.
        processors: Which processors a named target describes, as ``vendor/family/first model-last model``; empty for a
            level that many share.
    """

    name: str
    architecture: Architecture
    description: str
    llvm_triple: str
    llvm_cpu: str
    zig_triple: str
    zig_cpu: str
    vector_bits: int
    vector_registers: int
    l1_data_bytes: int
    l2_bytes: int
    fma_per_cycle: int
    source: str
    cpu_features: tuple[str, ...] = ()
    llvm_features: tuple[str, ...] = ()
    llvm_float_abi: str = ""
    has_bfloat16_dot: bool = False
    processors: tuple[str, ...] = ()

    def vector_lanes(self, dtype_bits: int = 32) -> int:
        """Number of elements of ``dtype_bits`` bits in one vector register."""
        return self.vector_bits // dtype_bits

    def llvm_target(self) -> dict[str, object]:
        """The dictionary that ``tvm.target.Target`` takes."""
        target: dict[str, object] = {"kind": "llvm", "mtriple": self.llvm_triple, "mcpu": self.llvm_cpu}
        if self.llvm_features:
            target["mattr"] = list(self.llvm_features)
        if self.llvm_float_abi:
            target["mfloat-abi"] = self.llvm_float_abi
        return target
