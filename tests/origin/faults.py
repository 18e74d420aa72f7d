"""One script for each evil that a media host is known to do, by name.

Those that lie are persistent: every answer is wrong in the same way. ``once(fault)`` makes it happen to the second
request only, ``after(count, fault)`` to all but the first ``count``.
"""

import gzip

from tests.origin.server import Call, Script


def whole_to_ranges(call: Call) -> None:
    """200 with the whole body, whatever range is asked for."""
    call.head(200, *call.fields(length=len(call.resource.body)))
    call.body(call.resource.body)


def whole_to_if_range(call: Call) -> None:
    """Answers If-Range wrongly: the validator is right, yet the whole body comes."""
    if "if-range" in call.seen.headers:
        whole_to_ranges(call)
    else:
        call.serve()


def _lying(call: Call, content_range: str | None, *, cut: int = 0) -> None:
    start, end = call.span or (0, len(call.resource.body))
    fields = [f"Content-Range: {content_range}"] if content_range else []
    call.head(206, *fields, *call.fields(length=end - start - cut))
    call.body(call.resource.body[start : end - cut])


def no_content_range(call: Call) -> None:
    """206 without Content-Range."""
    _lying(call, None)


def wrong_start(call: Call) -> None:
    """206 for a range that starts one byte later."""
    start, end = call.span or (0, 1)
    _lying(call, f"bytes {start + 1}-{end}/{len(call.resource.body)}")


def rubbish_content_range(call: Call) -> None:
    """``bytes 3/7``."""
    _lying(call, "bytes 3/7")


def short_range(call: Call) -> None:
    """206, right and honest, but of a third of what was asked for."""
    start, end = call.span or (0, len(call.resource.body))
    call.partial(start, max(start + 1, start + (end - start) // 3))


def multipart(call: Call) -> None:
    """multipart/byteranges although one range was asked for."""
    start, end = call.span or (0, len(call.resource.body))
    body = b"--x\r\n\r\n" + call.resource.body[start:end] + b"\r\n--x--\r\n"
    call.head(206, "Content-Type: multipart/byteranges; boundary=x", f"Content-Length: {len(body)}")
    call.raw(body)


def longer_than_asked(call: Call) -> None:
    """206 that goes on past what was asked for, and says so."""
    start, end = call.span or (0, len(call.resource.body))
    call.partial(start, min(len(call.resource.body), end + 5000))


def longer_than_said(call: Call) -> None:
    """A chunked body that goes on past its Content-Range."""
    start, end = call.span or (0, len(call.resource.body))
    call.head(206, f"Content-Range: bytes {start}-{end - 1}/{len(call.resource.body)}", "Transfer-Encoding: chunked")
    for data in (call.resource.body[start:end], b"more than was said"):
        call.raw(b"%x\r\n%s\r\n" % (len(data), data))
    call.raw(b"0\r\n\r\n")


def unsatisfiable_ours(call: Call) -> None:
    """416 that names the very size we know."""
    call.head(416, f"Content-Range: bytes */{len(call.resource.body)}", "Content-Length: 0")


def unsatisfiable_smaller(call: Call) -> None:
    """416 that names a smaller size."""
    call.head(416, f"Content-Range: bytes */{len(call.resource.body) // 2}", "Content-Length: 0")


def unsatisfiable(call: Call) -> None:
    """416 that names none."""
    call.head(416, "Content-Length: 0")


def short_body(call: Call) -> None:
    """Half of what Content-Length says, then FIN."""
    start, end = call.span or (0, len(call.resource.body))
    call.head(
        206, f"Content-Range: bytes {start}-{end - 1}/{len(call.resource.body)}", *call.fields(length=end - start)
    )
    call.body(call.resource.body[start : start + (end - start + 1) // 2])
    call.close()


def reset_mid_body(call: Call) -> None:
    """Half of the body, then RST."""
    start, end = call.span or (0, len(call.resource.body))
    call.head(
        206, f"Content-Range: bytes {start}-{end - 1}/{len(call.resource.body)}", *call.fields(length=end - start)
    )
    call.body(call.resource.body[start : start + (end - start + 1) // 2])
    call.reset()


def chunked_cut(call: Call) -> None:
    """Chunked coding that ends without its last chunk."""
    start, end = call.span or (0, len(call.resource.body))
    call.head(206, f"Content-Range: bytes {start}-{end - 1}/{len(call.resource.body)}", "Transfer-Encoding: chunked")
    data = call.resource.body[start : start + (end - start + 1) // 2]
    call.raw(b"%x\r\n%s\r\n" % (len(data), data))
    call.close()


def chunked_bad_size(call: Call) -> None:
    """Chunked coding with a size that is no number."""
    call.head(200, "Content-Type: video/mp4", "Transfer-Encoding: chunked")
    call.raw(b"zz\r\nabc\r\n0\r\n\r\n")
    call.close()


def _with_lengths(call: Call, *lengths: str) -> None:
    start, end = call.span or (0, len(call.resource.body))
    call.head(
        206,
        "Content-Type: video/mp4",
        f"Content-Range: bytes {start}-{end - 1}/{len(call.resource.body)}",
        *(f"Content-Length: {length}" for length in lengths),
    )
    call.body(call.resource.body[start:end])
    call.close()


def two_lengths(call: Call) -> None:
    """Two Content-Lengths that differ."""
    _with_lengths(call, "100", "200")


def negative_length(call: Call) -> None:
    """Content-Length: -1."""
    _with_lengths(call, "-1")


def huge_length(call: Call) -> None:
    """A Content-Length beyond 64 bits."""
    _with_lengths(call, "9" * 30)


def rubbish_length(call: Call) -> None:
    """A Content-Length that is no number."""
    _with_lengths(call, "many")


def length_and_chunked(call: Call) -> None:
    """Content-Length beside chunked coding; the coding goes first (RFC 9112, 6.3)."""
    start, end = call.span or (0, len(call.resource.body))
    fields = [f"Content-Range: bytes {start}-{end - 1}/{len(call.resource.body)}", *call.fields(length=end - start)]
    call.head(206, *fields, "Transfer-Encoding: chunked")
    data = call.resource.body[start:end]
    call.raw(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))


def endless(call: Call) -> None:
    """A body without length and without end."""
    call.head(200, "Content-Type: video/mp4", "Connection: close")
    call.raw(call.resource.body[:64])
    while True:
        call.raw(bytes(256 << 10))


def without_length(call: Call) -> None:
    """The whole body, ended by closing the connection."""
    call.head(200, "Content-Type: video/mp4", "Connection: close")
    call.body(call.resource.body)
    call.close()


def huge_header(call: Call) -> None:
    """A header field of 400 KB."""
    call.head(200, "X-Long: " + "x" * 400_000)
    call.close()


def long_header(call: Call) -> None:
    """100 KB of header in decent lines, then the right answer."""
    start, end = call.span or (0, len(call.resource.body))
    fields = [f"X-Long-{number}: {'x' * 1000}" for number in range(100)]
    size = len(call.resource.body)
    call.head(206, f"Content-Range: bytes {start}-{end - 1}/{size}", *fields, *call.fields(length=end - start))
    call.body(call.resource.body[start:end])


def empty_reply(call: Call) -> None:
    """Nothing at all."""
    call.close()


def not_http(call: Call) -> None:
    """Something that is not HTTP."""
    call.raw(b"SSH-2.0-OpenSSH_9.2\r\n")
    call.close()


def gzipped(call: Call) -> None:
    """gzip although identity was asked for."""
    start, end = call.span or (0, len(call.resource.body))
    data = gzip.compress(call.resource.body[start:end], 1)
    size = len(call.resource.body)
    call.head(
        206, f"Content-Range: bytes {start}-{end - 1}/{size}", "Content-Encoding: gzip", f"Content-Length: {len(data)}"
    )
    call.raw(data)


def page(call: Call) -> None:
    """200 that is an HTML error page."""
    call.status(200, body=b"<html><body>Sorry</body></html>", content_type="text/html; charset=utf-8")


def partial_page(call: Call) -> None:
    """206 that is an HTML error page, with a Content-Range that fits."""
    start, end = call.span or (0, 1)
    size = len(call.resource.body)
    call.head(
        206,
        f"Content-Range: bytes {start}-{end - 1}/{size}",
        "Content-Type: text/html",
        f"Content-Length: {end - start}",
    )
    call.body(bytes(end - start))


def json_page(call: Call) -> None:
    """200 that is a JSON error."""
    call.status(200, body=b'{"error": "no"}', content_type="application/json")


def disguised_page(call: Call) -> None:
    """An HTML page that calls itself video/mp4."""
    call.status(200, body=b"<!DOCTYPE html><html>Sorry</html>", content_type="video/mp4")


def slow_head(call: Call) -> None:
    """Headers at a byte a second."""
    for byte in b"HTTP/1.1 200 OK\r\n" * 10:
        call.raw(bytes([byte]))
        call.wait(1.0)


def stalled(call: Call) -> None:
    """A little of the body, then silence."""
    start, end = call.span or (0, len(call.resource.body))
    call.head(
        206, f"Content-Range: bytes {start}-{end - 1}/{len(call.resource.body)}", *call.fields(length=end - start)
    )
    call.raw(call.resource.body[start : start + 3000])
    call.wait(60)


def redirect_loop(call: Call) -> None:
    """302 to itself."""
    call.status(302, f"Location: {call.seen.target}")


def _status(status: int) -> Script:
    return lambda call: call.status(status, body=b"no")


def once(fault: Script, number: int = 2) -> Script:
    """``fault`` for the request of that number, the right answer for every other."""
    return lambda call: fault(call) if call.number == number else call.serve()


def after(count: int, fault: Script) -> Script:
    """The right answer ``count`` times, ``fault`` from then on."""
    return lambda call: fault(call) if call.number > count else call.serve()


def until(count: int, fault: Script) -> Script:
    """``fault`` ``count`` times, the right answer from then on."""
    return lambda call: fault(call) if call.number <= count else call.serve()


BY_NAME: dict[str, Script] = {
    name: fault for name, fault in globals().copy().items() if callable(fault) and getattr(fault, "__module__", "") == __name__
    and not name.startswith("_") and name not in ("once", "after", "until")
} | {str(status): _status(status) for status in (400, 401, 403, 404, 408, 410, 429, 451, 500, 502, 503, 504)}  # fmt: skip
