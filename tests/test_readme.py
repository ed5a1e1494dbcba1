"""What the README shows is what happens.

Law: the example is taken from the file and run as it stands; only the ports are those of the cluster under test.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.cluster.harness import LocalCluster

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
_LINK = re.compile(r"\]\((?!http)([^)#]+)")


def test_the_example_of_the_readme_prints_what_the_readme_says() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    with LocalCluster() as cluster:
        for index in range(3):
            example = example.replace(f"127.0.0.1:{5672 + index}", f"127.0.0.1:{cluster.port(index)}")
        ran = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "one pizza\n", "")


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z][a-z-]+)", README.read_text(encoding="utf-8")))
    assert targets
    missing = [target for target in sorted(targets) if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
    assert missing == []


def test_every_link_between_documents_leads_to_a_file() -> None:
    documents = [README, *sorted((ROOT / "docs").rglob("*.md"))]
    dead = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in documents
        for link in _LINK.findall(document.read_text(encoding="utf-8"))
        if not (document.parent / link).exists()
    ]
    assert dead == []
