"""What a client asks for in options, as it comes out of the whole service."""

import io
from itertools import pairwise

import av
import pytest


@pytest.fixture
def made(service, standin):
    """A job of these options, ended well, and its artifact's bytes."""

    def make(source="demo", **options):
        job = service.ended(service.post(standin.source(source, options=1), **options))
        assert job["status"] == "done", job
        return job, service.request("GET", f"/jobs/{job['id']}/artifact").data

    return make


def test_subtitles_lie_beside_the_file_and_are_served(made, service):
    job, _ = made(subtitles={"enabled": True, "languages": ["en", "de", "xx"], "format": "srt"})

    assert [sidecar["name"] for sidecar in job["sidecars"]] == [
        "Sixty seconds of a moving gradient.en-US.srt",
        "Sixty seconds of a moving gradient.de.srt",
    ]
    for sidecar in job["sidecars"]:
        answer = service.request("GET", sidecar["url"])
        assert answer.status == 200
        assert b"-->" in answer.data
        assert answer.data.startswith(b"1\n00:00:")
    assert job["warnings"] == ["Subtitles in 'xx' are not offered."]


def test_subtitles_chapters_tags_and_cover_are_in_the_file(made):
    _, data = made(container="mp4", height=360, subtitles={"enabled": True, "embed": True, "languages": ["en"]})

    with av.open(io.BytesIO(data)) as media:
        (subtitle,) = media.streams.subtitles
        chapters = [(c["metadata"]["title"], round(c["start"] * c["time_base"])) for c in media.chapters()]
        assert (subtitle.codec_context.name, subtitle.metadata["language"]) == ("mov_text", "eng")
        assert chapters == [("Beginning", 0), ("Middle", 20), ("End", 40)]
        assert media.metadata["title"] == "Sixty seconds of a moving gradient"
        assert media.metadata["artist"] == "The stand-in"
        assert media.metadata["date"] == "2026-01-02"
        assert "options=1" in media.metadata["comment"]
        assert media.metadata["description"].startswith("Made for the demo.")
        assert [stream.codec_context.name for stream in media.streams.video] == ["h264", "mjpeg"]


def test_sponsors_are_left_out_and_the_rest_moves_up(made):
    job, data = made(height=360, sponsorBlock=True, sponsorBlockCategories=["sponsor", "intro"])

    assert job["durationMs"] == pytest.approx(54_000, abs=1500)
    with av.open(io.BytesIO(data)) as media:
        starts = [float(c["start"] * c["time_base"]) for c in media.chapters()]
        times = [float(frame.pts * frame.time_base) for frame in media.decode(video=0)]
    assert starts == pytest.approx([0, 15, 34], abs=1.1)
    assert times[0] == pytest.approx(0, abs=0.2)
    assert max(after - before for before, after in pairwise(times)) < 0.25


def test_sound_alone_is_converted_when_asked_by_name(made):
    job, data = made(mode="audio", format="mp3", bitrate=96_000)

    assert job["resolved"]["fileName"].endswith(".mp3")
    with av.open(io.BytesIO(data)) as media:
        assert media.streams.audio[0].codec_context.name.startswith("mp3")
        assert media.streams.audio[0].codec_context.bit_rate == 96_000
        assert media.duration / av.time_base == pytest.approx(60, abs=0.5)


def test_a_thumbnail_is_the_artifact(made):
    job, data = made(mode="thumbnail")

    assert job["resolved"]["fileName"] == "Sixty seconds of a moving gradient.jpg"
    assert data.startswith(b"\xff\xd8\xff")
