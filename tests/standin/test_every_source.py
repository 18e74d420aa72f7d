"""Every kind of source through the whole service: what is asked for is what comes out, or one clear code."""

import io

import av
import pytest

from tests.service import Service, StandIn
from tests.waiting import until


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    made = StandIn(tmp_path_factory.getbasetemp().parent / "media")
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory, standin):
    with Service(tmp_path_factory.mktemp("service"), base=standin.base) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "options", "suffix", "codecs", "seconds"),
    [
        ("short", {}, ".mp4", ["h264", "aac"], 5),
        ("short", {"container": "mkv"}, ".mkv", ["h264", "aac"], 5),
        ("dual", {}, ".mp4", ["h264", "aac"], 5),
        ("webm", {"container": "webm"}, ".webm", ["vp9", "opus"], 5),
        ("webm", {}, ".mp4", ["vp9", "opus"], 5),
        ("whole", {}, ".mp4", ["h264", "aac"], 10),
        ("whole", {"mode": "audio"}, ".m4a", ["aac"], 10),
        ("sound", {}, ".m4a", ["aac"], 5),
        ("sound", {"mode": "audio", "format": "opus"}, ".opus", ["opus"], 5),
        ("sound", {"mode": "audio", "format": "mp3"}, ".mp3", ["mp3float"], 5),
        ("sound", {"mode": "audio", "audioPassthrough": True, "audioCodec": "opus"}, ".webm", ["opus"], 5),
        ("mp3", {"mode": "audio"}, ".mp3", ["mp3float"], 5),
        ("sabr", {}, ".mp4", ["h264", "aac"], 60),
        ("sabr", {"mode": "audio"}, ".m4a", ["aac"], 60),
        ("hls", {}, ".mp4", ["h264", "aac"], 10),
        ("hls-ts", {}, ".mp4", ["h264", "aac"], 10),
        ("hls-master", {"height": 720}, ".mp4", ["h264", "aac"], 10),
        ("hls-split", {}, ".mp4", ["h264", "aac"], 5),
        ("hls-split", {"mode": "audio"}, ".m4a", ["aac"], 5),
        ("lengthless", {}, ".mp4", ["h264", "aac"], 5),
        ("refused", {}, ".mp4", ["h264", "aac"], 5),
        ("silent", {}, ".mp4", ["h264"], 5),
        ("long", {}, ".mp4", ["h264", "aac"], 5),
        ("flaky", {}, ".mp4", ["h264", "aac"], 5),
        ("demo", {"sponsorBlock": True}, ".mp4", ["h264", "aac", "mjpeg"], 55),
    ],
)
def test_a_source_becomes_the_file_that_was_asked_for(service, standin, name, options, suffix, codecs, seconds):  # noqa: PLR0917 - a table
    job_id = service.post(standin.source(name), **options)
    job = service.ended(job_id)
    assert job["status"] == "done", job.get("error")
    assert job["resolved"]["fileName"].endswith(suffix)
    artifact = service.request("GET", f"/jobs/{job_id}/artifact")
    with av.open(io.BytesIO(artifact.data)) as media:
        assert [stream.codec_context.name for stream in media.streams if stream.codec_context] == codecs
        assert media.duration / av.time_base == pytest.approx(seconds, abs=0.5)


def test_a_thumbnail_becomes_a_jpg(service, standin):
    job_id = service.post(standin.source("picture"), mode="thumbnail")
    assert service.ended(job_id)["status"] == "done"
    assert service.request("GET", f"/jobs/{job_id}/artifact").data.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("empty", "no_stream", "The source offers no streams."),
        ("picture", "no_stream", "The source offers no streams."),
        ("wild", "extraction_failed", "unexpected shape"),
        ("broken", "extraction_failed", "not JSON"),
        ("forbidden", "extraction_failed", "This video is private."),
        ("signin", "extraction_failed", "Sign in to confirm your age."),
        ("nowhere", "extraction_failed", "There is no such source."),
    ],
)
def test_a_source_that_cannot_be_had_ends_with_its_code(service, standin, name, code, sentence):
    job = service.ended(service.post(standin.source(name)))
    assert (job["status"], job["errorCode"]) == ("failed", code)
    assert sentence in job["error"]
    assert "artifactUrl" not in job
    until(lambda: not (service.data / "jobs" / job["id"]).exists())  # removed right behind the last commit
