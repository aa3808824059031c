"""The web server of the prediction page and the live report, entered by `serving`.

Starlette answers and Uvicorn listens; neither logs anything, because an address, a traceback or a rejected field could
contain what a user sent. Requests are accepted only under this machine's own names and, for notes, only from the page
itself. Browsers do not store answers and load nothing from elsewhere; a page may set a policy of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from icdbench.settings import SpecError

LOOPBACK = "127.0.0.1"
CONNECTIONS = 100  # open at once; any further one is closed immediately
POSTS = 4  # handled at once, from the first byte received to the last byte answered; others wait
MAX_HEAD_BYTES = 16_384  # of a request line and its headers
HEAD_SECONDS = 10.0  # for the request line and headers to arrive
STALLED_SECONDS = 30.0  # a connection that stops reading its answer for this long is closed
CHUNK = 65_536  # bytes of an answer sent at a time
HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.ASCII)
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "data:",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@contextlib.contextmanager
def serving(app: ASGIApp, host: str, port: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Serve the app inside the block; yield its address and a function that waits until it is interrupted.

    Raises SpecError if the port is not a port number or the address cannot be used.
    """
    if not 0 <= port < 2**16:
        raise SpecError(f"--port {port}: give a number from 0 (any free port) to 65535")
    with _bind(host, port) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                Guarded(app, host),
                log_config=None,
                log_level="critical",
                access_log=False,
                lifespan="off",
                ws="none",
                http=Connection,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        shown = f"[{host}]" if ":" in host else host
        try:
            yield f"http://{shown}:{listener.getsockname()[1]}/", threading.Event().wait
        finally:
            server.should_exit = True
            thread.join()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SpecError(
            f"--port {port} cannot be used on {host} ({error.strerror}); choose another, or 0 for any free port"
        ) from None


class Guarded:
    """Passes requests on to the app if they use one of this machine's names and do not post from another site's page.

    A foreign name that resolves to this machine (DNS rebinding) would let another site read what is served.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self.posts = asyncio.Semaphore(POSTS)
        self.names = {"localhost", host.lower()}
        if not is_loopback(host):
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            for part in _split_body(message):
                await send(part)

        status, why = self._refusal(scope["method"], Headers(scope=scope))
        if status:
            await PlainTextResponse(why, status)(scope, receive, answer)
            return
        async with self.posts if scope["method"] == "POST" else contextlib.nullcontext():
            await self.app(scope, receive, answer)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str]:
        """Return status and reason of a refusal; status 0 if the request is accepted."""
        host = headers.get("host", "").lower()
        try:
            origin = urlsplit(headers.get("origin", f"//{host}")).netloc.lower()
        except ValueError:
            return 400, "The Origin header of this request is not a valid address.\n"
        if (found := HOST.fullmatch(host)) is None:
            return 400, "The Host header of this request is not a valid host name or address.\n"
        name = found["name"].strip("[]")
        if name not in self.names and not _is_address(name):
            return 403, "This page answers only at its own address.\n"
        foreign = headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
        if method == "POST" and (foreign or origin != host):
            return 403, "This page accepts notes only from itself.\n"
        return 0, ""


def _split_body(message: Message) -> Iterator[Message]:
    """Split a message with a long body: each part is sent only once the client has read the one before."""
    body = message.get("body", b"")
    if message["type"] != "http.response.body" or len(body) <= CHUNK:
        yield message
        return
    more = message.get("more_body", False)
    for start in range(0, len(body), CHUNK):
        yield {**message, "body": body[start : start + CHUNK], "more_body": more or start + CHUNK < len(body)}


class Connection(H11Protocol):
    """An HTTP connection that is closed if it is one too many, sends its head too slowly, or stops reading an answer.

    Uvicorn by itself closes only connections that stay idle after an answer.
    """

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a request."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._set_deadline(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Stop the deadline once the head is complete; start it again for a later request."""
        try:
            super().data_received(data)
        except Exception:  # noqa: BLE001  asyncio would print a traceback for bytes that are not HTTP
            self.transport.abort()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._clear_deadline()
        elif self.deadline is None:
            self._set_deadline(HEAD_SECONDS)

    def pause_writing(self) -> None:
        """Start the deadline: the client reads more slowly than the answer is sent."""
        super().pause_writing()
        self._clear_deadline()
        self._set_deadline(STALLED_SECONDS)

    def resume_writing(self) -> None:
        """Stop the deadline: the client has read what was sent."""
        super().resume_writing()
        self._clear_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadline."""
        self._clear_deadline()
        super().connection_lost(exc)

    def _set_deadline(self, seconds: float) -> None:
        self.deadline = self.loop.call_later(seconds, self.transport.abort)

    def _clear_deadline(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    """Whether the name is an IP address, which unlike a host name cannot be made to resolve to this machine."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
