"""What a page bears: requests that are none, many or slow ones, large ones. All against a real server on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import browsers
import pytest
from browsers import send
from starlette.types import Receive, Scope, Send
from systems import predictor
from waiting import until

from icdbench.inference import bundle
from icdbench.serving import app, form, web

FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


async def plain(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An app that says yes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"yes"})


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        yield connection


def answered(url: str, request: bytes) -> bytes:
    """All that comes back until the server closes the connection or one answer is whole."""
    with connected(url) as connection:
        connection.sendall(request)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while not is_whole(found) and (part := connection.recv(65536)):
                found += part
        return found


def is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
    return bool(end) and length is not None and len(body) >= int(length[1])


def read_until_closed(connection: socket.socket) -> None:
    """Returns once the other side has closed it."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it, to which nothing was sent."""
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with web.serving(app.page([predictor("lr")]), web.LOOPBACK, 0) as (address, _):
        yield address


# --- What is no request ----------------------------------------------------------------------------------------------------

HOSTS = [
    b"[", b"]", b"[]", b"[::1", b"::1]", b"[::g]", b"[v1.x]", b"local host", b"localhost:", b"localhost:port", b"localhost:-1",
    b"localhost/", b"localhost/x", b"user@localhost", b"localhost#", b"localhost?", b"\xff", b"\xc3\xa9", b"",
    b"localhost:999999", b"\xe2\x80\xae", b"127.0.0.1\\@localhost",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_malformed_host_is_a_bad_request(host: bytes, method: bytes, url: str) -> None:
    found = answered(
        url, method + b" / HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert found.startswith(b"HTTP/1.1 400 ")


GOOD = b"Host: localhost\r\nConnection: close\r\n"
REQUESTS = {
    b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n": b"400",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n": b"400",
    b"POST / HTTP/1.1\r\nOrigin: http://[\r\nContent-Length: 0\r\n" + GOOD + b"\r\n": b"400",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n" + GOOD + b"\r\n": b"400",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n" + GOOD + b"\r\n": b"400",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + FORM + GOOD + b"\r\nzz\r\n": b"400",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" + GOOD + b"\r\n": b"501",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": b"400",  # TLS
    b"GET \xff HTTP/1.1\r\n" + GOOD + b"\r\n": b"400",
    b"GET / HTTP/9.9\r\n" + GOOD + b"\r\n": b"200",
    b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000 + b"\r\n" + GOOD + b"\r\n": b"400",
    b"GET /%ff%00%e2%80%ae HTTP/1.1\r\n" + GOOD + b"\r\n": b"404",
    b"GET //evil.example/%2e%2e/ HTTP/1.1\r\n" + GOOD + b"\r\n": b"404",
    b"GET http://[/ HTTP/1.1\r\n" + GOOD + b"\r\n": b"404",
    b"GET /?example=%ff&" + b"a&" * 4000 + b" HTTP/1.1\r\n" + GOOD + b"\r\n": b"404",
    b"GET /?example=9e9 HTTP/1.1\r\n" + GOOD + b"\r\n": b"404",
    b"PUT / HTTP/1.1\r\n" + GOOD + b"\r\n": b"405",
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: localhost\r\n\r\n": b"200",
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_is_no_request_is_refused_without_a_word(
    request_: bytes, url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    status = REQUESTS[request_]
    found = answered(url, request_).partition(b"\r\n")[0]
    # h11 has but one answer to what it cannot read.
    assert found.startswith((b"HTTP/1.1 " + status, b"HTTP/1.1 400")), found
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


FORMS = {
    b"note=%ff": 400,
    b"note=%ed%a0%80": 400,
    b"note=\xff": 400,
    b"&" * 100: 400,
    b"note=a&" + b"x=1&" * 30: 400,
    b"note=w5&code=" + b"a" * 100_000: 400,
    b"note=w5&method=" + b"%00" * 300: 400,
    b"note=w5&model=99&beside=-1": 200,
    b"note=w5%00%1b%5b31m%e2%80%ae": 200,
    b"note=": 400,
    b"": 400,
}


@pytest.mark.parametrize("body", FORMS)
@pytest.mark.parametrize("kind", ["", "; charset=utf-16", "; charset=", "; boundary=x"])
def test_odd_forms_are_answered(body: bytes, kind: str, url: str) -> None:
    status, page = send(url, body, Content_Type=f"application/x-www-form-urlencoded{kind}")
    assert status == FORMS[body]
    assert page.rstrip().endswith("</html>")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "\u00e9", ";", "application/json; x=\u00ff"])
def test_other_types_are_refused(kind: str, url: str) -> None:
    assert send(url, b"note=w5", Content_Type=kind)[0] == 415


def test_bytes_after_an_answer_has_begun_end_the_connection_alone(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    begun, closed = threading.Event(), threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.to_thread(closed.wait)
        await plain(scope, receive, send)

    with web.serving(slow, web.LOOPBACK, 0) as (url, _):
        with connected(url) as connection:
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head)
            begun.wait()
            connection.sendall(b"\x00\xff\r\n" * 10)
            read_until_closed(connection)
        closed.set()
        assert b"yes" in answered(url, b"GET / HTTP/1.1\r\n" + GOOD + b"\r\n")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# --- Many and slow ones ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\r\n"])
def test_a_head_that_does_not_end_is_not_waited_for(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a byte of it comes every now and then; also of a connection's second request."""
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.2)
    whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with web.serving(plain, web.LOOPBACK, 0) as (url, _):
        for first in (b"", whole):
            with connected(url) as connection:
                connection.sendall(first)
                taken = b""
                while first and not taken.endswith(b"yes"):
                    taken += connection.recv(65536)
                with contextlib.suppress(ConnectionError):
                    connection.sendall(begun)
                    while begun and not select.select([connection], [], [], 0.05)[0]:
                        connection.sendall(b"x")
                read_until_closed(connection)


def test_more_connections_than_can_be_had_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "CONNECTIONS", 5)
    monkeypatch.setattr(web, "HEAD_SECONDS", 3600)
    whole = b"GET / HTTP/1.1\r\n" + GOOD + b"\r\n"
    with web.serving(plain, web.LOOPBACK, 0) as (url, _):
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(connected(url)) for _ in range(20)]
            while len(waiting) > 5:
                waiting = [connection for connection in waiting if not is_closed(connection)]
            for connection in waiting:
                connection.sendall(whole)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        until(lambda: b"yes" in answered(url, whole))


@pytest.mark.slow
def test_an_answer_that_is_not_taken_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "STALLED_SECONDS", 0.5)
    ended = threading.Event()

    async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"50000000")]})
        await send({"type": "http.response.body", "body": bytes(50_000_000)})
        ended.set()

    with web.serving(large, web.LOOPBACK, 0) as (url, _):
        with connected(url) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            ended.wait()  # given up, though nobody read
        monkeypatch.setattr(web, "STALLED_SECONDS", 3600)
        with connected(url) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n" + GOOD + b"\r\n")
            size = 0
            while part := connection.recv(1 << 20):
                size += len(part)
        assert size > 50_000_000


def test_no_more_posts_are_held_than_said() -> None:
    held: list[int] = []
    now = 0

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal now
        now += 1
        held.append(now)
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.01)
        await plain(scope, receive, send)
        now -= 1

    with web.serving(counted, web.LOOPBACK, 0) as (url, _), ThreadPoolExecutor(40) as threads:
        assert {status for status, _ in threads.map(lambda _: send(url, bytes(300_000)), range(40))} == {200}
    assert max(held) == web.POSTS


def test_a_body_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(form, "BODY_SECONDS", 0.5)
    found = answered(url, b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n" + FORM + GOOD + b"\r\nnote=w5")
    assert found.startswith(b"HTTP/1.1 408")
    assert b"took too long to arrive" in found


@pytest.mark.parametrize("size", [10**8, 10**12, 10**18])
def test_a_body_that_says_it_is_too_large_is_not_read(size: int, url: str) -> None:
    found = answered(url, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % size + FORM + GOOD + b"\r\nnote=w5")
    assert found.startswith(b"HTTP/1.1 413")


def test_a_body_without_an_end_is_not_read_for_ever(url: str) -> None:
    piece = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
    with connected(url) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + FORM + GOOD + b"\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(piece)
            pytest.fail("100 MB were taken")


# --- Memory ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell a process's memory")
def test_forty_large_posts_at_once_need_bounded_memory(tmp_path: Path) -> None:
    bundle.write(predictor("lr").bundle, tmp_path / "model.icdbench")
    with browsers.serving(tmp_path / "model.icdbench") as (server, url):

        def peak() -> float:
            lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

        assert send(url, b"note=w5")[0] == 200
        before = peak()
        with ThreadPoolExecutor(40) as threads:
            assert {
                status for status, _ in threads.map(lambda _: send(url, b"note=" + b"w" * 6_000_000), range(40))
            } == {413}
        refused = peak() - before
        with ThreadPoolExecutor(8) as threads:
            assert {
                status for status, _ in threads.map(lambda _: send(url, b"note=" + b"%77" * 1_990_000), range(8))
            } == {200}
        taken = peak() - before
    assert refused < 120, refused
    assert taken < 250, taken
