"""The x86-64 micro-architecture levels, as the psABI defines them.

Source of the features: System V ABI, AMD64 supplement, section 3.1.1 "Micro-Architecture Levels". Cache sizes and FMA
ports of a level are the smallest that its common processors have (Intel and AMD optimisation manuals).
"""

from lepton_compiler.targets.spec import Architecture, TargetSpec

_TRIPLE = {"llvm_triple": "x86_64-linux-gnu", "zig_triple": "x86_64-linux-gnu.2.17"}
_PSABI = "System V ABI, AMD64 supplement, 3.1.1; Intel and AMD optimisation manuals for caches"

_V2_FEATURES = ("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3")
_V3_FEATURES = (*_V2_FEATURES, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave")
_V4_FEATURES = (*_V3_FEATURES, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

X86_64_V2 = TargetSpec(
    name="x86-64-v2",
    architecture=Architecture.X86_64,
    description="SSE4.2: any x86-64 processor since about 2009",
    llvm_cpu="x86-64-v2",
    zig_cpu="x86_64_v2",
    vector_bits=128,
    vector_registers=16,
    l1_data_bytes=32 << 10,
    l2_bytes=256 << 10,
    fma_per_cycle=1,
    cpu_features=_V2_FEATURES,
    source=_PSABI,
    **_TRIPLE,
)

X86_64_V3 = TargetSpec(
    name="x86-64-v3",
    architecture=Architecture.X86_64,
    description="AVX2 and FMA: Haswell, Zen and later",
    llvm_cpu="x86-64-v3",
    zig_cpu="x86_64_v2",
    vector_bits=256,
    vector_registers=16,
    l1_data_bytes=32 << 10,
    l2_bytes=256 << 10,
    fma_per_cycle=2,
    cpu_features=_V3_FEATURES,
    source=_PSABI,
    **_TRIPLE,
)

X86_64_V4 = TargetSpec(
    name="x86-64-v4",
    architecture=Architecture.X86_64,
    description="AVX-512: Skylake-SP, Zen 4 and later",
    llvm_cpu="x86-64-v4",
    zig_cpu="x86_64_v2",
    vector_bits=512,
    vector_registers=32,
    l1_data_bytes=32 << 10,
    l2_bytes=1 << 20,
    fma_per_cycle=1,
    cpu_features=_V4_FEATURES,
    source=_PSABI,
    # LLVM's x86-64-v4 model prefers 256-bit vectors; kernels here are laid out for 512.
    llvm_features=("-prefer-256-bit",),
    **_TRIPLE,
)

# Named processors: the instructions of x86-64-v4 and what their features add, so that a processor whose features fit
# runs the code; widths, caches and arithmetic rates are their own.
_AVX512 = {
    "architecture": Architecture.X86_64,
    "llvm_cpu": "x86-64-v4",
    "zig_cpu": "x86_64_v2",
    "vector_bits": 512,
    "vector_registers": 32,
    **_TRIPLE,
}
_VNNI = (*_V4_FEATURES, "avx512_vnni")
_BF16 = (*_VNNI, "avx512_bf16")
_LLVM_VNNI = ("-prefer-256-bit", "+avx512vnni")
_LLVM_BF16 = (*_LLVM_VNNI, "+avx512bf16")

AMD_ZEN4 = TargetSpec(
    name="amd-zen4",
    description="AMD Zen 4: AVX-512 in halves, VNNI, BF16",
    l1_data_bytes=32 << 10,
    l2_bytes=1 << 20,
    fma_per_cycle=1,
    cpu_features=_BF16,
    llvm_features=_LLVM_BF16,
    has_bfloat16_dot=True,
    processors=("AuthenticAMD/25/16-31", "AuthenticAMD/25/96-127", "AuthenticAMD/25/160-175"),
    source="AMD Software Optimization Guide for the Zen 4 Microarchitecture, 57647",
    **_AVX512,
)

AMD_ZEN5 = TargetSpec(
    name="amd-zen5",
    description="AMD Zen 5 (EPYC 9005): full AVX-512, VNNI, BF16",
    l1_data_bytes=48 << 10,
    l2_bytes=1 << 20,
    fma_per_cycle=2,
    cpu_features=_BF16,
    llvm_features=_LLVM_BF16,
    has_bfloat16_dot=True,
    processors=("AuthenticAMD/26/0-31",),
    source="AMD Software Optimization Guide for the Zen 5 Microarchitecture, 58455",
    **_AVX512,
)

INTEL_SKYLAKE_SERVER = TargetSpec(
    name="intel-skylake-server",
    description="Intel Xeon Scalable, first and second generation: AVX-512",
    l1_data_bytes=32 << 10,
    l2_bytes=1 << 20,
    fma_per_cycle=2,
    cpu_features=_V4_FEATURES,
    llvm_features=("-prefer-256-bit",),
    processors=("GenuineIntel/6/85-85",),
    source="Intel 64 and IA-32 Architectures Optimization Reference Manual",
    **_AVX512,
)

INTEL_ICELAKE_SERVER = TargetSpec(
    name="intel-icelake-server",
    description="Intel Xeon Scalable, third generation: AVX-512, VNNI",
    l1_data_bytes=48 << 10,
    l2_bytes=1280 << 10,
    fma_per_cycle=2,
    cpu_features=_VNNI,
    llvm_features=_LLVM_VNNI,
    processors=("GenuineIntel/6/106-106", "GenuineIntel/6/108-108"),
    source="Intel 64 and IA-32 Architectures Optimization Reference Manual",
    **_AVX512,
)

INTEL_SAPPHIRE_RAPIDS = TargetSpec(
    name="intel-sapphire-rapids",
    description="Intel Xeon Scalable, fourth and fifth generation: AVX-512, VNNI, BF16",
    l1_data_bytes=48 << 10,
    l2_bytes=2 << 20,
    fma_per_cycle=2,
    cpu_features=_BF16,
    llvm_features=_LLVM_BF16,
    has_bfloat16_dot=True,
    processors=("GenuineIntel/6/143-143", "GenuineIntel/6/207-207"),
    source="Intel 64 and IA-32 Architectures Optimization Reference Manual",
    **_AVX512,
)

TARGETS = (
    X86_64_V2,
    X86_64_V3,
    X86_64_V4,
    AMD_ZEN4,
    AMD_ZEN5,
    INTEL_SKYLAKE_SERVER,
    INTEL_ICELAKE_SERVER,
    INTEL_SAPPHIRE_RAPIDS,
)
