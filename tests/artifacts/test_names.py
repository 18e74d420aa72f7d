"""Names made of wild titles: what must hold for all of them, and what some well-known ones become."""

import re
import subprocess
import sys
import unicodedata
from email.message import EmailMessage
from email.policy import HTTP

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from downloader.artifacts.names import MAX_BYTES, MAX_CHARACTERS, content_disposition, content_type, file_name

titles = st.one_of(
    st.text(),
    st.text(alphabet=st.characters(categories=["Cf", "Mn", "Cc", "So", "Cs"])),
    st.text(alphabet='CONAUXcom1 .~/\\:*?"<>|%\r\n', max_size=12),
    st.text(min_size=150, max_size=400),
    st.text(alphabet="👩‍🚀🇫🇷é̈क्षि", min_size=100, max_size=400),
)
extensions = st.sampled_from(["mp4", "webm", ".mp3", "m4a", "", "../../x", "WEBM"])


@given(titles, extensions)
@example("CON" + "a" + "\u0301" * 300, "mp4")
@example("CON." + "x" * 400, "mp4")
@example("\ud800", "mp4")
def test_every_name_is_safe_everywhere(title: str, extension: str) -> None:
    name = file_name(title, extension)
    stem, dot, ending = name.rpartition(".")
    assert stem
    assert dot
    assert re.fullmatch(r"[a-z0-9]{1,10}", ending)
    assert len(name) <= MAX_CHARACTERS
    assert len(name.encode()) <= MAX_BYTES
    assert not set(name) & set('<>:"/\\|?*')
    assert all(unicodedata.category(c) not in ("Cc", "Cs", "Cn", "Zl", "Zp") for c in name)
    assert all(unicodedata.category(c) != "Cf" or c in "\u200c\u200d" for c in name)
    assert stem[0] not in " .~"
    assert stem[-1] not in " .~"
    assert not re.match(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", name)


@given(titles, extensions)
def test_a_name_is_its_own_name(title: str, extension: str) -> None:
    name = file_name(title, extension)
    stem, _, ending = name.rpartition(".")
    assert file_name(stem, ending) == name


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Plain title", "Plain title.mp4"),
        ("Grüße aus Köln", "Grüße aus Köln.mp4"),
        ("e\u0301te\u0301", "été.mp4"),
        ('a/b\\c:d*e?f"g<h>i|j', "a-b-c-defg(h)i-j.mp4".replace("fg", "f'g")),
        ("line one\r\nSet-Cookie: x", "line one Set-Cookie- x.mp4"),
        ("\u202egpj.exe", "gpj.exe.mp4"),
        ("   \u3000\t ", "download.mp4"),
        ("\u200b\u200d", "download.mp4"),
        ("\u3164", "download.mp4"),
        ("...", "download.mp4"),
        ("../../etc/passwd", "-..-etc-passwd.mp4"),
        ("con", "_con.mp4"),
        ("COM¹.x", "_COM¹.x.mp4"),
        ("movie.mp4", "movie.mp4"),
        ("trailing dots...  ", "trailing dots.mp4"),
        (".hidden", "hidden.mp4"),
        ("👩‍🚀 می‌خواهم", "👩‍🚀 می‌خواهم.mp4"),
    ],
)
def test_well_known_titles(title: str, name: str) -> None:
    assert file_name(title, "mp4") == name


def test_a_long_title_is_cut_between_graphemes() -> None:
    family = "👩‍👩‍👧‍👦"
    name = file_name(family * 100, "webm")
    stem = name.removesuffix(".webm")
    assert stem == family * (len(stem) // len(family))
    assert MAX_BYTES - len(family.encode()) < len(name.encode()) <= MAX_BYTES


@given(st.text(), st.booleans())
@example('x"; filename="evil.exe', False)
@example("a\r\nSet-Cookie: b", False)
@example("50%41.mp4", False)
@example("\u0f80", False)
def test_a_disposition_is_one_safe_line(name: str, inline: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    value = content_disposition(name, inline=inline)
    assert re.fullmatch(
        r"""(attachment|inline); filename="[ !#$&-\[\]-~]+"(; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+)?""",
        value,
    )
    assert value.startswith("inline" if inline else "attachment")


@given(titles)
def test_a_reader_of_headers_gets_the_name_back(title: str) -> None:
    name = file_name(title, "mp4")
    message = EmailMessage(policy=HTTP)
    # The standard library prefers the first of both forms, a browser the second: leave one.
    value = content_disposition(name)
    extended = re.search(r"filename\*=.*", value)
    message["Content-Disposition"] = f"attachment; {extended[0]}" if extended else value
    assert message.get_filename() == name


def test_the_fallback_keeps_what_ascii_can() -> None:
    assert content_disposition("Été à 100%.mp4") == (
        "attachment; filename=\"Ete a 100_.mp4\"; filename*=UTF-8''%C3%89t%C3%A9%20%C3%A0%20100%25.mp4"
    )
    assert content_disposition("日本語.mp4").startswith('attachment; filename="_.mp4"; ')
    assert content_disposition("plain.mp4", inline=True) == 'inline; filename="plain.mp4"'
    assert content_disposition("") == 'attachment; filename="download"'


def test_content_types() -> None:
    assert content_type("mp4") == "video/mp4"
    assert content_type(".M4A") == "audio/mp4"
    assert content_type("exe") == "application/octet-stream"


def test_names_stay_light() -> None:
    program = "import sys, downloader.artifacts.names as n; n.file_name('é/x', 'mp4'); print({'regex','boto3'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
