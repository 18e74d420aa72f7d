"""``make demo``: a film from a stand-in for TypeType-Server, through the whole service, onto this disk."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

COMMAND = [sys.executable, "-c", "from downloader.cli import main; main()"]
START_SECONDS = 120


def main(saved: Path) -> int:
    """Run the demo, emptying ``saved`` and saving there; 0 when a playable file stands at its end."""
    folder = Path(tempfile.mkdtemp(prefix="downloader-demo-"))
    try:
        with standin(folder) as found:
            print(f"A stand-in for TypeType-Server offers {found['source']}")
            port = free_port()
            with service(folder, found["base"], port):
                file = get(found["source"], f"http://127.0.0.1:{port}", saved)
        describe(file)
    except subprocess.CalledProcessError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


@contextmanager
def standin(folder: Path) -> Iterator[dict[str, str]]:
    """A running stand-in; gives what it says of itself."""
    command = [sys.executable, "-m", "tests.standin", "--port", "0", "--media", str(folder / "media")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line:
                raise subprocess.CalledProcessError(process.wait(), command)
            yield json.loads(line)
        finally:
            process.terminate()


@contextmanager
def service(folder: Path, base: str, port: int) -> Iterator[None]:
    """``downloader up`` on ``port`` with data in ``folder``, listening."""
    environment = os.environ | {
        "DATA_DIR": str(folder / "data"),
        "HTTP_ADDR": "127.0.0.1",
        "HTTP_PORT": str(port),
        "TYPETYPE_API_BASE": base,
        "MEDIA_ALLOW_NETWORKS": "127.0.0.0/8",
        "STORAGE_MIN_FREE_BYTES": "0",
        "STORAGE_MIN_FREE_PERCENT": "0",
        "LOG_LEVEL": "warning",
    }
    for name in ("DATABASE_URL", "DB_URL", "REDIS_URL", "REDIS_ADDR", "REDIS_HOST", "STORAGE_BACKEND", "S3_ENDPOINT"):
        environment.pop(name, None)
    command = [*COMMAND, "up"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line:
                raise subprocess.CalledProcessError(process.wait(START_SECONDS), "downloader up")
            print(line, end="", flush=True)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(60):
                raise subprocess.CalledProcessError(process.returncode, "downloader up")
    print("The service has ended.")


def get(source: str, server: str, saved: Path) -> Path:
    """Download ``source`` with the command; the file."""
    shutil.rmtree(saved, ignore_errors=True)
    saved.mkdir()
    command = [*COMMAND, "get", "--server", server, "--output", str(saved), source]
    print(f"downloader get {source}", flush=True)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip()).absolute()


def describe(file: Path) -> None:
    """Print where the file lies and what is in it; every packet is read, so a broken one is noticed."""
    with av.open(str(file), format="mov,mp4,m4a,3gp,3g2,mj2") as media:
        seconds = media.duration / av.time_base
        packets = sum(1 for packet in media.demux() if packet.size)
        print(f"\n{file}\n  {file.stat().st_size:,} bytes, {seconds:.1f} s, {packets} packets")
        for stream in media.streams.video:
            print(f"  picture: {stream.codec_context.name} {stream.width}x{stream.height}")
        for stream in media.streams.audio:
            print(f"  sound: {stream.codec_context.name} {stream.sample_rate} Hz")
        if chapters := media.chapters():
            print(f"  {len(chapters)} chapters")


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
