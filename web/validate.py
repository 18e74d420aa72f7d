"""From a POST's JSON to a validated URL and normalized options. Every refusal names the field and what it takes."""

import re
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, Literal, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

from downloader import callbacks
from downloader.job import Options, Subtitles
from web.errors import Refusal

T = TypeVar("T")
Fields = Mapping[str, Any]
Mode = Literal["video", "audio", "thumbnail"]

MAX_URL_LENGTH = 8192
MAX_LIST_LENGTH = 64
MAX_NUMBER = 2**31 - 1
_MAX_UNWRAPS = 3

_NO_SUBTITLES = Options().subtitles
QUALITY = re.compile(r"best|balanced|small|[0-9]{2,5}p")
WORD = re.compile(r"[a-z0-9][a-z0-9 ._+,=/-]{0,63}")
LANGUAGE = re.compile(r"[A-Za-z0-9]{1,16}(?:[-_.][A-Za-z0-9]{1,16}){0,8}")
CATEGORY = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
ITAG = re.compile(r"-?[0-9]{1,9}")


def document(body: bytes) -> Fields:
    """The JSON object in ``body``; raises Refusal (invalid_json)."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_json", "The request's body is not valid JSON.") from None
    if not isinstance(found, dict):
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_json", "The request's body must be a JSON object.")
    return found


def url(fields: Fields) -> str:
    """The job's URL, unwrapped where it is a watch page around another URL; raises Refusal (invalid_url)."""
    found = fields.get("url")
    if not isinstance(found, str) or not found.strip():
        raise _bad_url("url is missing: it takes an http or https URL.")
    found = _checked(found.strip())
    for _ in range(_MAX_UNWRAPS):
        inner = _wrapped(found)
        if inner is None:
            break
        found = _checked(inner)
    return found


def options(fields: Fields, callback_hosts: Collection[str] = ()) -> Options:
    """The job's options, normalized so that equal wishes are equal values; raises Refusal (invalid_options).

    Null, and an empty text, mean missing; unknown keys are ignored. ``callback_hosts`` are those that a callbackUrl,
    beside the options or within them, may name.
    """
    given = _object(fields, "options")
    callback = _callback(given, callback_hosts, "options.callbackUrl") or _callback(
        fields, callback_hosts, "callbackUrl"
    )
    quality = _text(given, "quality", QUALITY, "best, balanced, small or a height such as 720p")
    return Options(
        mode=cast("Mode", _choice(given, "mode", "video", "audio", "thumbnail") or "video"),
        quality=quality,
        format=_text(given, "format", WORD, "the name of a format"),
        container=_text(given, "container", WORD, "the name of a container"),
        video_itag=_itag(given, "videoItag"),
        audio_itag=_itag(given, "audioItag"),
        height=_number(given, "height"),
        fps=_number(given, "fps"),
        video_codec=_text(given, "videoCodec", WORD, "the name of a codec"),
        audio_codec=_text(given, "audioCodec", WORD, "the name of a codec"),
        bitrate=_number(given, "bitrate"),
        allow_quality_fallback=_flag(given, "allowQualityFallback", default=True),
        audio_passthrough=_flag(given, "audioPassthrough"),
        sponsor_block=_flag(given, "sponsorBlock"),
        sponsor_block_categories=tuple(sorted(set(_list(given, "sponsorBlockCategories", CATEGORY)))),
        thumbnail_only=_flag(given, "thumbnailOnly"),
        subtitles=_subtitles(given),
        callback_url=callback,
    )


def _subtitles(options: Fields) -> Subtitles:
    given = _object(options, "subtitles", "options.subtitles")
    at = "options.subtitles"
    found = Subtitles(
        enabled=_flag(given, "enabled", path=f"{at}.enabled"),
        auto=_flag(given, "auto", path=f"{at}.auto"),
        embed=_flag(given, "embed", path=f"{at}.embed"),
        languages=tuple(dict.fromkeys(_list(given, "languages", LANGUAGE, f"{at}.languages"))),
        format=cast("Literal['srt', 'vtt'] | None", _choice(given, "format", "srt", "vtt", path=f"{at}.format")),
    )
    # msgspec leaves a default out by identity, and what is left out is part of the cache key.
    return found if found != _NO_SUBTITLES else _NO_SUBTITLES


def _checked(text: str) -> str:
    if len(text) > MAX_URL_LENGTH:
        raise _bad_url(f"url is longer than {MAX_URL_LENGTH} characters.")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise _bad_url("url holds blanks or control characters.")
    try:
        split = urlsplit(text)
        host, _ = split.hostname, split.port
    except ValueError:
        raise _bad_url("url is not a URL.") from None
    if split.scheme not in ("http", "https"):
        raise _bad_url("url must begin with http:// or https://.")
    if not host:
        raise _bad_url("url names no host.")
    if split.username is not None or split.password is not None:
        raise _bad_url("url must not hold a user name or a password.")
    return text


def _wrapped(text: str) -> str | None:
    """The URL that a watch page of the web app carries in ``v``, or None."""
    split = urlsplit(text)
    if not split.path.rstrip("/").endswith("/watch"):
        return None
    try:
        found = parse_qs(split.query, max_num_fields=50).get("v", [""])[0].strip()
    except ValueError:
        return None
    return found if found.lower().startswith(("http://", "https://")) else None


def _bad_url(sentence: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "invalid_url", sentence)


def _bad(path: str, takes: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "invalid_options", f"{path} takes {takes}.")


def _object(fields: Fields, name: str, path: str = "") -> Fields:
    found = fields.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _bad(path or name, "an object")
    return found


def _flag(fields: Fields, name: str, *, default: bool = False, path: str = "") -> bool:
    found = fields.get(name)
    if found is None:
        return default
    if not isinstance(found, bool):
        raise _bad(path or f"options.{name}", "true or false")
    return found


def _choice(fields: Fields, name: str, *allowed: str, path: str = "") -> str | None:
    found = fields.get(name)
    if found is None or found == "":
        return None
    if not isinstance(found, str) or found.lower() not in allowed:
        raise _bad(path or f"options.{name}", " or ".join(allowed))
    # Our own text and not the client's: see _subtitles on what msgspec leaves out.
    return allowed[allowed.index(found.lower())]


def _text(fields: Fields, name: str, pattern: re.Pattern[str], takes: str) -> str | None:
    found = fields.get(name)
    if found is None or found == "":
        return None
    if not isinstance(found, str) or not pattern.fullmatch(found.strip().lower()):
        raise _bad(f"options.{name}", takes)
    return found.strip().lower()


def _list(fields: Fields, name: str, pattern: re.Pattern[str], path: str = "") -> list[str]:
    found = fields.get(name)
    if found is None:
        return []
    takes = f"a list of at most {MAX_LIST_LENGTH} words"
    if not isinstance(found, list) or len(found) > MAX_LIST_LENGTH:
        raise _bad(path or f"options.{name}", takes)
    return _each(
        found, lambda item: isinstance(item, str) and pattern.fullmatch(item), path or f"options.{name}", takes
    )


def _each(items: list[T], accepts: Callable[[T], object], path: str, takes: str) -> list[T]:
    if not all(accepts(item) for item in items):
        raise _bad(path, takes)
    return items


def _number(fields: Fields, name: str) -> int | None:
    """A whole number; a fraction (29.97 frames per second) is rounded; 0 and less mean missing."""
    found = fields.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or found > MAX_NUMBER:
        raise _bad(f"options.{name}", f"a number up to {MAX_NUMBER}")
    return round(max(found, 0)) or None


def _itag(fields: Fields, name: str) -> int | None:
    """An itag; 0 and less mean missing: clients pass on the -1 of a source that has none."""
    found = fields.get(name)
    if found is None or found == "":
        return None
    if isinstance(found, str) and ITAG.fullmatch(found.strip()):
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or found > MAX_NUMBER:
        raise _bad(f"options.{name}", "an itag, as a number or as text")
    return max(found, 0) or None


def _callback(fields: Fields, hosts: Collection[str], path: str) -> str | None:
    found = fields.get("callbackUrl")
    if found is None or found == "":
        return None
    if isinstance(found, str) and len(found) <= MAX_URL_LENGTH and callbacks.allowed(found.strip(), hosts):
        return found.strip()
    raise _bad(path, "an http or https URL on one of the hosts in CALLBACK_ALLOW_HOSTS")
