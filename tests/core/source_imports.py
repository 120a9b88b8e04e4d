"""The imports of every source file, read without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = {
    "lepton_compiler": "lepton_compiler",
    "passes": "lepton_compiler.passes",
    "targets": "lepton_compiler.targets",
}


@cache
def source_files() -> dict[str, Path]:
    """Every module of the package, by its name."""
    files = {}
    for folder, package in _FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            # The links lepton_compiler/passes and lepton_compiler/targets lead to folders that are listed themselves.
            if folder == "lepton_compiler" and parts[0] in ("passes", "targets"):
                continue
            files[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return files


def all_imports(module: str) -> set[str]:
    """Modules that a file imports anywhere, also inside of functions."""
    return set(_imports_in(ast.walk(_tree(module))))


def imports_when_loaded(module: str) -> set[str]:
    """Modules that a file imports when it is imported itself: not in functions, not for type checkers."""
    return set(_imports_in(_executed(_tree(module).body)))


def _tree(module: str) -> ast.Module:
    return ast.parse(source_files()[module].read_text(encoding="utf-8"))


def _executed(statements: list[ast.stmt]) -> Iterator[ast.AST]:
    for statement in statements:
        yield statement
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            continue
        for field in ("body", "orelse", "finalbody"):
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _executed(getattr(statement, field, []))


def _imports_in(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "relative imports hide the direction"
            yield node.module
            # `from package import module` imports the module.
            yield from (name for alias in node.names if (name := f"{node.module}.{alias.name}") in source_files())
