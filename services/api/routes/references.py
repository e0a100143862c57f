"""`/v1/references`: photographs that queries are localised against, kept and encoded once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from services.adapters.localisation_store import LimitReached
from services.adapters.objects import ObjectStoreError
from services.api.answers import refusals
from services.api.auth import Caller
from services.api.body import require_room
from services.api.links import base_url
from services.api.localisation_access import find_records, reference_url, view_references
from services.api.localisation_body import parse_document, read_photo_body
from services.api.localisation_photos import check_photo
from services.api.photo_names import safe_photo_name
from services.api.photos import PHOTO_FORMATS
from services.api.problems import ProblemError, invalid_field
from services.api.wiring import Authorized, Services, Wired
from services.contract import keys
from services.contract.codes import ProblemCode
from services.contract.ids import id_pattern, is_id, new_id
from services.contract.jobs import ImageInput
from services.contract.localisation_parameters import ReferenceParameters
from services.contract.localisation_records import Reference, ReferenceFacts, ReferencePage, ReferenceRecord

router = APIRouter(tags=["localisation"])

PAGE = 50
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {
                    "image": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
                    "reference": ReferenceFacts.model_json_schema(),
                },
            },
            "encoding": {"reference": {"contentType": "application/json"}},
        },
        **dict.fromkeys(PHOTO_FORMATS.values(), _BYTES),
    },
}
_LINKS: dict[str, Any] = {
    operation: {"operationId": operation, "parameters": {"reference_id": "$response.body#/id"}}
    for operation in ("getReference", "deleteReference")
}


@router.post(
    "/v1/references",
    operation_id="createReference",
    summary="Keep a reference photograph",
    status_code=201,
    response_model=Reference,
    responses={
        201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "The reference"}}, "links": _LINKS},
        **refusals(400, 408, 409, 413, 415, 422, 507),
    },
    openapi_extra={"requestBody": _BODY},
)
async def create_reference(
    request: Request, services: Wired, caller: Authorized, parameters: Annotated[ReferenceParameters, Query()]
) -> Response:
    """Keep a photograph that shows a place, with its camera and pose where they are known.

    Multipart with `image` and `reference` (JSON `{name, intrinsics, pose}`), or the bare photograph with query parameters. It is
    encoded in the background; a query that comes first encodes it. Another checkpoint encodes it anew, by itself.
    """
    body = await read_photo_body(request, services.settings, "reference")
    facts = parse_document(ReferenceFacts, parameters.document() if body.document is None else body.document)
    image = body.image or b""
    header = check_photo(image, "/image", services.settings, facts.intrinsics, "/intrinsics")

    def keep() -> Response:
        record = _keep(services, caller, facts, image, (header.media_type, header.width, header.height))
        base = base_url(request)
        (shown,) = view_references([record], base, services.references)
        location = {"Location": reference_url(base, record.id), "Cache-Control": "no-store"}
        return Response(shown.model_dump_json(), 201, location, "application/json")

    return await to_thread.run_sync(keep, limiter=services.upload_threads)


@router.get(
    "/v1/references",
    operation_id="listReferences",
    summary="List reference photographs",
    response_model=ReferencePage,
    responses=refusals(422),
)
async def list_references(
    request: Request,
    services: Wired,
    caller: Authorized,
    cursor: Annotated[str | None, Query(json_schema_extra={"pattern": id_pattern("ref")})] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = PAGE,
) -> Response:
    """List the references, newest first."""
    if cursor is not None and not is_id("ref", cursor):
        raise invalid_field("/query/cursor", f"{cursor[:60]!r}; it must be a next_cursor of an earlier page")

    def read() -> ReferencePage:
        records, following = services.references.page(caller.tenant, cursor, limit)
        base = base_url(request)
        return ReferencePage(items=view_references(records, base, services.references), next_cursor=following)

    page = await to_thread.run_sync(read, limiter=services.store_threads)
    return Response(page.model_dump_json(), 200, {"Cache-Control": "no-store"}, "application/json")


@router.get(
    "/v1/references/{reference_id}",
    operation_id="getReference",
    summary="See a reference photograph",
    response_model=Reference,
    responses=refusals(404),
)
async def get_reference(reference_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Give what is known of a reference, and whether it is encoded."""
    (record,) = await find_records(services.references, services, caller, [reference_id])
    base = base_url(request)
    shown = (await to_thread.run_sync(view_references, [record], base, services.references, limiter=services.store_threads))[0]
    return Response(shown.model_dump_json(), 200, {"Cache-Control": "no-store"}, "application/json")


@router.delete(
    "/v1/references/{reference_id}",
    operation_id="deleteReference",
    summary="Delete a reference photograph",
    status_code=204,
    responses=refusals(404),
)
async def delete_reference(reference_id: str, services: Wired, caller: Authorized) -> Response:
    """Delete a reference with its photograph and encoding; afterwards it answers 404."""
    (record,) = await find_records(services.references, services, caller, [reference_id])
    await to_thread.run_sync(services.references.delete, record, limiter=services.store_threads)
    return Response(status_code=204)


def _keep(
    services: Services, caller: Caller, facts: ReferenceFacts, image: bytes, header: tuple[str, int, int]
) -> ReferenceRecord:
    """Store the photograph, then the record; nothing is left when one of them fails. Blocks."""
    limit, objects = services.settings.max_kept_references, services.objects
    if services.references.count(caller.tenant) >= limit:
        raise _full(limit)
    services.quotas.require_room(caller.tenant, 1, len(image))
    require_room(objects, services.settings, len(image))
    reference_id, now = new_id("ref"), datetime.now(UTC)
    name = safe_photo_name(facts.name or "") or reference_id
    media_type, width, height = header
    try:
        stored = objects.put(keys.reference_image(reference_id), image, media_type)
        record = ReferenceRecord(
            id=reference_id,
            tenant=caller.tenant,
            name=name,
            image=ImageInput(
                name=name, bytes=stored.bytes, sha256=stored.sha256, media_type=media_type, width=width, height=height
            ),
            intrinsics=facts.intrinsics,
            pose=facts.pose,
            created_at=now,
            retention_until=now + timedelta(days=services.settings.reference_retention_days),
        )
        services.references.create(record, limit)
    except LimitReached:
        raise _full(limit) from None
    except ObjectStoreError:
        _remove_quietly(services, reference_id)
        raise
    services.quotas.add(caller.tenant, 1, len(image))
    return record


def _remove_quietly(services: Services, reference_id: str) -> None:
    try:
        services.objects.delete_prefix(keys.reference_prefix(reference_id))
    except ObjectStoreError:  # without its record nobody sees it
        return


def _full(limit: int) -> ProblemError:
    detail = f"{limit} references are kept, the limit; delete some (DELETE /v1/references/{{id}})"
    return ProblemError(409, ProblemCode.LIMIT_REACHED, detail)
