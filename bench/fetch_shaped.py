"""A line of 100 Mbit/s and 1 Gbit/s with a round trip of 50 ms, clean and losing 0.1 %: ours beside its peers.

``python -m bench.fetch_shaped [--rounds N] [--line NAME]... [--seconds N] [--congestion NAME]``, as root. The line
is ``bench/shaper.py`` between two network namespaces: the client's, where everything but the server runs, and nginx's.
All of it lives in a process namespace whose first process this becomes: when it ends, even killed, nothing is left.

Payload rate: the line counts IP packets, and each full one of 1,500 bytes brings 1,448 (20 of IP, 32 of TCP with
timestamps), so 96.5 Mbit/s of 100. The server's congestion control is BBR, as with the large video hosts; with CUBIC a
connection cannot exceed about 9 Mbit/s on such a lossy line, whoever asks (see ``--congestion``).
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.fetch_rig import MIB, ROOT, Run, aria2c, curl, goal, median, need, nginx, ours, peer, rounds, table

CLIENT, SERVER = "10.77.0.1", "10.77.0.2"
DELAY = 0.025  # seconds, one way
PAYLOAD = 1448 / 1500
FRAGMENT = 4 * MIB  # of the playlist that yt-dlp gets: it uses several connections for fragments only
PLAYLIST = "types { application/vnd.apple.mpegurl m3u8; } default_type video/mp4;"


@dataclass(frozen=True, slots=True)
class Line:
    """Bits per second and the share of segments lost."""

    rate: float
    loss: float


LINES = {
    "100M": Line(100e6, 0.0),
    "100M-lossy": Line(100e6, 0.001),
    "1G": Line(1e9, 0.0),
    "1G-lossy": Line(1e9, 0.001),
}


@contextmanager
def shaped(line: Line, congestion: str) -> Iterator[tuple[str, ...]]:
    """Devices, addresses and a shaper between them; what a command of the server's side begins with."""
    server = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    order = [sys.executable, "-m", "bench.shaper", str(line.rate), str(DELAY), str(line.loss)]
    shaper = subprocess.Popen(order, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert shaper.stdout is not None
        near, far = shaper.stdout.readline().split()
        inside = ("nsenter", f"--target={server.pid}", "--net")
        while Path(f"/proc/{server.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        _run("ip", "link", "set", far, "netns", str(server.pid))
        for prefix, name, own, other in (((), near, CLIENT, SERVER), (inside, far, SERVER, CLIENT)):
            _run(*prefix, "ip", "link", "set", "lo", "up")
            _run(*prefix, "ip", "address", "add", own, "peer", other, "dev", name)
            _run(*prefix, "ip", "link", "set", name, "txqueuelen", "10000", "up")
        route = ("ip", "route", "replace", CLIENT, "dev", far, "src", SERVER, "congctl", congestion)
        _run(*inside, *route)  # a namespace may not choose its default freely, a route may
        yield inside
    finally:
        for process in (shaper, server):
            process.kill()
            process.wait()


def capacity(folder: Path) -> float:
    """Bits of payload per second that the shaper carries on this machine when the line has no limit of its own."""
    size = 512 * MIB
    with shaped(Line(1e11, 0.0), "cubic") as inside, nginx({"file": size}, host=SERVER, prefix=inside) as (base, _):
        return size * 8 / peer(aria2c(f"{base}/file"), folder).seconds


def measure(line: Line, order: argparse.Namespace, folder: Path) -> bool:
    """All of them over one line; whether ours reaches its goal."""
    size = int(line.rate / 8 * order.seconds) // FRAGMENT * FRAGMENT
    with (
        shaped(line, order.congestion) as inside,
        nginx({"file": size}, PLAYLIST, host=SERVER, prefix=inside) as (base, served),
    ):
        url = f"{base}/file"
        (served / "www" / "list.m3u8").write_text(playlist(size), encoding="ascii")
        runs = {"ours": lambda: ours(url, folder), "aria2c -x8": lambda: peer(aria2c(url), folder)}
        if order.yt_dlp:
            runs["yt-dlp -N 8"] = lambda: peer(yt_dlp(order.yt_dlp, f"{base}/list.m3u8"), folder)
        runs["curl"] = lambda: peer(curl(url), folder)
        results: dict[str, list[Run]] = rounds(runs, order.rounds)
    table(results, size)
    best = line.rate * PAYLOAD
    for name, found in results.items():
        print(f"{name}: {size * 8 / median(found) / best:.1%} of the payload rate ({best / 1e6:.1f} Mbit/s)")
    return goal("share of the payload rate", size * 8 / median(results["ours"]) / best, 0.95)


def playlist(size: int) -> str:
    """The file as fragments of a VOD playlist, by byte ranges."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-TARGETDURATION:4", "#EXT-X-PLAYLIST-TYPE:VOD"]
    for start in range(0, size, FRAGMENT):
        lines += ["#EXTINF:4.0,", f"#EXT-X-BYTERANGE:{FRAGMENT}@{start}", "file"]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def yt_dlp(command: list[str], url: str) -> list[str]:
    """Eight fragments at once, nothing done to the file afterwards."""
    return [*command, "-q", "-N", "8", "--fixup", "never", "--hls-use-mpegts", "-o", "{out}/file", url]


def find_yt_dlp() -> list[str]:
    """The command or the module, wherever it is installed; a word when it is not."""
    if path := shutil.which("yt-dlp"):
        return [path]
    if importlib.util.find_spec("yt_dlp") is not None:
        return [sys.executable, "-m", "yt_dlp"]
    print("without yt-dlp, which is not installed (pip install --target FOLDER yt-dlp; PYTHONPATH=FOLDER)")
    return []


def main() -> int:
    """Run it in namespaces of its own; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="bench.fetch_shaped")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--line", action="append", choices=LINES, dest="lines", help="default: the lossy ones")
    parser.add_argument("--seconds", type=float, default=16.0, help="how long the line is busy with one file")
    parser.add_argument("--congestion", default="bbr", help="the server's congestion control")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    order = parser.parse_args()
    if not need("nginx", "aria2c", "curl", "ip", "unshare", "nsenter"):
        return 0
    if os.geteuid() != 0 or not os.access("/dev/net/tun", os.W_OK):
        print("skipped: network namespaces and /dev/net/tun take root")
        return 0
    if not order.inside:
        wrap = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        os.execvp("unshare", [*wrap, sys.executable, "-m", "bench.fetch_shaped", *sys.argv[1:], "--inside"])  # noqa: S606
    order.yt_dlp = find_yt_dlp()
    met = []
    with tempfile.TemporaryDirectory(prefix="bench-shaped-") as name:
        print(f"the shaper itself carries {capacity(Path(name)) / 1e6:.0f} Mbit/s here")
        for line in order.lines or ["100M-lossy", "1G-lossy"]:
            print(f"\n-- {line}, round trip {DELAY * 2000:.0f} ms, {order.congestion}", flush=True)
            met.append(measure(LINES[line], order, Path(name)))
    return 0 if all(met) else 1


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
