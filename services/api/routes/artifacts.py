"""`/v1/jobs/{id}/artifacts`: the files of a result, with ranges and digests, one by one or as one zip."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter
from zipstream import ZIP_STORED, ZipStream

from services.api.answers import refusals
from services.api.job_access import find_job
from services.api.links import artifact_url, base_url
from services.api.problems import ProblemError
from services.api.ranges import ByteRange, UnsatisfiableRangeError, choose_range, etag_matches
from services.api.request_frame import HEAD_FLAG
from services.api.wiring import Authorized, Services, Wired
from services.contract import keys
from services.contract.codes import ProblemCode
from services.contract.jobs import Artifact, JobRecord
from services.contract.pages import ArtifactLink

router = APIRouter(tags=["artifacts"])

PRESIGNED_S = 900.0
_LINKS = TypeAdapter(list[ArtifactLink])
_FILE_LINKS: dict[str, Any] = {
    "downloadArtifact": {
        "operationId": "downloadArtifact",
        "parameters": {"job_id": "$request.path.job_id", "name": "$response.body#/0/name"},
    }
}
_BYTES: dict[str, Any] = {"content": {"*/*": {}}}  # the file's own media type, as `listArtifacts` tells it


@router.get(
    "/v1/jobs/{job_id}/artifacts",
    operation_id="listArtifacts",
    summary="List the files of a result",
    response_model=list[ArtifactLink],
    responses={200: {"links": _FILE_LINKS}, **refusals(404, 410)},
)
async def list_artifacts(job_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """List the files of a job's result; none while it has not succeeded."""
    record = (await find_job(services, caller, job_id)).record
    base = base_url(request)
    links = [ArtifactLink(**file.model_dump(), url=artifact_url(base, job_id, file.name)) for file in _files(record)]
    return Response(_LINKS.dump_json(links), headers={"Cache-Control": "no-store"}, media_type="application/json")


@router.get(
    "/v1/jobs/{job_id}/artifacts.zip",
    operation_id="downloadArtifacts",
    summary="Fetch all files of a result as one zip",
    response_class=Response,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}, **refusals(404, 410)},
)
async def download_artifacts(job_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Stream all files of a job's result as one zip, packed as it is sent."""
    record = (await find_job(services, caller, job_id)).record
    if record.result is None:
        raise ProblemError(404, ProblemCode.NOT_FOUND, f"job {job_id} is {record.status.value}; it has no result")
    archive = ZipStream(compress_type=ZIP_STORED, sized=True)
    for file in _files(record)[:1]:  # a store that is away is told with 503, not by an archive that breaks off
        first = keys.artifact(job_id, record.result.token, file.name)
        await to_thread.run_sync(services.objects.stat, first, limiter=services.store_threads)
    for file in _files(record):
        key = keys.artifact(job_id, record.result.token, file.name)
        archive.add(_read_later(services, key), file.name, size=file.bytes)
    headers = {
        "Content-Length": str(len(archive)),
        "Content-Disposition": f'attachment; filename="{job_id}.zip"',
        "Cache-Control": "no-store",
    }
    if request.scope.get(HEAD_FLAG):
        return Response(headers=headers, media_type="application/zip")
    return StreamingResponse(iter(archive), headers=headers, media_type="application/zip")


@router.get(
    "/v1/jobs/{job_id}/artifacts/{name:path}",
    operation_id="downloadArtifact",
    summary="Fetch one file of a result",
    response_class=Response,
    responses={
        200: {"description": "The file", **_BYTES},
        206: {"description": "A part of the file", **_BYTES},
        304: {"description": "The file is the one in `If-None-Match`"},
        307: {"description": "Fetch it from the URL in `Location`, which works for a quarter of an hour"},
        **refusals(404, 410, 416),
    },
)
async def download_artifact(
    job_id: str,
    name: str,
    request: Request,
    services: Wired,
    caller: Authorized,
    range_: Annotated[str | None, Header(alias="Range", description="One byte range, `bytes=0-1023`")] = None,
    if_range: Annotated[str | None, Header(description="An `ETag`: send the range only of this very file")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Give one file of a job's result, or a part of it. Its `ETag` is its SHA-256."""
    record = (await find_job(services, caller, job_id)).record
    file = next((file for file in _files(record) if file.name == name), None)
    if file is None or record.result is None:
        known = ", ".join(file.name for file in _files(record)) or f"none, it is {record.status.value}"
        raise ProblemError(404, ProblemCode.NOT_FOUND, f"job {job_id} has no file {name[:100]!r}; it has {known}")
    headers = _describe(file)
    if etag_matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers={"ETag": headers["ETag"], "Cache-Control": headers["Cache-Control"]})
    key = keys.artifact(job_id, record.result.token, name)
    url = None
    if not request.scope.get(HEAD_FLAG):  # a URL is signed for one method, and HEAD needs nothing of the store
        url = await to_thread.run_sync(
            services.objects.presign, key, PRESIGNED_S, _last_part(name), limiter=services.store_threads
        )
    if url is not None:
        return Response(status_code=307, headers={"Location": url, "Cache-Control": "no-store"})
    part = _choose(range_, if_range, file)
    return await _send(request, services, key, file, part, headers)


async def _send(
    request: Request, services: Services, key: str, file: Artifact, part: ByteRange | None, headers: dict[str, str]
) -> Response:
    status, span = (200, ByteRange(0, file.bytes)) if part is None else (206, part)
    if part is None:
        headers["Content-Digest"] = headers["Repr-Digest"]
    else:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{file.bytes}"
    headers["Content-Length"] = str(span.end - span.start)
    if request.scope.get(HEAD_FLAG):
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    chunks = services.objects.open_range(key, span.start, span.end)
    # The first chunk is read before the answer begins, so that a store that is away is still answered with 503.
    first = await to_thread.run_sync(next, chunks, b"", limiter=services.store_threads)
    return StreamingResponse(_chain(first, chunks), status, headers, file.media_type)


def _describe(file: Artifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    name = _last_part(file.name)
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    return {
        "ETag": f'"{file.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }


def _choose(range_: str | None, if_range: str | None, file: Artifact) -> ByteRange | None:
    try:
        return choose_range(range_, if_range, f'"{file.sha256}"', file.bytes)
    except UnsatisfiableRangeError as error:
        headers = {"Content-Range": f"bytes */{file.bytes}"}
        raise ProblemError(416, ProblemCode.RANGE_NOT_SATISFIABLE, f"Range {range_}: {error}", headers=headers) from None


def _files(record: JobRecord) -> list[Artifact]:
    return record.result.artifacts if record.result is not None else []


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _read_later(services: Services, key: str) -> Iterator[bytes]:
    yield from services.objects.open_range(key)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
