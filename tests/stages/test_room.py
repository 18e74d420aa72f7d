"""Disk that jobs set aside: each byte counts once, wherever it is just now."""

from dataclasses import replace

import pytest

from downloader import disk, room
from downloader.errors import InsufficientStorage, LeaseLost, NoRoomYet
from stages.room import PATIENCE_SECONDS, Room
from tests.stages.driving import claim, finish

MIB = 1 << 20


class Volume:
    """A volume of 100 MiB, 20 of which must stay free, and the jobs that write to it."""

    def __init__(self, house):
        self.house = house
        self.free = 100 * MIB
        self.settings = replace(house.settings, storage_min_free_bytes=20 * MIB)
        self.room = Room(self.settings, house.store)

    def space(self, _path):
        return disk.DiskSpace(100 * MIB, self.free)

    def at_fetch(self, key):
        job_id = self.house.post(key)
        finish(self.house.store, claim(self.house.store, job_id))
        return claim(self.house.store, job_id, "fetch", worker=f"w/{key}")

    def reserve(self, held, mib):
        self.room.reserve(held, mib * MIB)

    def write(self, held, mib):
        folder = self.settings.jobs_dir / held.job.id / "tracks"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{len(list(folder.iterdir()))}").write_bytes(bytes(mib * MIB))
        self.free -= mib * MIB


@pytest.fixture
def volume(house, monkeypatch):
    made = Volume(house)
    monkeypatch.setattr(disk, "free", made.space)
    return made


def test_a_download_that_is_resumed_needs_only_the_rest(house, volume):
    first = volume.at_fetch("a")
    volume.reserve(first, 60)
    volume.write(first, 50)
    house.store.give_back(first)
    volume.reserve(claim(house.store, first.job.id, "fetch"), 60)


def test_what_others_have_written_is_not_counted_a_second_time(volume):
    first, second = volume.at_fetch("a"), volume.at_fetch("b")
    volume.reserve(first, 50)
    volume.write(first, 40)
    with pytest.raises(NoRoomYet, match=f"other jobs will write {10 * MIB} "):
        volume.reserve(second, 31)
    volume.reserve(second, 30)


def test_what_would_fit_once_others_have_ended_waits(volume):
    first, second = volume.at_fetch("a"), volume.at_fetch("b")
    volume.reserve(first, 50)
    volume.write(first, 40)
    with pytest.raises(NoRoomYet):
        volume.reserve(second, 80)
    with pytest.raises(InsufficientStorage) as raised:
        volume.reserve(second, 81)
    assert (raised.value.free, raised.value.required) == (60 * MIB, 101 * MIB)


def test_what_is_just_being_removed_is_waited_for(house, volume):
    """The folder of a job that has ended goes a moment after its reservation."""
    first, second = volume.at_fetch("a"), volume.at_fetch("b")
    volume.reserve(first, 50)
    volume.write(first, 40)
    house.store.cancel(first.job.id)
    (volume.settings.jobs_dir / first.job.id).rename(volume.settings.jobs_dir / f".{first.job.id}.0badcafe")
    with pytest.raises(NoRoomYet):
        volume.reserve(second, 80)


def test_what_an_artifact_shares_does_not_go_with_its_job(volume):
    first, second = volume.at_fetch("a"), volume.at_fetch("b")
    volume.reserve(first, 40)
    volume.write(first, 40)
    (volume.settings.data_dir / "artifact").hardlink_to(volume.settings.jobs_dir / first.job.id / "tracks" / "0")
    with pytest.raises(InsufficientStorage):
        volume.reserve(second, 80)


def test_one_that_waits_behind_another_says_so(house, volume):
    small, big, late = (volume.at_fetch(key) for key in ("small", "big", "late"))
    volume.reserve(small, 20)
    with pytest.raises(NoRoomYet):
        volume.reserve(big, 70)
    house.store.db.rows(
        "UPDATE downloader_reservations SET since = since - %(s)s * interval '1 second' RETURNING 1",
        {"s": PATIENCE_SECONDS + 1},
    )
    with pytest.raises(NoRoomYet, match="behind a job that has waited longer"):
        volume.reserve(late, 20)


def test_a_job_of_unknown_size_takes_no_place_in_line(house, volume):
    held = volume.at_fetch("a")
    volume.reserve(held, 0)
    assert list(house.store.reserved(room.volume_id(volume.settings.data_dir))) == [held.job.id]


def test_a_claim_that_was_lost_sets_nothing_aside(house, volume):
    held = volume.at_fetch("a")
    house.store.give_back(held)
    for mib in (1, 1000):
        with pytest.raises(LeaseLost):
            volume.reserve(held, mib)
