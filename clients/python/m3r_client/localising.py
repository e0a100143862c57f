"""Operations on references, maps and queries."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

from m3r_client.decoding import decode
from m3r_client.errors import NotFound, WaitTimeout
from m3r_client.localisation_answers import CameraIntrinsics, Localisation, LocalisationMap, MapPage, Reference, ReferencePage
from m3r_client.photos import Photo
from m3r_client.retrying import RetryPolicy, read_json, send
from m3r_client.steps import Emit, Pause, Request, Steps, Work

QUERY_PATIENCE_S = 2.0  # a pose of a moving camera is worth nothing later
BUILDING_PAUSE_S = 1.0

Part = tuple[str, str | None, bytes]  # name, file name, bytes
P = TypeVar("P", ReferencePage, MapPage)


@dataclass(frozen=True)
class Query:
    """What is asked of a photograph; `GET /v1/info` tells how many references one query may have."""

    intrinsics: CameraIntrinsics | None = None
    prior: Mapping[str, Any] | None = None  # {"position": [x, y, z] or "pose": (4, 4), "radius": …, "map_id": …}
    deadline_ms: int | None = None
    reference_ids: Sequence[str] = ()
    map_ids: Sequence[str] = ()
    references: Sequence[Photo] = ()  # photographs that go with the query
    facts: Sequence[Mapping[str, Any]] = field(default=())  # of `references`, in their order: name, intrinsics, pose

    def as_json(self) -> dict[str, Any]:
        """Write the `query` part."""
        said = {
            "intrinsics": facts_of_camera(self.intrinsics),
            "prior": dict(self.prior) if self.prior else None,
            "deadline_ms": self.deadline_ms,
            "reference_ids": list(self.reference_ids),
            "map_ids": list(self.map_ids),
            "references": [dict(each) for each in self.facts],
        }
        return {name: value for name, value in said.items() if value not in (None, [])}


def localize(policy: RetryPolicy, photo: Photo, query: Query) -> Steps[Localisation]:
    """Asking again changes nothing, but is soon of no use."""
    parts: list[Part] = [("query", None, json.dumps(query.as_json()).encode())]
    for name, each in [("image", photo), *(("references", reference) for reference in query.references)]:
        parts.append((name, each.name, (yield Work(each.read))))
    hasty = replace(policy, patience_s=min(policy.patience_s, QUERY_PATIENCE_S))
    answer = yield from send(_multipart("/v1/localize", parts), hasty)
    return decode(Localisation, read_json(answer))


def create_reference(
    policy: RetryPolicy, photo: Photo, name: str | None, camera: CameraIntrinsics | None, pose: Sequence[Sequence[float]] | None
) -> Steps[Reference]:
    """Not sent again when nobody knows whether it has arrived: there would be two."""
    matrix = None if pose is None else [[float(value) for value in row] for row in pose]
    said = {"name": name, "intrinsics": facts_of_camera(camera), "pose": matrix}
    facts = json.dumps({key: value for key, value in said.items() if value is not None}).encode()
    data: bytes = yield Work(photo.read)
    parts: list[Part] = [("reference", None, facts), ("image", photo.name, data)]
    answer = yield from send(replace(_multipart("/v1/references", parts), repeatable=False), policy)
    return decode(Reference, read_json(answer))


def get_reference(policy: RetryPolicy, reference_id: str) -> Steps[Reference]:
    answer = yield from send(Request("GET", f"/v1/references/{quote(reference_id, safe='')}"), policy)
    return decode(Reference, read_json(answer))


def list_references(policy: RetryPolicy, page_size: int) -> Steps[None]:
    yield from _list(policy, "/v1/references", ReferencePage, page_size)


def delete_reference(policy: RetryPolicy, reference_id: str) -> Steps[None]:
    yield from _delete(policy, f"/v1/references/{quote(reference_id, safe='')}")


def create_map(policy: RetryPolicy, job_id: str, name: str | None) -> Steps[LocalisationMap]:
    """Not sent again when nobody knows whether it has arrived: there would be two."""
    body = json.dumps({"job_id": job_id} if name is None else {"job_id": job_id, "name": name}).encode()
    request = Request("POST", "/v1/maps", headers={"Content-Type": "application/json"}, body=body, repeatable=False)
    answer = yield from send(request, policy)
    return decode(LocalisationMap, read_json(answer))


def get_map(policy: RetryPolicy, map_id: str) -> Steps[LocalisationMap]:
    answer = yield from send(Request("GET", f"/v1/maps/{quote(map_id, safe='')}"), policy)
    return decode(LocalisationMap, read_json(answer))


def wait_for_map(policy: RetryPolicy, map_id: str, timeout_s: float) -> Steps[LocalisationMap]:
    """Wait until a map is ready or failed; raises WaitTimeout."""
    waited = 0.0
    while True:
        found = yield from get_map(policy, map_id)
        if found.status != "building":
            return found
        if waited >= timeout_s:
            raise WaitTimeout(f"map {map_id} is still building after {timeout_s:g} s; it goes on")
        pause = min(BUILDING_PAUSE_S, timeout_s - waited)
        yield Pause(pause)
        waited += pause


def list_maps(policy: RetryPolicy, page_size: int) -> Steps[None]:
    yield from _list(policy, "/v1/maps", MapPage, page_size)


def delete_map(policy: RetryPolicy, map_id: str) -> Steps[None]:
    yield from _delete(policy, f"/v1/maps/{quote(map_id, safe='')}")


def facts_of_camera(camera: CameraIntrinsics | None) -> dict[str, float] | None:
    """Write a camera as JSON has it."""
    if camera is None:
        return None
    return {name: value for name, value in dataclasses.asdict(camera).items() if value is not None}


def _list(policy: RetryPolicy, path: str, kind: type[P], page_size: int) -> Steps[None]:
    params: dict[str, str | int | float] = {"limit": page_size}
    while True:
        answer = yield from send(Request("GET", path, params), policy)
        page = decode(kind, read_json(answer))
        for item in page.items:
            yield Emit(item)
        if page.next_cursor is None:
            return
        params = {**params, "cursor": page.next_cursor}


def _delete(policy: RetryPolicy, path: str) -> Steps[None]:
    """What is not there any more is deleted, by an earlier try of the same request perhaps."""
    try:
        yield from send(Request("DELETE", path), policy)
    except NotFound:
        return


def _multipart(path: str, parts: Sequence[Part]) -> Request:
    """Write a form (RFC 7578); file names as browsers write them."""
    boundary = f"m3r-{secrets.token_hex(16)}"
    body = bytearray()
    for name, filename, data in parts:
        disposition = f'form-data; name="{name}"'
        if filename is not None:
            plain = filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
            disposition += f'; filename="{plain}"\r\nContent-Type: application/octet-stream'
        body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return Request("POST", path, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}, body=bytes(body))
