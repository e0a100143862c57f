"""`POST /v1/localize`: the pose of a photograph against reference photographs or maps, at once."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from services.api.answers import refusals
from services.api.auth import Caller
from services.api.localisation_access import find_records
from services.api.localisation_asking import ask, deadline_of
from services.api.localisation_body import PhotoBody, parse_document, read_photo_body, too_many_references
from services.api.localisation_photos import check_photo
from services.api.multipart_body import too_large
from services.api.photo_names import safe_photo_name
from services.api.photos import PHOTO_FORMATS
from services.api.problems import ProblemError, invalid_field
from services.api.wiring import Authorized, Services, Wired
from services.contract.codes import ProblemCode
from services.contract.ids import new_id
from services.contract.localisation import LocalizeAnswer, LocalizeQuery, MapQuery
from services.contract.localisation_messages import QUERY_PART, QueryMessage, ReferenceMessage
from services.contract.localisation_parameters import LocalizeParameters, MapQueryParameters
from services.contract.localisation_records import MapRecord

router = APIRouter(tags=["localisation"])

_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_RAW: dict[str, Any] = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in PHOTO_FORMATS.values()}


def _body(query: dict[str, Any], **more: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": _FILE, "query": query, **more},
    }
    form = {"schema": schema, "encoding": {"query": {"contentType": "application/json"}}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form, **_RAW}}}


@router.post(
    "/v1/localize",
    operation_id="localize",
    summary="Find where a photograph was taken",
    response_model=LocalizeAnswer,
    responses=refusals(400, 404, 408, 409, 413, 415, 422),
    openapi_extra=_body(LocalizeQuery.model_json_schema(), references={"type": "array", "items": _FILE}),
)
async def localize(
    request: Request, services: Wired, caller: Authorized, parameters: Annotated[LocalizeParameters, Query()]
) -> Response:
    """Find the metric pose of a photograph, with a covariance, or say why there is none that can be trusted.

    Against reference photographs that come with it (parts `references`) or are kept (`reference_ids`), or in maps (`map_ids`).
    Multipart with `image` and `query` (JSON), or the bare photograph with query parameters. 200 `localized: false` is an answer
    with its `reason`; 503 with `Retry-After` says at once that the deadline cannot be met.
    """
    started = time.perf_counter()
    limit = services.settings.max_references
    body = await read_photo_body(request, services.settings, "query", limit)
    query = parse_document(LocalizeQuery, parameters.document() if body.document is None else body.document)
    deadline_ms = deadline_of(query.deadline_ms, services)
    _check_request(query, body, limit)
    maps = await find_ready_maps(services, caller, query.map_ids, "/map_ids")
    references, parts, pixels = await _gather_references(query, body, services, caller)
    message = QueryMessage(
        id=new_id("req"),
        request_id=request.state.request_id,
        intrinsics=query.intrinsics,
        references=references,
        maps=maps,
        prior=query.prior,
    )
    parts[QUERY_PART] = _check_query_photo(body, services, query, pixels)
    return await ask(services, message, parts, deadline_ms, started)


@router.post(
    "/v1/maps/{map_id}/localize",
    operation_id="localizeInMap",
    summary="Find where in a map a photograph was taken",
    response_model=LocalizeAnswer,
    responses=refusals(400, 404, 408, 409, 413, 415, 422),
    openapi_extra=_body(MapQuery.model_json_schema()),
)
async def localize_in_map(
    map_id: str, request: Request, services: Wired, caller: Authorized, parameters: Annotated[MapQueryParameters, Query()]
) -> Response:
    """Find the pose of a photograph in a map's frame. `prior` (a position or pose, and a radius) narrows the search.

    Body and answer as in `POST /v1/localize`.
    """
    started = time.perf_counter()
    maps = await find_ready_maps(services, caller, [map_id])
    body = await read_photo_body(request, services.settings, "query")
    query = parse_document(MapQuery, parameters.document() if body.document is None else body.document)
    deadline_ms = deadline_of(query.deadline_ms, services)
    check_prior_map(query, [map_id])
    message = QueryMessage(
        id=new_id("req"), request_id=request.state.request_id, intrinsics=query.intrinsics, maps=maps, prior=query.prior
    )
    return await ask(services, message, {QUERY_PART: _check_query_photo(body, services, query)}, deadline_ms, started)


async def find_ready_maps(services: Services, caller: Caller, ids: list[str], pointer: str | None = None) -> list[MapRecord]:
    """Read maps that can be searched; raises ProblemError 404, or 409 while one is built."""
    maps = await find_records(services.maps, services, caller, ids, pointer)
    for record in maps:
        if record.status != "ready":
            why = "wait until it is ready" if record.status == "building" else "make a new one"
            detail = f"map {record.id} is {record.status}; {why}"
            raise ProblemError(409, ProblemCode.MAP_NOT_READY, detail, retryable=record.status == "building")
    return maps


def _check_request(query: LocalizeQuery, body: PhotoBody, limit: int) -> None:
    count = len(query.reference_ids) + len(body.references)
    if count > limit:
        raise too_many_references(count, limit)
    if len(query.map_ids) > limit:
        raise invalid_field("/map_ids", f"{len(query.map_ids)} maps at once; the limit is {limit}")
    for name, ids in (("reference_ids", query.reference_ids), ("map_ids", query.map_ids)):
        if len(set(ids)) < len(ids):  # what is said twice must not count twice
            raise invalid_field(f"/{name}", "the same id is named twice")
    if query.map_ids and count:
        raise invalid_field("/map_ids", "references or maps, not both")
    if not query.map_ids and not count:
        wanted = "nothing to localise against: send parts 'references', or name reference_ids or map_ids"
        raise invalid_field("/references", wanted)
    if query.prior is not None and not query.map_ids:
        raise invalid_field("/prior", "a prior narrows the search in maps; with references there is none")
    check_prior_map(query, query.map_ids)
    if query.references and len(query.references) != len(body.references):
        wanted = f"facts about {len(query.references)} references, and {len(body.references)} parts 'references' came"
        raise invalid_field("/references", wanted)


def check_prior_map(query: MapQuery, map_ids: list[str]) -> None:
    """Refuse a prior that does not say in whose frame it is; raises ProblemError."""
    if query.prior is None:
        return
    if query.prior.map_id is None and len(map_ids) > 1:
        raise invalid_field("/prior/map_id", f"{len(map_ids)} maps are searched, each with a frame of its own; say which one's")
    if query.prior.map_id is not None and query.prior.map_id not in map_ids:
        raise invalid_field("/prior/map_id", f"{query.prior.map_id} is not among the maps that are searched")


async def _gather_references(
    query: LocalizeQuery, body: PhotoBody, services: Services, caller: Caller
) -> tuple[list[ReferenceMessage], dict[str, bytes], int]:
    """Kept references first, then those that came along with their bytes and pixels; all have a pose, or none has."""
    kept = await find_records(services.references, services, caller, query.reference_ids, "/reference_ids")
    references = [
        ReferenceMessage(id=record.id, name=record.name, intrinsics=record.intrinsics, pose=record.pose) for record in kept
    ]
    parts: dict[str, bytes] = {}
    pixels = 0
    for at, (filename, data) in enumerate(body.references):
        facts = query.references[at] if query.references else None
        intrinsics = None if facts is None else facts.intrinsics
        header = check_photo(data, f"/references/{at}", services.settings, intrinsics, f"/references/{at}/intrinsics")
        pixels += header.width * header.height
        name = safe_photo_name((facts.name if facts else None) or filename) or f"reference_{at:03d}"
        part = f"reference{at}"
        parts[part] = data
        pose = None if facts is None else facts.pose
        references.append(ReferenceMessage(part=part, name=name, intrinsics=intrinsics, pose=pose))
    posed = [reference.pose is not None for reference in references]
    if any(posed) and not all(posed):
        raise invalid_field("/references", "some references have a pose and some have none; give all of them one, or none")
    return references, parts, pixels


def _check_query_photo(body: PhotoBody, services: Services, query: MapQuery, pixels: int = 0) -> bytes:
    """The query's photograph; `pixels` are those of the references that came with it."""
    image = body.image or b""
    header = check_photo(image, "/image", services.settings, query.intrinsics, "/intrinsics")
    total, limit = pixels + header.width * header.height, services.settings.localisation_max_query_pixels
    if total > limit:
        raise too_large("/references", f"the photographs of this query have {total} pixels together; the limit is {limit}")
    return image
