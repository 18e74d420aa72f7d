"""The journal: what it says after any damage is something that it did say."""

import multiprocessing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.fetch.identity import Identity
from downloader.fetch.journal import Journal, Record, boot_id
from downloader.fetch.ranges import Ranges


def record(sequence: int, **options: object) -> Record:
    return Record(
        **{"sequence": sequence, "owner": 1, "boot": "b", "identity": Identity(9), "written": ((0, sequence),)}
        | options
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 70_000), st.binary(min_size=1, max_size=40)), max_size=4))
def test_damage_never_invents_anything(count: int, damage: list[tuple[int, bytes]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.journal"
        journal = Journal.create(path)
        written = [record(number) for number in range(1, count + 1)]
        for item in written:
            journal.write(item)
        journal.close()
        with path.open("r+b") as file:
            for offset, data in damage:
                file.seek(offset)
                file.write(data)
        found = Journal.take(path)
        assert found is not None
        assert found.record is None or found.record in written
        if not damage:
            assert found.record == written[-1]
        found.close()


def test_what_was_not_forced_to_disk_counts_only_under_the_same_kernel() -> None:
    claim = record(1, written=((0, 100),), synced=((0, 40),))
    assert claim.held("b") == Ranges([(0, 100)])
    assert claim.held("another") == Ranges([(0, 40)])
    assert record(1, boot="").held("") == Ranges()
    assert boot_id()


def test_too_torn_up_to_fit_keeps_the_longest_ranges(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "x.journal")
    pairs = tuple((at * 10_000_000_000, at * 10_000_000_000 + at + 1) for at in range(5000))
    journal.write(record(1, written=pairs, synced=pairs))
    journal.close()
    found = Journal.take(tmp_path / "x.journal")
    assert found is not None
    assert found.record is not None
    assert set(found.record.written) == set(pairs[-1000:])
    found.close()


def _hold(path: str, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event") -> None:
    journal = Journal.take(Path(path))
    assert journal is not None
    ready.set()
    done.wait(20)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    Journal.create(path).close()
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    process = spawn.Process(target=_hold, args=(str(path), ready, done), daemon=True)
    process.start()
    assert ready.wait(20)
    assert Journal.take(path) is None
    process.kill()
    process.join(20)
    found = Journal.take(path)
    assert found is not None
    found.close()
