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

TARGETS = (X86_64_V2, X86_64_V3, X86_64_V4)
