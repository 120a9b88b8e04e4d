"""The README's two commands are those that CI runs, and need nothing beyond Python, its venv module and git."""

from __future__ import annotations

import os
import re
import subprocess

from project_file import ROOT, project_table

SETUP = "python3 -m venv .venv && .venv/bin/pip install -q -e "


def readme_commands() -> list[str]:
    """The one-line shell commands of the README that set the project up."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(SETUP)]


def test_there_is_one_command_for_the_demo_and_one_for_the_tests() -> None:
    demo, tests = readme_commands()
    assert demo == f"{SETUP}'.[demo]' && .venv/bin/lepton demo"
    assert tests.startswith(f"{SETUP}'.[test]' && .venv/bin/pytest")


def test_the_commands_name_extras_and_programs_that_exist() -> None:
    project = project_table()["project"]
    for command in readme_commands():
        (extra,) = re.findall(r"'\.\[(\w+)\]'", command)
        assert extra in project["optional-dependencies"]
    assert "lepton" in project["scripts"]


def test_ci_runs_the_test_command_as_the_readme_gives_it() -> None:
    script = ROOT / ".ci" / "run"
    lines = script.read_text(encoding="utf-8").splitlines()
    assert readme_commands()[1] in lines
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
