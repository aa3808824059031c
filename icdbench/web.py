"""What is common to pages served from this machine: who may ask, what a browser may do with the answer, start and end.

Starlette answers, Uvicorn listens. Neither logs anything: an address, a traceback or a rejected field could hold what was
sent. Answers are never stored by a browser and load nothing from elsewhere; a page may bring a policy of its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from icdbench.spec import SpecError

LOOPBACK = "127.0.0.1"
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
def serving(app: ASGIApp, host: str, port: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serves inside the block; yields the page's address and a function that waits until it is interrupted.

    Raises SpecError if the address cannot be had.
    """
    if not 0 <= port < 2**16:
        raise SpecError(f"--port {port}: give a number from 0 (any free port) to 65535")
    with _listening(host, port) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                Guarded(app, host),
                log_config=None,
                log_level="critical",
                access_log=False,
                lifespan="off",
                ws="none",
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
            yield f"http://{shown}:{listener.getsockname()[1]}/", _wait
        finally:
            server.should_exit = True
            thread.join()


def _wait() -> None:
    threading.Event().wait()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SpecError(
            f"--port {port} cannot be had on {host} ({error.strerror}); name another, or 0 for any that is free"
        ) from None


class Guarded:
    """Refuses who came by a foreign name (bound to this machine, to read what it serves) or sends from a foreign page."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self.names = {"localhost", host.lower()}
        if not is_loopback(host):
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refused(scope["method"], Headers(scope=scope))
        await (PlainTextResponse(refused, 403) if refused else self.app)(scope, receive, answer)

    def _refused(self, method: str, headers: Headers) -> str:
        host = headers.get("host", "").lower()
        name = urlsplit(f"//{host}").hostname or ""
        if name not in self.names and not _is_address(name):
            return "This page answers to its own address alone.\n"
        foreign = headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
        if method == "POST" and (foreign or urlsplit(headers.get("origin", f"//{host}")).netloc.lower() != host):
            return "This page takes notes from itself alone.\n"
        return ""


def is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    """Numbers cannot be bound to another machine, as names can."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
