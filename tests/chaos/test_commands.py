"""What the chaos tool says to those who ask it for what there is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaos.__main__ import main
from chaos.history import HistoryWriter
from tests.chaos.histories import Story


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["chaos", *arguments])
    return main()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--duration", "nan"),
        ("--duration", "0"),
        ("--rate", "nan"),
        ("--rate", "0"),
        ("--gap-max", "-1"),
        ("--count", "-1"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_before_anything_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        _main(monkeypatch, "run", option, value)
    assert ended.value.code == 2
    assert f"argument {option}: invalid" in capsys.readouterr().err


def test_a_run_without_a_history_is_not_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        _main(monkeypatch, "judge", str(tmp_path))
    assert ended.value.code == 2
    told = "history holds no history (a run that passed keeps its history only with --keep-data)"
    assert told in capsys.readouterr().err


def test_what_is_no_history_is_not_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "run.jsonl").write_text("what is this\n")
    with pytest.raises(SystemExit) as ended:
        _main(monkeypatch, "judge", str(tmp_path))
    assert ended.value.code == 2
    assert "judge: error: this is no history: JSON is malformed" in capsys.readouterr().err


def test_a_history_that_is_judged_again_still_says_how_it_was_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "history").mkdir()
    writer = HistoryWriter(tmp_path / "history", "run")
    for record in Story(claims=("lost",)).records:
        writer.write(record)
    writer.close()
    (tmp_path / "verdict.json").write_text(json.dumps({"seed": 7, "repeat": "python -m chaos run --seed 7"}))
    assert _main(monkeypatch, "judge", str(tmp_path)) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED (lost never checked): 0 faults")
    told = json.loads((tmp_path / "verdict.json").read_text())
    assert (told["seed"], told["repeat"]) == (7, "python -m chaos run --seed 7")
