"""``downloader get``: post a job, follow it, save the artifact."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import urllib3
from urllib3.exceptions import HTTPError

from downloader.cli import client, show
from downloader.cli.client import Refused, Service, Unreachable

PIECE_BYTES = 1 << 20

EPILOG = """\b
Examples:
  downloader get https://www.youtube.com/watch?v=dQw4w9WgXcQ
  downloader get --height 720 --container webm -o film.webm URL
  downloader get --mode audio --format mp3 URL
  downloader get --subtitles en,de --subtitle-format srt URL

\b
Exit status: 0 saved, 1 failed (the sentence says why), 2 wrong use, 130 cancelled by Ctrl-C.
"""


@click.command(epilog=EPILOG)
@click.argument("url")
@client.server_option("The service to use.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file to write, or a folder to save into.")
@click.option("--mode", type=click.Choice(["video", "audio", "thumbnail"]), help="What to make of it [video].")
@click.option("--quality", help="best, balanced, small, or a height such as 720p.")
@click.option("--height", type=int, help="The greatest height in pixels [1080].")
@click.option("--fps", type=int, help="Frames per second to come near to.")
@click.option("--container", help="mp4, webm, mkv …")
@click.option("--format", help="The output's format, such as mp3.")
@click.option("--video-itag", type=int, help="This very video stream.")
@click.option("--audio-itag", type=int, help="This very audio stream.")
@click.option("--video-codec", help="h264, h265, vp9, av1.")
@click.option("--audio-codec", help="aac, opus.")
@click.option("--bitrate", type=int, help="The audio's greatest bitrate, in bits per second.")
@click.option("--exact", "allow_quality_fallback", flag_value=False, default=None, help="Take nothing but what I name.")
@click.option("--sponsorblock", "sponsor_block", is_flag=True, default=None, help="Cut out sponsored segments.")
@click.option("--subtitles", help="Languages, separated by commas, or all; saved beside the file.")
@click.option("--subtitle-format", type=click.Choice(["srt", "vtt"]), help="The subtitles' format [vtt].")
@click.option("--detach", is_flag=True, help="Print the job's id and leave it to itself.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def get(url: str, server: str, output: Path | None, *, detach: bool, quiet: bool, **wishes: Any) -> None:
    """Download URL through a running service and save the file under its name, subtitles beside it.

    Prints the path of each file. Ctrl-C cancels the job.
    """
    service = Service(server)
    try:
        posted = service.post(url, _options(wishes))
        if detach:
            click.echo(posted["id"])
            return
        job = _follow(service, posted["id"], quiet=quiet)
        for path in _save(service, job, output, quiet=quiet):
            click.echo(path)
    except Unreachable as error:
        raise click.ClickException(str(error)) from error
    except Refused as error:
        raise click.ClickException(f"{error} ({error.code})") from error
    for warning in job.get("warnings", ()):
        click.echo(f"Note: {warning}", err=True)


def _options(wishes: dict[str, Any]) -> dict[str, Any]:
    """The options of the job as the interface spells them; what was not asked for is left out."""
    languages, form = wishes.pop("subtitles"), wishes.pop("subtitle_format")
    options = {_camel(name): value for name, value in wishes.items() if value is not None}
    if languages:
        named = [] if languages == "all" else [word.strip() for word in languages.split(",") if word.strip()]
        options["subtitles"] = {"enabled": True, "languages": named, **({"format": form} if form else {})}
    return options


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _follow(service: Service, job_id: str, *, quiet: bool) -> client.Job:
    """The job, done; Ctrl-C cancels it and exits with 130. Raises Refused when it failed, Unreachable."""
    job: client.Job = {}
    try:
        with show.progress(quiet=quiet) as bar:
            for job in service.follow(job_id):
                bar.job(job)
    except KeyboardInterrupt:
        try:
            service.cancel(job_id)
            click.echo("Cancelled.", err=True)
        except (Refused, Unreachable) as error:
            click.echo(f"Not cancelled: {error}", err=True)
        sys.exit(130)
    if job["status"] == "failed":
        raise Refused(job.get("error") or "The job failed.", job.get("errorCode", "download_failed"))
    return job


def _save(service: Service, job: client.Job, output: Path | None, *, quiet: bool) -> Iterator[Path]:
    """Save the artifact and, beside it, the job's other files under their own names. Raises Refused, Unreachable."""
    target = _target(job, output)
    yield _stream(service.artifact(job["id"]), target, quiet=quiet)
    for each in job.get("sidecars", ()):
        yield _stream(service.sidecar(job["id"], each["name"]), _free(target.parent, each["name"]), quiet=quiet)


def _stream(response: urllib3.BaseHTTPResponse, target: Path, *, quiet: bool) -> Path:
    """Write beside ``target``, then rename: what stands there is whole. Raises Refused."""
    part = target.with_name(f".{target.name[:200]}.part")
    try:
        with response, part.open("wb") as file, show.progress(quiet=quiet) as bar:
            total = int(response.headers.get("Content-Length", 0))
            for piece in response.stream(PIECE_BYTES, decode_content=False):
                file.write(piece)
                bar.saving(file.tell(), total)
        part.replace(target)
    except (HTTPError, OSError) as error:
        raise Refused(f"The file could not be saved as {target}: {error}", "not_saved") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _target(job: client.Job, output: Path | None) -> Path:
    """Where to save: ``output`` as a file, or the artifact's own name in a folder."""
    if output is not None and not output.is_dir():
        return output
    return _free(output or Path(), job.get("resolved", {}).get("fileName") or job["id"])


def _free(folder: Path, name: str) -> Path:
    """``name`` in ``folder``, made safe, and numbered where it is taken."""
    name = _safe(name)
    target = folder / name
    number = 2
    while target.exists():
        target = folder / f"{Path(name).stem} ({number}){Path(name).suffix}"
        number += 1
    return target


def _safe(name: str) -> str:
    """``name`` without anything that could lead out of the folder or into a terminal's control codes."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f/\\]", "_", name).lstrip(".") or "download"
