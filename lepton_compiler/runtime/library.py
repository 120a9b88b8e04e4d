"""The functions of ``csrc/lepton.h`` through ctypes, and the libraries of this process."""

from __future__ import annotations

import ctypes
import threading
from ctypes import POINTER, Structure, c_char_p, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

from lepton_compiler.core.abi import MAX_RANK
from lepton_compiler.core.errors import ArtifactError, InputError, LeptonError, RunError
from lepton_compiler.runtime.artifact_file import ArtifactFile


class CTensor(Structure):
    """``lepton_tensor``."""

    _fields_ = (
        ("data", c_void_p),
        ("dtype", c_int32),
        ("rank", c_int32),
        ("shape", c_int64 * MAX_RANK),
        ("bytes", c_uint64),
    )


class CKernelInfo(Structure):
    """``lepton_kernel_info``."""

    _fields_ = (("name", c_char_p), ("nodes", c_char_p))


class CMemoryInfo(Structure):
    """``lepton_memory_info``."""

    _fields_ = (
        ("weights_bytes", c_uint64),
        ("arena_bytes", c_uint64),
        ("workspace_bytes", c_uint64),
        ("buffer_bytes", c_uint64),
    )


KernelHook = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_uint64)
"""``lepton_kernel_hook``."""

_TENSORS = (c_void_p, POINTER(CTensor), c_int32, POINTER(CTensor), c_int32)
_SIGNATURES: dict[str, tuple[type | None, tuple]] = {
    "lepton_open": (c_int32, (c_uint32, POINTER(c_void_p))),
    "lepton_close": (None, (c_void_p,)),
    "lepton_last_error": (c_char_p, ()),
    "lepton_status_name": (c_char_p, (c_int32,)),
    "lepton_digest": (POINTER(c_uint8), ()),
    "lepton_input_count": (c_int32, (c_void_p,)),
    "lepton_output_count": (c_int32, (c_void_p,)),
    "lepton_kernel_count": (c_int32, (c_void_p,)),
    "lepton_kernel": (c_int32, (c_void_p, c_int32, POINTER(CKernelInfo))),
    "lepton_memory": (c_int32, (c_void_p, POINTER(CMemoryInfo))),
    "lepton_set_threads": (c_int32, (c_void_p, c_int32)),
    "lepton_threads": (c_int32, (c_void_p,)),
    "lepton_set_kernel_hook": (c_int32, (c_void_p, KernelHook, c_void_p)),
    "lepton_output_shapes": (c_int32, _TENSORS),
    "lepton_run": (c_int32, _TENSORS),
}

_STATUS_ERRORS: dict[str, type[LeptonError]] = {
    "LEPTON_ERROR_ARGUMENT": InputError,
    "LEPTON_ERROR_VERSION": ArtifactError,
    "LEPTON_ERROR_DTYPE": InputError,
    "LEPTON_ERROR_SHAPE": InputError,
    "LEPTON_ERROR_SIZE": InputError,
    "LEPTON_ERROR_VALUE": InputError,
    "LEPTON_ERROR_CPU": ArtifactError,
    "LEPTON_ERROR_WEIGHTS": ArtifactError,
}


@dataclass(frozen=True)
class Library:
    """A loaded library; never unloaded, like an extension module.

    Attributes:
        functions: The library, with argument and result types set for every function used here.
        file_name: For messages.
    """

    functions: ctypes.CDLL
    file_name: str

    def check(self, status: int) -> None:
        """Turns a status into the error that it stands for.

        Raises:
            InputError: The inputs do not fit the model.
            ArtifactError: The library can't run here.
            RunError: A kernel failed, or memory or threads ran out.
        """
        if status == 0:
            return
        text = (self.functions.lepton_last_error() or b"").decode("utf-8", errors="replace")
        name = self.functions.lepton_status_name(status).decode("ascii")
        raise _STATUS_ERRORS.get(name, RunError)(f"{self.file_name}: {text}")


_libraries: dict[bytes, Library] = {}
_lock = threading.Lock()


def load_library(artifact: ArtifactFile) -> Library:
    """Loads the code of a verified artifact; the same bytes are loaded once a process.

    Raises:
        ArtifactError: The system's loader refuses the file.
    """
    with _lock:
        known = _libraries.get(artifact.digest)
        # Weights that lie beside the library are found through its path, so a copy elsewhere is a library of its own.
        if known is None or artifact.manifest.weights.file is not None:
            known = _libraries[artifact.digest] = _open(artifact)
        return known


def _open(artifact: ArtifactFile) -> Library:
    """Loads the file, under a name by which the system's loader has not loaded other bytes yet.

    The loader knows libraries by their path: a file that was compiled again would be mistaken for the one that this
    process loaded before. An extra ``./`` makes it look at the file itself.
    """
    for attempt in range(len(_libraries) + 1):
        functions = _open_as(artifact, f"{artifact.path.parent}/{'./' * attempt}{artifact.path.name}")
        if bytes(functions.lepton_digest()[:32]) == artifact.digest:
            return Library(functions, artifact.path.name)
    raise ArtifactError(
        f"{artifact.path} was overwritten in place while this process had it loaded: load it in a new process"
    )


def _open_as(artifact: ArtifactFile, name: str) -> ctypes.CDLL:
    try:
        functions = ctypes.CDLL(name, mode=ctypes.RTLD_LOCAL)
        for function, (result, arguments) in _SIGNATURES.items():
            getattr(functions, function).restype = result
            getattr(functions, function).argtypes = arguments
    except (OSError, AttributeError) as error:
        raise ArtifactError(f"{artifact.path} can't be loaded: {error}") from error
    return functions
