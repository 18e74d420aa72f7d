"""The schema of a post's body, derived from the options' types and from what ``validate`` compares them with."""

import re
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from downloader.job import Options, Subtitles
from web import validate
from web.openapi.schemas import Schema, reference

_SAYS: Final = {
    "mode": "Film, sound alone, or the image alone.",
    "quality": "`best`, `balanced` (up to 720p), `small` (up to 360p), or a height such as `720p`.",
    "format": "The container, where `container` does not say it: `mp4`, `webm`, `mp3` …",
    "container": "The container of the file.",
    "videoItag": "Exactly this stream, by number or as text.",
    "audioItag": "Exactly this stream, by number or as text.",
    "height": "The highest picture up to so many lines.",
    "fps": "The frame rate nearest to this.",
    "videoCodec": "The picture's codec, by family: `avc1`, `vp9`, `av1` …",
    "audioCodec": "The sound's codec, by family: `mp4a`, `opus` …",
    "bitrate": "Of sound, in bits per second.",
    "allowQualityFallback": "Whether the nearest stream will do where the wanted one is not offered.",
    "audioPassthrough": "Whether sound stays in its own codec.",
    "sponsorBlock": "Whether SponsorBlock's segments are left out.",
    "sponsorBlockCategories": "Which categories of them; none: `sponsor`.",
    "thumbnailOnly": "The same as mode `thumbnail`.",
    "subtitles": "Which subtitles are taken along.",
    "callbackUrl": "Where to POST the job's end; on one of the hosts that the operator allows.",
    "enabled": "Whether any are.",
    "auto": "Whether generated ones will do.",
    "embed": "Whether they go into the file instead of beside it.",
    "languages": "Which ones, by tag; none: all there are.",
}
_FORMAT_OF_SUBTITLES: Final = "The kind of subtitle file."
_PATTERNS: Final = {
    "quality": validate.QUALITY,
    "languages": validate.LANGUAGE,
    "sponsorBlockCategories": validate.CATEGORY,
}
_URL: Final[Schema] = {
    "type": "string",
    "format": "uri",
    "pattern": "^https?://",
    "maxLength": validate.MAX_URL_LENGTH,
}


def components() -> dict[str, Schema]:
    """The schemas of a post's body by name."""
    options = _object(Options)
    subtitles = _object(Subtitles)
    subtitles["properties"]["format"]["description"] = _FORMAT_OF_SUBTITLES
    callback = options["properties"]["callbackUrl"]
    return {"Wish": _wish(callback), "Options": options, "Subtitles": subtitles}


def _wish(callback: Schema) -> Schema:
    url = _URL | {
        "description": "The page of the media. That of a web app's watch page around it (`…/watch?v=<URL>`) will do.",
    }
    options = {"anyOf": [reference("Options"), {"type": "null"}], "description": "What is wanted of it."}
    beside = callback | {"description": "The same as in `options`, which wins."}
    return {
        "title": "Wish",
        "description": "What to download. Unknown fields are ignored; null means missing.",
        "type": "object",
        "properties": {"url": url, "options": options, "callbackUrl": beside},
        "required": ["url"],
    }


def _object(kind: type[msgspec.Struct]) -> Schema:
    hints = get_type_hints(kind)
    return {
        "title": kind.__name__,
        "description": "Words may be in capitals. Unknown fields are ignored; null means missing, as do 0 and less.",
        "type": "object",
        "properties": {
            field.encode_name: _field(field.encode_name, hints[field.name], field.default)
            for field in msgspec.structs.fields(kind)
        },
    }


def _field(name: str, hint: Any, default: Any) -> Schema:
    schema: Schema = {"description": _SAYS[name]} | _nullable(_typed(name, hint))
    if isinstance(default, bool | str):
        schema["default"] = default
    return schema


def _typed(name: str, hint: Any) -> Schema:
    """The schema of one option of type ``hint``, which is its own or that of an optional one."""
    kind = get_origin(hint)
    if kind is Literal:
        return {"enum": list(get_args(hint))}
    if kind is tuple:
        items = {"type": "string", "pattern": _whole(_PATTERNS[name])}
        return {"type": "array", "items": items, "maxItems": validate.MAX_LIST_LENGTH}
    if kind is not None:
        return _typed(name, next(each for each in get_args(hint) if each is not type(None)))
    return _single(name, hint)


def _single(name: str, kind: type) -> Schema:
    if kind is Subtitles:
        return reference("Subtitles")
    if kind is bool:
        return {"type": "boolean"}
    if kind is int:
        number: Schema = {"type": "number", "maximum": validate.MAX_NUMBER}
        if not name.endswith("Itag"):
            return number
        return {"anyOf": [number | {"type": "integer"}, {"type": "string", "pattern": _whole(validate.ITAG)}]}
    return _URL if name == "callbackUrl" else {"type": "string", "pattern": _whole(_PATTERNS.get(name, validate.WORD))}


def _nullable(schema: Schema) -> Schema:
    if "enum" in schema:
        return schema | {"enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}


def _whole(pattern: re.Pattern[str]) -> str:
    """``pattern`` for the whole text: a schema's matches anywhere."""
    return f"^(?:{pattern.pattern})$"
