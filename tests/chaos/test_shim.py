"""The library under a node does what it is told, and a power failure takes what was not synced and nothing else."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.clients import body
from chaos.machine.shim import SECTOR_BYTES, Disk, build, missing_for_shim, of_store

pytestmark = pytest.mark.skipif(bool(missing_for_shim()), reason=missing_for_shim())

SYNCED, LOST = b"s" * 4096, b"l" * 4096


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def disk(library: Path, tmp_path: Path) -> Disk:
    return Disk(library, of_store(tmp_path), tmp_path / "shim")


def python_on(disk: Disk, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose disk it is; `data` is a descriptor of it, `dsync` another one."""
    opened = (
        "import os, signal, time\n"
        f"data = os.open({str(disk.files[0])!r}, os.O_RDWR | os.O_CREAT)\n"
        f"dsync = os.open({str(disk.files[0])!r}, os.O_RDWR | os.O_DSYNC)\n"
    )
    command = [*disk.environment(), sys.executable, "-c", opened + program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def after_power_failures(disk: Disk) -> set[bytes]:
    """What may be left: the file's contents after many power failures of the same moment."""
    before = disk.files[0].read_bytes()
    found: set[bytes] = set()
    for seed in range(40):
        disk.files[0].write_bytes(before)
        disk.lose_power(random.Random(seed))
        found.add(disk.files[0].read_bytes())
    return found


def test_what_was_synced_survives_and_what_was_not_may_be_gone_sector_by_sector(disk: Disk) -> None:
    python_on(
        disk,
        f"os.pwrite(data, {SYNCED!r}, 0); os.fdatasync(data)\n"
        f"os.pwrite(data, {LOST!r}, 0); os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    assert disk.files[0].read_bytes() == LOST
    left = after_power_failures(disk)
    assert len(left) > 10
    for contents in left:
        sectors = {contents[at : at + SECTOR_BYTES] for at in range(0, len(contents), SECTOR_BYTES)}
        assert sectors <= {SYNCED[:SECTOR_BYTES], LOST[:SECTOR_BYTES]}


def test_nothing_is_lost_after_a_sync(disk: Disk) -> None:
    python_on(disk, f"os.pwrite(data, {SYNCED!r}, 0); os.fdatasync(data); os.kill(os.getpid(), signal.SIGKILL)\n")
    assert after_power_failures(disk) == {SYNCED}


def test_a_synchronous_write_is_there_when_it_returns_and_takes_nothing_else_with_it(disk: Disk) -> None:
    python_on(
        disk,
        f"os.pwrite(data, {SYNCED!r}, 0); os.pwrite(data, {SYNCED!r}, 4096); os.fdatasync(data)\n"
        f"os.pwrite(data, {LOST!r}, 0); os.pwrite(dsync, b'meta', 4096)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    left = after_power_failures(disk)
    assert len(left) > 10
    assert {contents[4096:4100] for contents in left} == {b"meta"}


def test_what_was_appended_and_not_synced_may_be_cut_off(disk: Disk) -> None:
    python_on(
        disk,
        f"os.pwrite(data, {SYNCED!r}, 0); os.fdatasync(data)\n"
        f"os.pwrite(data, {LOST!r}, 4096); os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    assert {len(contents) for contents in after_power_failures(disk)} == {4096, 8192}


def test_a_sync_is_for_its_file_alone(disk: Disk) -> None:
    journal = disk.files[1]
    python_on(
        disk,
        f"other = os.open({str(journal)!r}, os.O_RDWR | os.O_CREAT)\n"
        f"os.pwrite(data, {SYNCED!r}, 0); os.fdatasync(data); os.pwrite(other, {SYNCED!r}, 0); os.fdatasync(other)\n"
        f"os.pwrite(data, {LOST!r}, 0); os.pwrite(other, {LOST!r}, 0); os.fdatasync(other)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    assert disk.has_unsynced
    assert len(after_power_failures(disk)) > 10
    assert journal.read_bytes() == LOST


def test_a_machine_that_lost_power_was_started_anew(disk: Disk) -> None:
    program = "print(open('/proc/sys/kernel/random/boot_id').read().strip())\n"
    first, second = (python_on(disk, program).stdout for _ in range(2))
    disk.lose_power(random.Random(1))
    assert len({first, second}) == 1
    assert python_on(disk, program).stdout not in {first, "\n"}


def test_a_disk_fails_when_it_is_told_to(disk: Disk) -> None:
    disk.fail(errno.EIO)
    ended = python_on(disk, "os.pwrite(data, b'x', 0)\n")
    assert "Input/output error" in ended.stderr
    disk.fail(0)
    assert python_on(disk, "os.pwrite(data, b'x', 0); os.fsync(data)\n").returncode == 0


def test_a_slow_disk_takes_longer(disk: Disk) -> None:
    disk.slow(0.3)
    took = python_on(disk, "at = time.monotonic(); os.fdatasync(data); print(time.monotonic() - at)\n").stdout
    assert float(took) >= 0.3


def test_the_wall_clock_is_shifted_and_no_other(disk: Disk) -> None:
    disk.shift_clock(3600)
    program = "print(time.time(), time.clock_gettime(time.CLOCK_MONOTONIC))\n"
    wall, monotonic = [float(word) for word in python_on(disk, program).stdout.split()]
    assert wall == pytest.approx(time.time() + 3600, abs=60)
    assert monotonic == pytest.approx(time.monotonic(), abs=60)


def test_a_body_that_was_changed_anywhere_is_no_message() -> None:
    whole = body.make("p-1", 7, b"filling")
    assert body.is_intact(whole) == ("p-1", 7)
    for at in range(len(whole)):
        assert body.is_intact(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]) is None
