"""Outside witnesses: ffprobe reads what we made, Chromium plays it. Each is skipped where it is not installed."""

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from downloader.handoff import Media, Muxed
from tests.media import make_audio, make_video
from tests.mux.conftest import fetched

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PAGE = """<!doctype html><title>waiting</title><video id=v muted src="{name}"></video><script>
const v = document.getElementById("v");
const say = text => {{ document.body.append(text); document.title = text; fetch("/said/" + encodeURIComponent(text)); }};
v.onerror = () => say("error " + v.error.message);
v.ontimeupdate = () => {{ if (v.currentTime > 0.5) {{ v.ontimeupdate = null;
  say("played " + v.videoWidth + "x" + v.videoHeight + " " + v.duration.toFixed(1)); }} }};
v.play().catch(error => say("refused " + error));
</script>"""


@pytest.fixture
def made(mux: Callable[..., Muxed], tmp_path: Path) -> Callable[[str], Path]:
    def make(container: str) -> Path:
        webm = container == "webm"
        codec = "vp9" if webm else "h264-bframes"
        video = make_video(tmp_path / f"video.{container}", 4, (160, 90), codec=codec)
        audio = make_audio(tmp_path / ("audio.webm" if webm else "audio.m4a"), 4)
        media = Media(operation="copy", container=container, title="Witnessed")
        return tmp_path / mux(media, fetched(video, "video"), fetched(audio, "audio")).main.path

    return make


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe (Debian: ffmpeg) is not installed")
@pytest.mark.parametrize(("container", "codecs"), [("mp4", ["h264", "aac"]), ("webm", ["vp9", "opus"])])
def test_ffprobe_reads_it(made: Callable[[str], Path], *, container: str, codecs: list[str]) -> None:
    path = made(container)
    command = ["ffprobe", "-v", "warning", "-show_streams", "-show_format", "-count_packets", "-of", "json", str(path)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert [stream["codec_name"] for stream in found["streams"]] == codecs
    assert found["streams"][0]["nb_read_packets"] == "40"
    assert float(found["format"]["duration"]) == pytest.approx(4, abs=0.3)
    assert found["format"]["tags"]["title"] == "Witnessed"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg (Debian: ffmpeg) is not installed")
@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_ffmpeg_decodes_all_of_it(made: Callable[[str], Path], container: str) -> None:
    command = ["ffmpeg", "-v", "warning", "-nostdin", "-xerror", "-i", str(made(container)), "-f", "null", "-"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stderr == ""


class Site(http.server.ThreadingHTTPServer):
    """Serves a folder, and hears what its page says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.said: list[str] = []
        self.heard = threading.Event()


class Handler(http.server.SimpleHTTPRequestHandler):
    """One request."""

    server: Site

    def do_GET(self) -> None:
        if self.path.startswith("/said/"):
            self.server.said.append(self.path.removeprefix("/said/"))
            self.server.heard.set()
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium (Debian: chromium) is not installed")
@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_chromium_plays_it(made: Callable[[str], Path], site: Site, tmp_path: Path, container: str) -> None:
    path = made(container)
    (tmp_path / "page.html").write_text(PAGE.format(name=path.name))
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--autoplay-policy=no-user-gesture-required",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"http://127.0.0.1:{site.server_port}/page.html",
    ]

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        heard = site.heard.wait(30)
        browser.terminate()

    assert heard
    assert site.said[0].startswith("played%20160x90%204.")
