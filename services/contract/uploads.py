"""Direct uploads: photographs go from a client straight into the object store, and are judged when it says they are there."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from services.contract.jobs import Model

MAX_FILES = 2_000  # of one request; what a capture takes is a setting


class UploadFile(Model):
    """A photograph that a client wants to upload."""

    name: Annotated[str, Field(min_length=1, max_length=180, description="File name, without folders")]
    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Of its bytes, in hex")]


class UploadRequest(Model):
    """The photographs that a client wants to upload."""

    files: Annotated[list[UploadFile], Field(min_length=1, max_length=MAX_FILES)]


class UploadTarget(Model):
    """Where one photograph is to be sent: `PUT url` with exactly these headers and the bytes that were announced."""

    name: str
    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str]  # part of the URL's signature; `Content-Length` is, too


class Upload(Model):
    """An upload as its client sees it."""

    id: str
    capture_id: str
    expires_at: datetime  # the URLs work until then
    files: list[UploadTarget]  # what the capture has already is left out
    links: dict[str, str]


class UploadRecord(Model):
    """An upload as it lies in the object store."""

    id: str
    capture_id: str
    created_at: datetime
    files: list[UploadFile]  # their places name the objects
