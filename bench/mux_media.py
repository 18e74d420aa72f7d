"""Large media for the mux benchmarks: a few seconds encoded once, then repeated to the size that is asked for."""

import random
from pathlib import Path

import av

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+global_sidx"}
VIDEO_RATE = 8_000_000
AUDIO_RATE = 128_000


def make_tracks(folder: Path, size: int) -> tuple[Path, Path]:
    """A track of H.264 (720p30, B-frames) and one of AAC in fragmented MP4, together about ``size`` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    video, audio = folder / f"video-{size}.mp4", folder / f"audio-{size}.m4a"
    if not (video.exists() and audio.exists()):
        seconds = size * 8 / (VIDEO_RATE + AUDIO_RATE)
        _repeat(_picture(folder / "seed.mp4"), video, seconds)
        _repeat(_sound(folder / "seed.m4a"), audio, seconds)
    return video, audio


def _picture(path: Path, frames: int = 240) -> Path:
    """Noise that moves, so that the encoder needs all of its bit rate."""
    noise = random.Random(1).randbytes(1280 * 720 * 2).translate(bytes(value >> 3 for value in range(256)))
    with av.open(str(path), "w") as output:
        options = {"preset": "ultrafast", "x264-params": "bframes=2:b-adapt=0:scenecut=0"}
        stream = output.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 1280, 720, "yuv420p", 60
        stream.codec_context.bit_rate = VIDEO_RATE
        places = random.Random(2)
        for number in range(frames):
            frame = av.VideoFrame(1280, 720, "yuv420p")
            for plane in frame.planes:
                start = places.randrange(1000)
                plane.update(noise[start : start + plane.buffer_size])
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _sound(path: Path, frames: int = 400) -> Path:
    noise = random.Random(3)
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=48000)
        stream.codec_context.bit_rate = AUDIO_RATE
        for number in range(frames):
            frame = av.AudioFrame(format="s16", layout="stereo", samples=1024)
            frame.planes[0].update(noise.randbytes(4096))
            frame.sample_rate, frame.pts = 48000, number * 1024
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _repeat(source: Path, path: Path, seconds: float) -> None:
    with av.open(str(source)) as old, av.open(str(path), "w", format="mp4", options=FRAGMENTED) as new:
        stream = old.streams[0]
        kept = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in old.demux(stream) if p.size]
        target = new.add_stream_from_template(stream, opaque=True)
        length = kept[-1][2] + kept[-1][3] - kept[0][2]
        offset = 0
        while offset * float(stream.time_base) < seconds:
            for data, pts, dts, duration, key in kept:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.duration = pts + offset, dts + offset, duration
                packet.time_base, packet.is_keyframe, packet.stream = stream.time_base, key, target
                new.mux_one(packet)
            offset += length
