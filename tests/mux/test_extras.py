"""Subtitles, chapters, tags, covers and thumbnails, in every container that can hold them."""

import struct
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import MediaInvalid
from downloader.handoff import Chapter, FetchedTrack, Media, Muxed
from downloader.mux import cues
from downloader.mux.cues import Cue
from downloader.mux.languages import three_letters
from downloader.mux.sink import tags
from tests.media import make_audio, make_image, make_muxed, make_video
from tests.mux.conftest import fetched
from tests.mux.packets import opened

VTT = "WEBVTT\n\n00:01.000 --> 00:02.000 align:start\n<c.x>One</c> &amp; <b>two</b>\n\n00:03.000 --> 00:04.500\nThree\nfour\n"
SRT = "\ufeff1\n00:00:01,000 --> 00:00:02,000\nOne & <i>two</i>\n\n2\n00:00:03,000 --> 00:00:04,500\nThree\nfour\n"
TTML = (
    '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter"'
    ' ttp:tickRate="1000"><body><div><p begin="00:00:01.000" end="2000t">One &amp; <span>two</span></p>'
    '<p begin="3s" dur="1500ms">Three<br/>four</p></div></body></tt>'
)
SRV1 = '<transcript><text start="1" dur="1">One &amp;amp; two</text><text start="3" dur="1.5">Three\nfour</text></transcript>'
SRV2 = '<timedtext><text t="1000" d="1000">One &amp; two</text><text t="3000" d="1500">Three\nfour</text></timedtext>'
SRV3 = (
    '<timedtext format="3"><body><p t="1000" d="1000"><s>One &amp;</s><s> two</s></p>'
    '<p t="3000" d="1500">Three<br/>four</p></body></timedtext>'
)
CUES = [Cue(1000, 2000, "One & two"), Cue(3000, 4500, "Three\nfour")]


def subtitle(path: Path, text: str = VTT, **fields: Any) -> FetchedTrack:
    path.write_text(text)
    return fetched(path, "subtitle", **{"language": "en", "title": "English", **fields})


@pytest.mark.parametrize("text", [VTT, SRT, TTML, SRV1, SRV2, SRV3], ids=["vtt", "srt", "ttml", "1", "2", "3"])
def test_every_kind_of_subtitles_is_read(text: str) -> None:
    assert cues.read(text.encode()) == CUES


def test_words_in_many_elements_are_read() -> None:
    depth = 5000
    words = f"{'<span>' * depth}Hello{'</span>' * depth}<br/>there"
    assert cues.read(f'<tt><p begin="1s" end="2s">{words}</p></tt>'.encode()) == [Cue(1000, 2000, "Hello\nthere")]


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm", "mp3"])
@pytest.mark.parametrize("end", ["00:12.000", "99999999:02:00.000"])
def test_no_cue_lasts_beyond_the_media(mux: Callable[..., Muxed], tmp_path: Path, container: str, end: str) -> None:
    text = f"WEBVTT\n\n00:00.500 --> 00:01.000\nin\n\n00:01.500 --> {end}\nlong\n\n00:09.000 --> {end}\nbeyond\n"
    suffix = {"webm": ".webm", "mp3": ".mp3"}.get(container, ".m4a")
    tracks = [fetched(make_audio(tmp_path / f"a{suffix}", 3), "audio"), subtitle(tmp_path / "en.vtt", text)]
    if container != "mp3":
        tracks.append(
            fetched(make_video(tmp_path / ("v.webm" if container == "webm" else "v.mp4"), 3, (64, 64)), "video")
        )

    made = mux(Media(operation="copy", container=container, subtitles="embed"), *tracks)

    assert made.duration_ms == pytest.approx(3000, abs=100)
    if container == "mp3":
        found = cues.read((tmp_path / made.sidecars[0].path).read_bytes())
        assert [(cue.start, cue.text) for cue in found] == [(500, "in"), (1500, "long")]
        assert found[-1].end == pytest.approx(3000, abs=100)


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_what_is_written_reads_the_same(kind: Any) -> None:
    assert cues.read(cues.written(CUES, kind).encode()) == CUES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff",
        b"<html><body>404</body></html>",
        b"<tt><p begin='x' end='y'/></tt>",
        b"<tt frameRate='0'><p begin='1f' end='2f'>x</p></tt>",
        b"<tt tickRate='0'><p begin='1t' end='2t'>x</p></tt>",
        b"<tt",
        b'<!DOCTYPE a [<!ENTITY b "' + b"b" * 9999 + b'">]><transcript>' + b"&b;" * 9999 + b"</transcript>",
    ],
)
def test_what_is_no_subtitles_is_refused(data: bytes) -> None:
    with pytest.raises(MediaInvalid):
        cues.read(data)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: f"WEBVTT\n\n{text}".encode())))
def test_no_subtitles_break_the_reader(data: bytes) -> None:
    try:
        found = cues.read(data)
    except MediaInvalid:
        return
    assert all(before.end <= after.start for before, after in pairwise(found))


@given(st.lists(st.builds(Cue, st.integers(-9, 99), st.integers(-9, 99), st.text(max_size=5)), max_size=20))
def test_tidied_cues_never_overlap(found: list[Cue]) -> None:
    tidy = cues.tidied(found)

    assert all(cue.end > cue.start >= 0 and cue.text for cue in tidy)
    assert all(before.end <= after.start for before, after in pairwise(tidy))


@pytest.mark.parametrize(
    ("container", "kind", "codec", "language"),
    [
        ("mp4", None, "mov_text", "eng"),
        ("webm", None, "webvtt", "eng"),
        ("mkv", "srt", "subrip", "eng"),
        ("mkv", "vtt", "webvtt", "eng"),
    ],
)
def test_subtitles_are_embedded(
    mux: Callable[..., Muxed], tmp_path: Path, *, container: str, kind: Any, codec: str, language: str
) -> None:
    source = make_muxed(tmp_path / ("m.webm" if container == "webm" else "m.mp4"), 6, (64, 64))
    media = Media(operation="copy", container=container, subtitles="embed", subtitle_format=kind)

    made = mux(media, fetched(source, "muxed"), subtitle(tmp_path / "sub.vtt"))

    assert made.sidecars == ()
    with opened(tmp_path / made.main.path) as output:
        stream = output.streams.subtitles[0]
        assert stream.codec_context.codec.canonical_name == codec
        assert stream.metadata["language"] == language
        assert "English" in (stream.metadata.get("title"), stream.metadata.get("handler_name"))
        shown = [(float(p.pts * p.time_base), bytes(p)) for p in output.demux(stream) if p.size > 2]
    assert [start for start, _ in shown] == pytest.approx([1.0, 3.0], abs=0.03)  # after the sound's priming
    assert b"One &" in shown[0][1]
    assert b"Three\nfour" in shown[1][1]


def test_subtitles_lie_beside_the_file(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_muxed(tmp_path / "m.mp4", 6, (64, 64))
    media = Media(operation="copy", container="mp4", title="A: film", subtitles="sidecar")

    made = mux(
        media,
        fetched(source, "muxed"),
        subtitle(tmp_path / "sub0.vtt", SRT),
        subtitle(tmp_path / "sub1.vtt", TTML, language="pt-BR", auto_generated=True),
        subtitle(tmp_path / "sub2.vtt", TTML, language="../x\r\n"),
    )

    assert [sidecar.name for sidecar in made.sidecars] == [
        "A- film.en.vtt",
        "A- film.pt-BR-auto.vtt",
        "A- film.x.vtt",
    ]
    assert {sidecar.content_type for sidecar in made.sidecars} == {"text/vtt"}
    assert all(cues.read((tmp_path / sidecar.path).read_bytes()) == CUES for sidecar in made.sidecars)


def test_what_cannot_hold_subtitles_has_them_beside_it_and_says_so(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_audio(tmp_path / "a.m4a", 6)
    media = Media(operation="copy", container="m4a", subtitles="embed", subtitle_format="srt")

    made = mux(media, fetched(source, "audio"), subtitle(tmp_path / "sub.vtt"))

    assert [sidecar.name for sidecar in made.sidecars] == ["download.en.srt"]
    assert made.warnings == ("m4a holds no subtitles; they lie beside the file.",)


def test_extras_that_cannot_be_read_are_warnings(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_muxed(tmp_path / "m.mp4", 3, (64, 64))
    (tmp_path / "cover.jpg").write_bytes(b"<html>not found</html>")
    media = Media(operation="copy", container="mp4", subtitles="embed")

    made = mux(
        media,
        fetched(source, "muxed"),
        subtitle(tmp_path / "sub.vtt", "<html></html>"),
        fetched(tmp_path / "cover.jpg", "image"),
    )

    assert made.warnings == (
        "Left out, because unreadable: the subtitles in 'en'.",
        "Left out, because unreadable: the cover art.",
    )


def test_a_cover_too_wide_for_jpeg_is_a_warning(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 66_000, 2, 8, 0, 0, 0, 0)  # grey, 8 bits
    rows = zlib.compress(bytes(2 * 66_001))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "cover.png").write_bytes(png)

    made = mux(
        Media(operation="copy", container="mp4"),
        fetched(make_muxed(tmp_path / "m.mp4", 3, (64, 64)), "muxed"),
        fetched(tmp_path / "cover.png", "image"),
    )

    assert made.warnings == ("Left out, because unreadable: the cover art.",)


TITLE, ARTIST = "A “film” · 映画", "Somebody"


@pytest.mark.parametrize("container", ["mp4", "m4a", "mkv", "webm", "ogg", "opus", "mp3", "flac"])
def test_tags_chapters_and_cover(mux: Callable[..., Muxed], tmp_path: Path, container: str) -> None:
    codec = {"mp4": "aac", "m4a": "aac", "mp3": "mp3", "flac": "flac"}.get(container, "opus")
    source = make_audio(
        tmp_path / ("a.m4a" if codec in ("aac", "flac") else "a.mp3" if codec == "mp3" else "a.webm"), 6
    )
    cover = make_image(tmp_path / "cover.webp")
    media = Media(
        operation="transcode" if codec == "flac" else "copy",
        audio_codec=codec,
        container=container,
        title=TITLE,
        artist=ARTIST,
        date="2024-05-06",
        description="What it\nis about",
        source_url="https://media.test/watch?v=1",
        chapters=(Chapter(title="First", start=0), Chapter(title="Second", start=2.5)),
    )

    made = mux(media, fetched(source, "audio"), fetched(cover, "image"))

    with opened(tmp_path / made.main.path) as output:
        metadata = {k.lower(): v for k, v in {**output.metadata, **output.streams.audio[0].metadata}.items()}
        chapters = [(c["metadata"]["title"], float(c["start"] * c["time_base"])) for c in output.chapters()]
        covers = [s.codec_context.codec.name for s in output.streams.video]
        attachments = [s.metadata["filename"] for s in output.streams.attachments]
    assert metadata["title"] == TITLE
    assert metadata["artist"] == ARTIST
    assert metadata["date"] == "2024-05-06"
    assert "https://media.test/watch?v=1" in metadata["comment"]
    # Vorbis comments know no difference between a comment and a description.
    assert "What it\nis about" in metadata.get("description", metadata["comment"])
    assert chapters == [("First", 0), ("Second", 2.5)]
    assert bool(covers or attachments) == (container != "webm")


def test_wav_holds_what_it_can_and_the_rest_is_named(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    media = Media(
        operation="transcode",
        audio_codec="pcm_s16le",
        container="wav",
        title=TITLE,
        artist=ARTIST,
        date="2024-05-06",
        source_url="https://media.test/watch?v=1",
        chapters=(Chapter(title="First", start=0), Chapter(title="Second", start=2.5)),
    )

    made = mux(media, fetched(make_audio(tmp_path / "a.m4a", 6), "audio"))

    with opened(tmp_path / made.main.path) as output:
        found = dict(output.metadata)
    assert found == {
        "title": TITLE,
        "artist": ARTIST,
        "date": "2024-05-06",
        "comment": "https://media.test/watch?v=1",
    }
    assert made.warnings == ("wav holds no chapters.",)


def test_tags_hold_no_control_characters_and_have_bounds() -> None:
    found = tags(
        Media(operation="copy", container="mp4", title="a\x00b\x1b[31m\r\nc\ud800" + "x" * 9999, artist="\x07")
    )

    assert found == {"title": ("ab[31m\nc" + "x" * 9999)[:4096]}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_thumbnail_is_a_jpeg(mux: Callable[..., Muxed], tmp_path: Path, suffix: str) -> None:
    image = make_image(tmp_path / f"image{suffix}")

    made = mux(Media(operation="image", container="jpg", title="Still"), fetched(image, "image"))

    data = (tmp_path / made.main.path).read_bytes()
    assert (made.main.name, made.main.content_type, made.duration_ms) == ("Still.jpg", "image/jpeg", None)
    assert data.startswith(b"\xff\xd8\xff")
    if suffix == ".jpg":
        assert data == image.read_bytes()


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"RIFF\0\0\0\0WEBP"]
)
def test_a_thumbnail_that_is_none_is_an_error(mux: Callable[..., Muxed], tmp_path: Path, data: bytes) -> None:
    (tmp_path / "image.jpg").write_bytes(data)

    with pytest.raises(MediaInvalid):
        mux(Media(operation="image", container="jpg"), fetched(tmp_path / "image.jpg", "image"))


@pytest.mark.parametrize(
    ("tag", "code"), [("en", "eng"), ("en-US", "eng"), ("pt_BR", "por"), ("fil", "fil"), ("x", "und"), (None, "und")]
)
def test_languages_have_three_letters(tag: str | None, code: str) -> None:
    assert three_letters(tag) == code
