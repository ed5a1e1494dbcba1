"""Nodes of another version."""

from __future__ import annotations

import subprocess
from pathlib import Path

from chaos.local_cluster import program_of
from chaos.machine.grounds import missing

ROOT = Path(__file__).resolve().parents[2]


def test_a_node_of_another_checkout_runs_its_code_wherever_it_is_started(tmp_path: Path) -> None:
    assert missing(tmp_path)["other"] == f"no checkout: {tmp_path}"
    package = tmp_path / "cluster" / "node"
    package.mkdir(parents=True)
    for place in (package, package.parent):
        (place / "__init__.py").touch()
    (package / "main.py").write_text("print(__file__)\n")
    assert missing(tmp_path)["other"] == ""
    told = subprocess.run(program_of(tmp_path), cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(package / "main.py")


def test_without_another_checkout_the_fault_is_named_and_not_chosen() -> None:
    assert missing()["other"] == "no checkout of another version is given (--other)"
