"""Finding references and maps for a caller, and showing them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from anyio import to_thread

from services.adapters.localisation_store import R, RecordStore, read_records
from services.api.auth import Caller
from services.api.links import job_url
from services.api.problems import ProblemError
from services.api.wiring import Services
from services.contract.codes import ProblemCode
from services.contract.ids import is_id
from services.contract.localisation_records import LocalisationMap, MapRecord, Reference, ReferenceRecord
from services.contract.problems import FieldError


async def find_records(
    records: RecordStore[R], services: Services, caller: Caller, ids: Sequence[str], pointer: str | None = None
) -> list[R]:
    """Read references or maps that the caller may see; `pointer` is where the request names them.

    Raises:
        ProblemError: 404 for the first one that is not there, or another tenant's.
    """
    known = [each for each in ids if is_id(records.kind.prefix, each)]
    read = dict(zip(known, await read_records(records.kind, known, services.jobs.redis, services.settings), strict=True))
    found: list[R] = []
    for at, record_id in enumerate(ids):
        record = read.get(record_id)
        if record is None and record_id in read:  # Redis may have lost it
            record = await to_thread.run_sync(records.get, record_id, limiter=services.store_threads)
        if record is None or record.tenant != caller.tenant or record.retention_until <= datetime.now(UTC):
            detail = f"there is no {records.kind.name} {record_id[:60]}"
            errors = [] if pointer is None else [FieldError(pointer=f"{pointer}/{at}", message=detail)]
            raise ProblemError(404, ProblemCode.NOT_FOUND, detail, errors)
        found.append(record)
    return found


def view_references(records: Sequence[ReferenceRecord], base: str, store: RecordStore[ReferenceRecord]) -> list[Reference]:
    """Show references. Blocks."""
    encoded = store.encoded([record.id for record in records])
    return [_view_reference(record, base, known) for record, known in zip(records, encoded, strict=True)]


def _view_reference(record: ReferenceRecord, base: str, encoded: bool) -> Reference:
    return Reference(
        **record.model_dump(exclude={"tenant"}),
        encoded=encoded,
        links={"self": reference_url(base, record.id), "localize": f"{base}/v1/localize"},
    )


def view_map(record: MapRecord, base: str) -> LocalisationMap:
    """Show a map."""
    url = map_url(base, record.id)
    return LocalisationMap(
        id=record.id,
        name=record.name,
        job_id=record.job_id,
        status=record.status,
        error=record.error,
        photos=record.photos,
        bytes=sum(file.bytes for file in record.files),
        scale=record.scale,
        created_at=record.created_at,
        retention_until=record.retention_until,
        links={"self": url, "localize": f"{url}/localize", "job": job_url(base, record.job_id)},
    )


def reference_url(base: str, reference_id: str) -> str:
    """A reference."""
    return f"{base}/v1/references/{reference_id}"


def map_url(base: str, map_id: str) -> str:
    """A map."""
    return f"{base}/v1/maps/{map_id}"
