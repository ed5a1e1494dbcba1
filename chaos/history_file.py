"""The files of a history: one for each process that has something to tell.

Law: the last line of a file says how many records are before it, and the last record of the run itself which files
there are. Where one of these is missing a part of the history is, and what it had to say may be that a promise was
broken: nobody calls such a history a run that passed.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from chaos.history import AnyRecord, Record

RUN = "run"
"""The name of the run's own file."""
FLUSH_SECONDS = 0.2
SUFFIX = ".jsonl"


class Closed(Record, frozen=True, kw_only=True, tag="closed"):
    """The last of a file. `records`: how many are before it."""

    records: int


class Ended(Record, frozen=True, kw_only=True, tag="ended"):
    """The run is over, and was not interrupted. `files`: the names of those that make up its history. `failed` are
    those whose writer did not end as it should: the run says so in a `Stuck`, and they need not be closed."""

    files: tuple[str, ...]
    failed: tuple[str, ...] = ()


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyRecord | Closed | Ended] = msgspec.json.Decoder(AnyRecord | Closed | Ended)


class HistoryWriter:
    """Appends records to `directory`/`name`.jsonl. A killed process loses at most `FLUSH_SECONDS` of them."""

    def __init__(self, directory: Path, name: str) -> None:
        self._file = (directory / (name + SUFFIX)).open("ab", buffering=1 << 16)
        self._flushed = time.monotonic()
        self._records = 0

    def write(self, record: Record) -> None:
        self._file.write(_encoder.encode(record) + b"\n")
        self._records += 1
        if record.t - self._flushed > FLUSH_SECONDS:
            self._flushed = record.t
            self._file.flush()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Nothing is written afterwards."""
        self.write(Closed(t=time.monotonic(), records=self._records))
        self._file.close()


class History:
    """What is in a directory. Raises FileNotFoundError when there is none."""

    def __init__(self, directory: Path) -> None:
        self._paths = {path.stem: path for path in sorted(directory.glob("*" + SUFFIX))}
        if not self._paths:
            raise FileNotFoundError(f"{directory} holds no history")
        self._unclosed: dict[str, str] = {}
        self._ended: Ended | None = None

    def records(self) -> Iterator[AnyRecord]:
        """All of them, by time. ValueError for a line that is no record, but a last one that was cut off."""
        return heapq.merge(*[self._read(name) for name in self._paths], key=lambda record: record.t)

    def missing(self) -> list[str]:
        """What is not there, when all records have been read: a line for each thing."""
        ended = self._ended
        excused = ended.failed if ended is not None else ()
        found = [f"{name}{SUFFIX} {why}" for name, why in sorted(self._unclosed.items()) if name not in excused]
        if ended is None:
            return [*found, "the run was interrupted: nothing says that it came to its end"]
        return found + [f"{name}{SUFFIX} is not there" for name in ended.files if name not in self._paths]

    def _read(self, name: str) -> Iterator[AnyRecord]:
        count, closed = 0, False
        with self._paths[name].open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    self._unclosed[name] = f"is cut off in record {count + 1}"
                    return
                record = _decoder.decode(line)
                if closed:
                    self._unclosed[name] = f"goes on after its end, record {count}"
                closed = isinstance(record, Closed)
                if isinstance(record, Closed):
                    if record.records != count:
                        self._unclosed[name] = f"has {count} records where {record.records} were written"
                    continue
                count += 1
                if isinstance(record, Ended):
                    self._ended = record
                else:
                    yield record
        if not closed:
            self._unclosed[name] = f"has no end after record {count}"
