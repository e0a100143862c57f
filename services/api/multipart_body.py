"""A multipart/form-data body (RFC 7578), read part by part as it arrives: never whole in memory, every limit counted."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.api.problems import ProblemError, invalid_field
from services.contract.codes import ProblemCode
from services.contract.problems import FieldError

SPOOL_BYTES = 1 << 20  # a file part up to this size stays in memory
MAX_TEXT_BYTES = 1 << 20
MAX_TEXT_PARTS = 200


@dataclass(frozen=True)
class TextPart:
    """A part without a file name."""

    name: str
    text: str


@dataclass(frozen=True)
class FilePart:
    """A part with a file name. Whoever receives it closes `file`."""

    name: str
    filename: str
    file: BinaryIO  # at its start


@dataclass
class _OpenPart:
    """The part that is arriving."""

    name: str
    filename: str | None
    max_bytes: int
    spool: BinaryIO
    buffer: bytearray = field(default_factory=bytearray)
    size: int = 0


class MultipartBody:
    """Turns the chunks of a request body into parts."""

    def __init__(self, content_type: str, max_bytes: int, max_file_bytes: Callable[[str], int]) -> None:
        """Read the boundary.

        Args:
            max_bytes: of the whole body.
            max_file_bytes: limit of a file part with this name; raises ProblemError for a name that is not known.
        """
        _, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary")
        if not boundary:
            raise ProblemError(400, ProblemCode.INVALID_REQUEST, "Content-Type: multipart/form-data lacks its boundary")
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._steps: list[tuple[str, bytes]] = []
        self._complete = False
        try:
            self._parser = MultipartParser(boundary, self._callbacks())  # type: ignore[arg-type]
        except FormParserError as error:
            raise _malformed(error) from None

    async def parts(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[TextPart | FilePart, None]:
        """Give the parts in order; the next chunk is asked for only when the last part was dealt with.

        Raises:
            ProblemError: 413 beyond a limit, 400 when the body is malformed or ends before its last boundary.
        """
        open_part: _OpenPart | None = None
        headers: dict[str, bytes] = {}
        header_name = header_value = b""
        received = texts = 0
        try:
            async for chunk in chunks:
                received += len(chunk)
                if received > self._max_bytes:
                    raise too_large("", f"the body has more than {self._max_bytes} bytes, the limit")
                for step, data in self._feed(chunk):
                    if step == "begin":
                        headers, header_name, header_value = {}, b"", b""
                    elif step == "header_field":
                        header_name += data
                    elif step == "header_value":
                        header_value += data
                    elif step == "header_end":
                        headers[header_name.decode("latin-1").lower()] = header_value
                        header_name = header_value = b""
                    elif step == "headers_finished":
                        open_part = self._open(headers)
                        texts += open_part.filename is None
                        if texts > MAX_TEXT_PARTS:
                            raise too_large("", f"more than {MAX_TEXT_PARTS} text parts")
                    elif step == "data" and open_part is not None:
                        await _append(open_part, data)
                    elif step == "end" and open_part is not None:
                        finished, open_part = open_part, None
                        yield await _finish(finished)
        finally:
            if open_part is not None:
                open_part.spool.close()
        if not self._complete:
            raise ProblemError(
                400, ProblemCode.INCOMPLETE_BODY, "the body ends before its last part does; nothing was kept", retryable=True
            )

    def _feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(error) from None
        steps, self._steps = self._steps, []
        return steps

    def _open(self, headers: dict[str, bytes]) -> _OpenPart:
        disposition, options = parse_options_header(headers.get("content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise ProblemError(400, ProblemCode.INVALID_REQUEST, "a part has no Content-Disposition: form-data; name=…")
        name = _decode(options[b"name"])
        filename = _decode(options[b"filename"]) if b"filename" in options else None
        limit = MAX_TEXT_BYTES if filename is None else self._max_file_bytes(name)
        spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - handed on to the caller
        return _OpenPart(name, filename, limit, cast(BinaryIO, spool))

    def _callbacks(self) -> dict[str, Callable[..., None]]:
        def note(step: str) -> Callable[..., None]:
            return lambda data=b"", start=0, end=0: self._steps.append((step, data[start:end]))

        def finish() -> None:
            self._complete = True

        return {
            "on_part_begin": note("begin"),
            "on_header_field": note("header_field"),
            "on_header_value": note("header_value"),
            "on_header_end": note("header_end"),
            "on_headers_finished": note("headers_finished"),
            "on_part_data": note("data"),
            "on_part_end": note("end"),
            "on_end": finish,
        }


async def _append(part: _OpenPart, data: bytes) -> None:
    part.size += len(data)
    if part.size > part.max_bytes:
        shown = part.filename if part.filename is not None else part.name
        raise too_large("/" + part.name, f"{shown!r} has more than {part.max_bytes} bytes, the limit")
    part.buffer += data
    if len(part.buffer) >= SPOOL_BYTES:  # beyond it the spool is a file: never written on the event loop
        block, part.buffer = bytes(part.buffer), bytearray()
        await anyio.to_thread.run_sync(part.spool.write, block)


async def _finish(part: _OpenPart) -> TextPart | FilePart:
    if part.filename is None:
        part.spool.close()
        try:
            return TextPart(part.name, part.buffer.decode("utf-8"))
        except UnicodeDecodeError:
            raise invalid_field("/" + part.name, "the text is not UTF-8") from None
    await anyio.to_thread.run_sync(part.spool.write, bytes(part.buffer))
    part.spool.seek(0)
    return FilePart(part.name, part.filename, part.spool)


def too_large(pointer: str, detail: str) -> ProblemError:
    """A body, a part or a file beyond its limit."""
    return ProblemError(413, ProblemCode.TOO_LARGE, detail, [FieldError(pointer=pointer, message=detail)])


def _malformed(error: FormParserError) -> ProblemError:
    return ProblemError(400, ProblemCode.INVALID_REQUEST, f"the multipart body is malformed: {error}")


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")
