"""A history is read as it was written, and what is missing of it is missed."""

from __future__ import annotations

from pathlib import Path

from chaos.history import Healthy, Record
from chaos.history_file import Ended, History, HistoryWriter

BOTH = Ended(t=9, files=("a", "b"))


def _history(path: Path, *ends: Ended) -> None:
    files: dict[str, list[Record]] = {
        "a": [Healthy(t=1, seconds=0), Healthy(t=4, seconds=0), *ends],
        "b": [Healthy(t=2, seconds=0), Healthy(t=3, seconds=0)],
    }
    for name, records in files.items():
        writer = HistoryWriter(path, name)
        for record in records:
            writer.write(record)
        writer.close()


def _read(path: Path) -> tuple[list[float], list[str]]:
    history = History(path)
    return [record.t for record in history.records()], history.missing()


def test_the_files_of_a_run_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    assert _read(tmp_path) == ([1, 2, 3, 4], [])


def test_a_line_that_a_killed_client_did_not_finish_is_left_out_and_missed(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    content = (tmp_path / "b.jsonl").read_bytes()
    (tmp_path / "b.jsonl").write_bytes(content[: content.rindex(b"closed")])
    assert _read(tmp_path) == ([1, 2, 3, 4], ["b.jsonl is cut off in record 3"])


def test_a_file_that_is_cut_off_at_the_end_of_a_line_is_missed(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    lines = (tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_bytes(lines[0])
    missing = ["b.jsonl has no end after record 1"]
    assert _read(tmp_path) == ([1, 2, 4], missing)


def test_lines_that_are_missing_in_the_middle_of_a_file_are_missed(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    lines = (tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines[1:]))
    assert _read(tmp_path) == ([1, 3, 4], ["b.jsonl has 1 records where 2 were written"])


def test_a_file_that_goes_on_after_its_end_is_two(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(b'{"e":"healthy","t":5,"seconds":1}\n')
    assert "b.jsonl" in _read(tmp_path)[1][0]


def test_a_whole_file_that_is_not_there_is_missed(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    (tmp_path / "b.jsonl").unlink()
    assert _read(tmp_path) == ([1, 4], ["b.jsonl is not there"])


def test_a_run_that_was_interrupted_has_no_end(tmp_path: Path) -> None:
    _history(tmp_path)
    assert _read(tmp_path)[1] == ["the run was interrupted: nothing says that it came to its end"]


def test_what_a_client_did_not_close_that_had_to_be_killed_is_not_missed(tmp_path: Path) -> None:
    """The run says that it was stuck, and fails for that."""
    _history(tmp_path, Ended(t=9, files=("a", "b"), failed=("b",)))
    lines = (tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_bytes(lines[0])
    assert _read(tmp_path) == ([1, 2, 4], [])
