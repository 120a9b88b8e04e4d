import re
from pathlib import Path

import lepton_compiler.runtime
from lepton_compiler.core import abi

CSRC = Path(lepton_compiler.runtime.__file__).with_name("csrc")


def defined(header: str) -> dict[str, str]:
    """What a header defines as numbers and strings, by name without the prefix."""
    text = (CSRC / header).read_text(encoding="utf-8")
    return dict(re.findall(r'^#define LEPTON_(\w+) "?([\w ]+?)"?$', text, re.MULTILINE))


def test_limits_are_those_of_the_public_header() -> None:
    header = defined("lepton.h")
    for name in ("API_VERSION", "MAX_RANK", "MAX_THREADS", "ALIGNMENT"):
        assert int(header[name]) == getattr(abi, name), name


def test_element_types_are_those_of_the_public_header() -> None:
    text = (CSRC / "lepton.h").read_text(encoding="utf-8")
    (enumeration,) = re.findall(r"typedef enum \{([^}]*)\} lepton_dtype;", text)
    members = re.findall(r"LEPTON_(\w+) = (\d+)", enumeration)
    assert {name.lower(): int(code) for name, code in members} == abi.DTYPES


def test_trailer_of_a_weights_file_is_that_of_the_private_header() -> None:
    header = defined("model.h")
    assert header["WEIGHTS_MAGIC"].encode() == abi.WEIGHTS_MAGIC
    trailer = abi.weights_trailer("ab" * 32)
    assert len(trailer) == int(header["WEIGHTS_TRAILER_BYTES"]) == abi.WEIGHTS_TRAILER_BYTES
    assert trailer[: len(abi.WEIGHTS_MAGIC)] == abi.WEIGHTS_MAGIC
    assert trailer[-int(header["SHA256_BYTES"]) :] == bytes.fromhex("ab" * 32)


def test_kind_of_value_errors_is_that_of_the_private_header() -> None:
    assert defined("model.h")["VALUE_ERROR"] == abi.VALUE_ERROR
