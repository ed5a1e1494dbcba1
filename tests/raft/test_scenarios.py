"""Every scenario file happens as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.raft.scenario import DIRECTORY, Player, perform

PATHS = sorted(DIRECTORY.glob("*.txt"))


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_a_scenario_happens_as_it_is_written(path: Path) -> None:
    text = path.read_text()
    assert perform(text) == text, "python -m tests.raft.scenario --update"


def test_there_are_scenarios() -> None:
    assert len(PATHS) >= 10


def test_an_unknown_command_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown command: fly 1"):
        Player().play("fly 1")
