"""The output check: what does not open, lacks a stream or is of another length does not count."""

from pathlib import Path

import pytest

from downloader.errors import MediaInvalid
from downloader.mux import check, formats
from tests.media import make_muxed

MP4 = formats.CONTAINERS["mp4"]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_muxed(tmp_path / "m.mp4", 5, (64, 64))


def test_a_good_file_says_its_length(made: Path) -> None:
    assert check.checked(made, MP4, picture=True, sound=True, seconds=5.5) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize(("picture", "sound"), [(True, False), (False, True)])
def test_the_streams_are_the_expected_ones(made: Path, *, picture: bool, sound: bool) -> None:
    with pytest.raises(MediaInvalid, match="expected streams"):
        check.checked(made, MP4, picture=picture, sound=sound, seconds=5)


@pytest.mark.parametrize("seconds", [3.9, 6.2])
def test_a_length_that_is_off_by_more_than_a_second_is_refused(made: Path, seconds: float) -> None:
    with pytest.raises(MediaInvalid, match=r"5\.\d s long instead of"):
        check.checked(made, MP4, picture=True, sound=True, seconds=seconds)


@pytest.mark.parametrize("content", [b"", b"not a film", bytes(4096)])
def test_what_does_not_open_is_refused(made: Path, content: bytes) -> None:
    made.write_bytes(content)

    with pytest.raises(MediaInvalid, match="does not open"):
        check.checked(made, MP4, picture=True, sound=True, seconds=5)


@pytest.mark.parametrize(("seconds", "off"), [(0, 1), (50, 1), (100, 1), (3600, 36)])
def test_how_far_a_length_may_be_off(seconds: float, off: float) -> None:
    assert check.tolerance(seconds) == off


@pytest.mark.parametrize(
    ("seconds", "promised", "said"), [(100, 0, 0), (100, 100.9, 0), (3600, 3630, 0), (100, 102, 1)]
)
def test_a_length_that_was_not_promised_is_said(seconds: float, promised: float, said: int) -> None:
    assert len(check.compared(seconds, promised)) == said


def test_a_length_beyond_reason_is_refused() -> None:
    with pytest.raises(MediaInvalid, match="1000 s long instead of 10 s"):
        check.compared(1000, 10)
