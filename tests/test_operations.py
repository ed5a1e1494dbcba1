"""The operator's handbook names what there is.

Law: its table of options is made from the model of the configuration; its list of metrics is compared with a scrape.

    python -m tests.test_operations    writes the table of options anew
"""

from __future__ import annotations

import re
from pathlib import Path

from cluster.node.admin.metrics import metrics_text
from cluster.node.admin.report import NodeReport
from cluster.node.config.sources import choices, environment_name, is_bytes, metas, options
from cluster.node.config.units import format_bytes
from tests.node.admin.fake_source import node_report

HANDBOOK = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
BEGIN = "<!-- options: begin (written by `python -m tests.test_operations`) -->\n"
END = "<!-- options: end -->\n"


def option_table() -> str:
    """One row an option, as the handbook has it."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for key, option in options().items():
        described = " ".join([meta.description for meta in metas(option) if meta.description])
        if words := choices(option):
            described += f" ({', '.join(words)})"
        rows.append(f"| `{key}` | {_default(key)} | {described} |")
    return "\n".join(rows) + "\n"


def _default(key: str) -> str:
    option = options()[key]
    if option.required:
        return "required"
    if option.default_factory is not None and not isinstance(option.default, str | int | float):
        return "none"
    if isinstance(option.default, int) and is_bytes(option) and option.default:
        return f"`{format_bytes(option.default)}`"
    if isinstance(option.default, bool):
        return f"`{str(option.default).lower()}`"
    return f"`{option.default}`" if option.default != "" else "none"


def test_the_table_of_options_is_that_of_the_model() -> None:
    text = HANDBOOK.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0] == option_table()


def test_every_variable_that_the_handbook_names_exists() -> None:
    known = {environment_name(key) for key in options()}
    named = set(re.findall(r"CLUSTER_MQ_[A-Z_]*__[A-Z_]+", HANDBOOK.read_text(encoding="utf-8")))
    assert named - known - {"CLUSTER_MQ_SECTION__KEY"} == set()


def test_the_metrics_of_the_handbook_are_those_of_a_scrape() -> None:
    report: NodeReport = node_report("mq-0")
    scraped = set(re.findall(r"^# TYPE (\S+)", metrics_text(report).decode(), re.MULTILINE))
    named = set(re.findall(r"`((?:clustermq|rabbitmq)_[a-z0-9_]+)", HANDBOOK.read_text(encoding="utf-8")))
    assert named == scraped


if __name__ == "__main__":
    handbook = HANDBOOK.read_text(encoding="utf-8")
    head, _, rest = handbook.partition(BEGIN)
    HANDBOOK.write_text(head + BEGIN + option_table() + END + rest.partition(END)[2], encoding="utf-8")
