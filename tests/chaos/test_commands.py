"""What the chaos tool says to those who ask it for what there is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from chaos.__main__ import main
from chaos.history import Record
from chaos.history_file import Ended, HistoryWriter
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


def _write(path: Path, records: Sequence[Record]) -> Path:
    (path / "history").mkdir()
    writer = HistoryWriter(path / "history", "run")
    for record in records:
        writer.write(record)
    writer.close()
    return path / "history" / "run.jsonl"


def _kept() -> list[Record]:
    """A run that passes."""
    story = Story(claims=("lost",))
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.settle("c")
    return list(story.records)


def test_a_history_that_is_whole_passes_and_one_that_was_cut_off_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = _write(tmp_path, [*_kept(), Ended(t=9, files=("run",))])
    assert _main(monkeypatch, "judge", str(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("PASSED: 0 faults")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    assert _main(monkeypatch, "judge", str(tmp_path)) == 3
    told = f"INCOMPLETE (run.jsonl has no end after record {len(lines) - 1}): 0 faults"
    assert capsys.readouterr().out.splitlines()[-1].startswith(told)
    assert json.loads((tmp_path / "verdict.json").read_text())["passed"] is False
    assert "<h1>Incomplete</h1>" in (tmp_path / "report.html").read_text()


def test_a_run_that_was_interrupted_is_called_so_when_it_is_judged_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _write(tmp_path, _kept())
    assert _main(monkeypatch, "judge", str(tmp_path)) == 3
    told = "INCOMPLETE (the run was interrupted: nothing says that it came to its end): 0 faults"
    assert capsys.readouterr().out.splitlines()[-1].startswith(told)


def test_a_history_that_is_judged_again_still_says_how_it_was_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _write(tmp_path, [*Story(claims=("lost",)).records, Ended(t=9, files=("run",))])
    (tmp_path / "verdict.json").write_text(json.dumps({"seed": 7, "repeat": "python -m chaos run --seed 7"}))
    assert _main(monkeypatch, "judge", str(tmp_path)) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED (lost never checked): 0 faults")
    told = json.loads((tmp_path / "verdict.json").read_text())
    assert (told["seed"], told["repeat"]) == (7, "python -m chaos run --seed 7")
