"""The journal: what is confirmed is in it, whatever ends process or machine, and damage is not taken for its end."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.raft.storage import StorageCorrupt
from cluster.store.journal import JOURNAL_BYTES, JOURNAL_NAME, RECORDS_MAX, Journal

from .seed import chosen_seed

pytestmark = pytest.mark.usefixtures("boots")
SECTOR_BYTES = 512
BODIES = [b"one", b"two" * 400, b"three" * 50]


def written(directory: Path, bodies: list[bytes]) -> Path:
    """The file of a journal of generation 7 to which `bodies` were given, by a process that is gone."""
    journal = Journal.made(directory, 7)
    for body in bodies:
        journal.append(body)
    journal.close()
    return directory / JOURNAL_NAME


def held(directory: Path, generation: int = 7) -> list[bytes]:
    journal = Journal(directory, generation)
    journal.close()
    return journal.records


def places(content: bytes) -> list[int]:
    """Where the records begin, and where the last ends."""
    found, at = [512], 512
    while (head := content[at : at + 32])[:4] == b"jrec":
        at += 64 + struct.unpack_from(">I", head, 20)[0]
        found.append(at)
    return found


def test_what_was_appended_is_there_for_the_next_process(tmp_path: Path) -> None:
    written(tmp_path, BODIES)
    assert held(tmp_path) == BODIES
    journal = Journal(tmp_path, 7)
    journal.append(b"four")
    journal.close()
    assert held(tmp_path) == [*BODIES, b"four"]


def test_what_is_of_an_earlier_generation_is_nothing(tmp_path: Path) -> None:
    written(tmp_path, BODIES)
    assert held(tmp_path, 8) == []
    journal = Journal(tmp_path, 8)
    journal.append(b"new")
    journal.close()
    assert held(tmp_path, 8) == [b"new"]


def test_a_new_generation_begins_in_front(tmp_path: Path) -> None:
    journal = Journal.made(tmp_path, 1)
    journal.append(b"old" * 100)
    journal.begin(2)
    assert not journal.is_used
    journal.append(b"new")
    journal.close()
    assert held(tmp_path, 2) == [b"new"]


def test_it_has_room_for_so_many_records_and_so_many_bytes(tmp_path: Path) -> None:
    journal = Journal.made(tmp_path, 1)
    largest = JOURNAL_BYTES - 512 - 64
    assert journal.has_room(largest)
    assert not journal.has_room(largest + 1)
    for _ in range(RECORDS_MAX):
        assert journal.has_room(0)
        journal.append(b"")
    assert not journal.has_room(0)
    journal.close()


def test_a_record_that_was_torn_with_the_machine_is_nothing(tmp_path: Path, boots: Callable[[], None]) -> None:
    """Of each sector of the record it is the chance's whether it was written."""
    seed = chosen_seed()
    chance = random.Random(seed)
    file = written(tmp_path, BODIES[:1])
    before = file.read_bytes()
    for _ in range(60):
        last = chance.randbytes(chance.choice((5, 600, 3000)))
        file.write_bytes(before)
        journal = Journal(tmp_path, 7)
        journal.append(last)
        journal.close()
        after = file.read_bytes()
        torn = bytearray(after)
        for at in range(0, len(torn), SECTOR_BYTES):
            if chance.random() < 0.5:
                torn[at : at + SECTOR_BYTES] = before[at : at + SECTOR_BYTES]
        if torn == after:
            continue
        file.write_bytes(torn)
        boots()
        # A sector that says what it said before is no loss.
        found = held(tmp_path)
        assert found in ([BODIES[0]], [BODIES[0], last])
        assert held(tmp_path) == found  # what was torn then is not found again
        journal = Journal(tmp_path, 7)
        journal.append(b"next")
        journal.close()
        assert held(tmp_path) == [*found, b"next"]


def test_a_flipped_bit_anywhere_in_a_record_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, BODIES)
    whole = file.read_bytes()
    end = places(whole)[-1]
    for at in range(512, end):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(StorageCorrupt, match=r"journal is damaged: record \d does not match its checksum$"):
            Journal(tmp_path, 7)


def test_a_record_whose_last_pages_are_missing_was_being_written_when_the_process_was_killed(tmp_path: Path) -> None:
    file = written(tmp_path, [*BODIES, b"four" * 2500])
    whole = file.read_bytes()
    begin, end = places(whole)[-2:]
    for page in range(4096, end, 4096):
        file.write_bytes(whole[:page].ljust(len(whole), b"\0"))
        assert held(tmp_path) == BODIES
        assert held(tmp_path) == BODIES
    for damaged_at in (begin, begin + 32, end - 33, end - 32, end - 1):
        damaged = bytearray(whole)
        damaged[damaged_at] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(StorageCorrupt):
            Journal(tmp_path, 7)


def test_damage_before_the_last_record_is_found_after_the_machine_was_started_anew(
    tmp_path: Path, boots: Callable[[], None]
) -> None:
    file = written(tmp_path, BODIES)
    whole = file.read_bytes()
    boots()
    for at in range(512, places(whole)[-2]):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(StorageCorrupt, match="does not match its checksum"):
            Journal(tmp_path, 7)


def test_a_label_that_is_damaged_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, BODIES)
    whole = file.read_bytes()
    for at in range(52):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(StorageCorrupt, match="its label does not match its checksum"):
            Journal(tmp_path, 7)


@pytest.mark.parametrize("size", [0, 100, JOURNAL_BYTES - 1, JOURNAL_BYTES + 1])
def test_a_file_of_another_size_is_found(tmp_path: Path, size: int) -> None:
    file = written(tmp_path, BODIES)
    os.truncate(file, size)
    with pytest.raises(StorageCorrupt, match=f"it has {size} bytes instead of"):
        Journal(tmp_path, 7)


def test_a_message_that_looks_like_a_record_is_none(tmp_path: Path) -> None:
    """Whoever publishes does not know the seed."""
    whole = written(tmp_path, BODIES).read_bytes()
    first, second = places(whole)[:2]
    (tmp_path / "other").mkdir()
    file = written(tmp_path / "other", [whole[first:second]])
    content = bytearray(file.read_bytes())
    content[512:544] = bytes(32)
    content[-32:] = whole[first : first + 32]
    file.write_bytes(content)
    with pytest.raises(StorageCorrupt):  # by the record's own end, of course
        Journal(tmp_path / "other", 7)
    content[places(whole)[0] : second + 200] = bytes(second + 200 - places(whole)[0])
    file.write_bytes(content)
    assert held(tmp_path / "other") == []


def test_a_sector_that_cannot_be_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the node would end at each start; what takes its place is written elsewhere."""
    written(tmp_path, BODIES)

    def fails(file: int, length: int, at: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(StorageCorrupt, match=r"journal is damaged: Input/output error$"):
        Journal(tmp_path, 7)
