"""The file that gives its space to a full disk."""

from __future__ import annotations

from pathlib import Path

from cluster.store.reserve import RESERVE_NAME, ROOM_FACTOR, Reserve

SIZE = 1 << 20


def test_it_is_made_while_there_is_room_and_given_up_when_there_is_none(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, SIZE)
    file = tmp_path / RESERVE_NAME
    reserve.keep(ROOM_FACTOR * SIZE - 1)
    assert not file.exists()
    reserve.keep(ROOM_FACTOR * SIZE)
    assert file.stat().st_blocks * 512 >= SIZE
    assert not reserve.release(SIZE), "something else than space is missing"
    assert reserve.release(SIZE - 1)
    assert not file.exists()
    assert not reserve.release(0), "there is nothing left to give"


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    Reserve(tmp_path, 0).keep(1 << 40)
    assert list(tmp_path.iterdir()) == []
