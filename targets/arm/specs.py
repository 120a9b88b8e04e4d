"""ARM processors: a 64-bit baseline, a 64-bit core and a 32-bit core with NEON."""

from dataclasses import replace

from lepton_compiler.targets.spec import Architecture, TargetSpec

ARMV8_A = TargetSpec(
    name="armv8-a",
    architecture=Architecture.AARCH64,
    description="any 64-bit ARM processor with NEON",
    llvm_triple="aarch64-linux-gnu",
    llvm_cpu="generic",
    llvm_features=("+neon",),
    zig_triple="aarch64-linux-gnu.2.17",
    zig_cpu="generic",
    vector_bits=128,
    vector_registers=32,
    l1_data_bytes=32 << 10,
    l2_bytes=256 << 10,
    fma_per_cycle=1,
    cpu_features=("fp", "asimd"),
    source="Arm Architecture Reference Manual for A-profile, Advanced SIMD",
)

CORTEX_A72 = replace(
    ARMV8_A,
    name="arm-cortex-a72",
    description="Cortex-A72: Raspberry Pi 4",
    llvm_cpu="cortex-a72",
    source="Arm Cortex-A72 Software Optimization Guide; BCM2711: 1 MiB of level 2 for four cores",
)

CORTEX_A7 = TargetSpec(
    name="arm-cortex-a7",
    architecture=Architecture.ARMV7,
    description="Cortex-A7, 32 bit with NEON and VFPv4: Raspberry Pi 2, many gateways",
    llvm_triple="armv7a-linux-gnueabihf",
    llvm_cpu="cortex-a7",
    # Without the last two LLVM splits every fused multiply-add into two instructions.
    llvm_features=("+neon", "+vfp4", "-slowfpvmlx", "-slowfpvfmx"),
    llvm_float_abi="hard",
    zig_triple="arm-linux-gnueabihf.2.28",
    zig_cpu="cortex_a7",
    vector_bits=128,
    vector_registers=16,
    l1_data_bytes=32 << 10,
    l2_bytes=128 << 10,
    fma_per_cycle=1,
    # LLVM and zig divide integers by sdiv and udiv, in both instruction sets (A32: idiva, T32: idivt).
    cpu_features=("neon", "vfpv4", "idiva", "idivt"),
    source="Arm Cortex-A7 MPCore Technical Reference Manual",
)

TARGETS = (ARMV8_A, CORTEX_A72, CORTEX_A7)
