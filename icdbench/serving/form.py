"""The prediction page's form, read from a request. A note arrives in the body and is held in memory alone."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.requests import ClientDisconnect, Request

MAX_NOTE_BYTES = 2_000_000
MAX_BODY_BYTES = 3 * MAX_NOTE_BYTES + 10_000  # a form encodes one byte as up to three
MAX_DISCARDED_BYTES = 4 * MAX_BODY_BYTES  # a browser shows a refusal only once its whole body has been read
BODY_SECONDS = 60.0  # for the whole body to arrive
MAX_FIELDS, MAX_FIELD_CHARS = 20, 200  # the note's own length is limited separately
ENCODED_PIECE = re.compile(rb"(?s).{1,65536}(?:(?<!%)(?<!%.)|\Z)|.{1,65536}")  # avoids ending inside a %XX

NOT_THIS_FORM = "this page accepts only its own form"
TOO_LARGE = f"the note is larger than {MAX_NOTE_BYTES / 1e6:.0f} MB; paste part of it, or use 'icdbench predict'"


class Refused(Exception):  # noqa: N818  an answer, not a fault
    """A request that cannot be read, with the HTTP status and the message of the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class NoteForm:
    """A note and what to show of it.

    `code` was typed or clicked; without one, `chosen` (the code explained so far) is kept if a model has it, else the
    most probable code is explained. `shown` holds the positions of one or two models.
    """

    note: str = ""
    code: str = ""
    chosen: str = ""
    method: str = ""
    threshold: str = "tuned"
    shown: tuple[int, ...] = (0,)


async def read_form(request: Request, num_models: int) -> NoteForm:
    """Read the form from a request's body. Raises Refused for anything but this page's own form."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise Refused(415, NOT_THIS_FORM)
    body = await _read_body(request)
    try:
        fields = _decode_fields(body)
    except UnicodeDecodeError:
        raise Refused(400, "the note is not UTF-8; convert it") from None
    if any(len(value) > MAX_FIELD_CHARS for name, value in fields.items() if name != "note"):
        raise Refused(400, NOT_THIS_FORM)
    note = fields.get("note", "").replace("\r\n", "\n")
    if len(note.encode()) > MAX_NOTE_BYTES:
        raise Refused(413, TOO_LARGE)
    clicked = fields.get("code")
    positions = {str(position): position for position in range(num_models)}
    shown = dict.fromkeys(positions[name] for key in ("model", "beside") if (name := fields.get(key, "")) in positions)
    return NoteForm(
        note,
        clicked or fields.get("typed", "").strip(),
        fields.get("chosen", "") if clicked is None else "",
        fields.get("method", ""),
        fields.get("threshold", "tuned"),
        tuple(shown) or (0,),
    )


async def _read_body(request: Request) -> bytes:
    """Return the body. One that is too large is read on without being kept, up to MAX_DISCARDED_BYTES."""
    kept, size = bytearray(), 0
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_DISCARDED_BYTES:
        raise Refused(413, TOO_LARGE)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_DISCARDED_BYTES:
                    break
                if size <= MAX_BODY_BYTES:
                    kept += chunk
    except TimeoutError:
        raise Refused(408, "the note took too long to arrive; send it again") from None
    except ClientDisconnect:
        raise Refused(400, "the note arrived incomplete; send it again") from None
    if size > MAX_BODY_BYTES:
        raise Refused(413, TOO_LARGE)
    return bytes(kept)


def _decode_fields(body: bytes) -> dict[str, str]:
    """Return a form's fields by name. Raises Refused for too many, UnicodeDecodeError for text that is not UTF-8."""
    if body.count(b"&") >= MAX_FIELDS:
        raise Refused(400, NOT_THIS_FORM)
    pairs = (field.partition(b"=") for field in body.split(b"&"))
    return {_unquote(name): _unquote(value) for name, _, value in pairs}


def _unquote(text: bytes) -> str:
    """Decode form-encoded text piece by piece; decoding it whole would take 60 times its size in memory."""
    return b"".join(unquote_to_bytes(each[0]) for each in ENCODED_PIECE.finditer(text.replace(b"+", b" "))).decode()
