"""The x86-64 micro-architecture levels, as the psABI defines them.

Source of the features: System V ABI, AMD64 supplement, section 3.1.1 "Micro-Architecture Levels". Cache sizes and FMA
ports of a level are the smallest that its common processors have (Intel and AMD optimisation manuals).
"""

from dataclasses import replace

from lepton_compiler.targets.spec import Architecture, TargetSpec

_V2_FEATURES = ("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3")
_V3_FEATURES = (*_V2_FEATURES, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave")
_V4_FEATURES = (*_V3_FEATURES, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

X86_64_V2 = TargetSpec(
    name="x86-64-v2",
    architecture=Architecture.X86_64,
    description="SSE4.2: any x86-64 processor since about 2009",
    llvm_triple="x86_64-linux-gnu",
    llvm_cpu="x86-64-v2",
    zig_triple="x86_64-linux-gnu.2.17",
    zig_cpu="x86_64_v2",
    vector_bits=128,
    vector_registers=16,
    l1_data_bytes=32 << 10,
    l2_bytes=256 << 10,
    fma_per_cycle=1,
    cpu_features=_V2_FEATURES,
    source="System V ABI, AMD64 supplement, 3.1.1; Intel and AMD optimisation manuals for caches",
)

X86_64_V3 = replace(
    X86_64_V2,
    name="x86-64-v3",
    description="AVX2 and FMA: Haswell, Zen and later",
    llvm_cpu="x86-64-v3",
    vector_bits=256,
    fma_per_cycle=2,
    cpu_features=_V3_FEATURES,
)

X86_64_V4 = replace(
    X86_64_V3,
    name="x86-64-v4",
    description="AVX-512: Skylake-SP, Zen 4 and later",
    llvm_cpu="x86-64-v4",
    vector_bits=512,
    vector_registers=32,
    l2_bytes=1 << 20,
    fma_per_cycle=1,
    cpu_features=_V4_FEATURES,
    # LLVM's x86-64-v4 model prefers 256-bit vectors; kernels here are laid out for 512.
    llvm_features=("-prefer-256-bit",),
)

# Named processors: the instructions of x86-64-v4 and what their features add, so that a processor whose features fit
# runs the code; caches and arithmetic rates are their own.
_VNNI = replace(
    X86_64_V4,
    cpu_features=(*X86_64_V4.cpu_features, "avx512_vnni"),
    llvm_features=(*X86_64_V4.llvm_features, "+avx512vnni"),
)
_BF16 = replace(
    _VNNI,
    cpu_features=(*_VNNI.cpu_features, "avx512_bf16"),
    llvm_features=(*_VNNI.llvm_features, "+avx512bf16"),
    has_bfloat16_dot=True,
)
_INTEL_MANUAL = "Intel 64 and IA-32 Architectures Optimization Reference Manual"

AMD_ZEN4 = replace(
    _BF16,
    name="amd-zen4",
    description="AMD Zen 4: AVX-512 in halves, VNNI, BF16",
    processors=("AuthenticAMD/25/16-31", "AuthenticAMD/25/96-127", "AuthenticAMD/25/160-175"),
    l1_data_bytes=32 << 10,
    l2_bytes=1 << 20,
    fma_per_cycle=1,
    source="AMD Software Optimization Guide for the Zen 4 Microarchitecture, 57647",
)

AMD_ZEN5 = replace(
    _BF16,
    name="amd-zen5",
    description="AMD Zen 5 (EPYC 9005): full AVX-512, VNNI, BF16",
    processors=("AuthenticAMD/26/0-31",),
    l1_data_bytes=48 << 10,
    l2_bytes=1 << 20,
    fma_per_cycle=2,
    source="AMD Software Optimization Guide for the Zen 5 Microarchitecture, 58455",
)

INTEL_SKYLAKE_SERVER = replace(
    X86_64_V4,
    name="intel-skylake-server",
    description="Intel Xeon Scalable, first and second generation: AVX-512",
    processors=("GenuineIntel/6/85-85",),
    l1_data_bytes=32 << 10,
    l2_bytes=1 << 20,
    fma_per_cycle=2,
    source=_INTEL_MANUAL,
)

INTEL_ICELAKE_SERVER = replace(
    _VNNI,
    name="intel-icelake-server",
    description="Intel Xeon Scalable, third generation: AVX-512, VNNI",
    processors=("GenuineIntel/6/106-106", "GenuineIntel/6/108-108"),
    l1_data_bytes=48 << 10,
    l2_bytes=1280 << 10,
    fma_per_cycle=2,
    source=_INTEL_MANUAL,
)

INTEL_SAPPHIRE_RAPIDS = replace(
    _BF16,
    name="intel-sapphire-rapids",
    description="Intel Xeon Scalable, fourth and fifth generation: AVX-512, VNNI, BF16",
    processors=("GenuineIntel/6/143-143", "GenuineIntel/6/207-207"),
    l1_data_bytes=48 << 10,
    l2_bytes=2 << 20,
    fma_per_cycle=2,
    source=_INTEL_MANUAL,
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
