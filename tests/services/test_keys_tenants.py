"""A tenant sees its own resources alone: on every route of the application, those that are added later too.

The routes come from the application's document. A route whose path holds something that is not known here fails the test: say in
`Owned` how to make one of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import httpx
import pytest

from services.adapters.settings import Settings
from services.api.app import create_app
from services.api.scopes import required_scope
from services.contract.access import Scope
from services.contract.ids import new_id
from tests.services.api_stand import assert_problem, good_photos
from tests.services.tenant_stand import Tenants, bearer, open_tenants, tenants

__all__ = ["tenants"]

OPEN = {"/healthz/live", "/healthz/ready", "/"}  # whoever asks gets the same answer: health, and the page, which holds no data
PARAMETER = re.compile(r"{(\w+)}")


@cache
def document() -> dict[str, Any]:
    """The application's document."""
    return create_app(Settings.model_construct()).openapi()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path template and description of every operation."""
    paths = document()["paths"]
    return [(method.upper(), path, each) for path, methods in paths.items() for method, each in methods.items()]


WITH_IDS = [(method, path) for method, path, _ in operations() if PARAMETER.search(path)]
LISTS: dict[str, Literal["job", "ref", "map"]] = {"/v1/jobs": "job", "/v1/references": "ref", "/v1/maps": "map"}
WITHOUT_IDS = [path for method, path, _ in operations() if method == "GET" and not PARAMETER.search(path)]


@dataclass
class Owned:
    """What the first tenant has, by the names that paths give it."""

    capture_id: str
    job_id: str
    reference_id: str
    map_id: str

    def fill(self, path: str) -> str:
        """Put ids into a path template."""
        return PARAMETER.sub(lambda found: self._value(found[1], path), path)

    def _value(self, name: str, path: str) -> str:
        if name in vars(self):
            return str(getattr(self, name))
        if name == "name":
            return "photo_0.jpg" if "/images/" in path else "scene.ply"
        if name in ("upload_id", "delivery_id"):  # below a capture or a job: that one's owner decides
            assert "{capture_id}" in path or "{job_id}" in path
            return new_id("upl")
        raise AssertionError(f"{path} has {name!r}, which this test cannot fill; say in Owned how to make one")


@pytest.fixture(scope="module")
def shared(redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tenants, Owned]]:
    """Two tenants, and what the first has: nothing here changes it, since every request comes from the other."""
    from tests.services.conftest import make_settings

    with open_tenants(make_settings(redis_server.url, tmp_path_factory.mktemp("tenants"))) as opened:
        yield opened, own(opened)


def own(tenants: Tenants) -> Owned:
    """Let the first tenant have one of everything."""
    capture_id = tenants.first.post("/v1/captures").json()["id"]
    name, data = good_photos(1)[0]
    assert tenants.first.put(f"/v1/captures/{capture_id}/images/{name}", content=data).status_code == 201
    job_id = tenants.api.new_job()["id"]
    tenants.api.finish(job_id)
    reference = tenants.first.post("/v1/references", files={"image": (name, data)})
    frozen = tenants.first.post("/v1/maps", json={"job_id": job_id})
    assert (reference.status_code, frozen.status_code) == (201, 202)
    return Owned(capture_id, job_id, reference.json()["id"], frozen.json()["id"])


def nobody_s() -> Owned:
    """Ids that were never given out."""
    return Owned(new_id("cap"), new_id("job"), new_id("ref"), new_id("map"))


def masked(answer: httpx.Response) -> dict[str, Any]:
    """A problem without what differs from request to request."""
    problem = dict(answer.json())
    text = json.dumps({name: value for name, value in problem.items() if name != "request_id"})
    return dict(json.loads(re.sub(r"[a-z]{3}_[0-9a-f-]{36}", "ID", text)))


@pytest.mark.parametrize(("method", "path"), WITH_IDS)
def test_another_tenant_s_resource_is_as_if_there_were_none(shared: tuple[Tenants, Owned], method: str, path: str) -> None:
    tenants, owned = shared
    answer = tenants.second.request(method, owned.fill(path))
    assert_problem(answer, 404, "not_found")
    assert masked(answer) == masked(tenants.second.request(method, nobody_s().fill(path)))
    if method == "GET":
        assert tenants.second.head(owned.fill(path)).status_code == 404
        mine = tenants.first.head(owned.fill(path))
        assert mine.status_code in (200, 204) or "{delivery_id}" in path, "the first tenant's own does not answer"


def test_event_streams_are_replayed_for_their_owner_alone(shared: tuple[Tenants, Owned]) -> None:
    tenants, owned = shared
    for last in ("0-0", "1-1"):
        answer = tenants.second.get(f"/v1/jobs/{owned.job_id}/events", headers={"Last-Event-ID": last})
        assert_problem(answer, 404, "not_found")


@pytest.mark.parametrize("path", WITHOUT_IDS)
def test_no_listing_shows_another_tenant_s_resources(shared: tuple[Tenants, Owned], path: str) -> None:
    tenants, owned = shared
    answer = tenants.second.get(path)
    assert answer.status_code == 200
    assert not [each for each in vars(owned).values() if each in answer.text]
    if path in LISTS:
        queries: list[dict[str, Any]] = [{}, {"cursor": new_id(LISTS[path])}, {"limit": 1}]
        for query in [*queries, {"status": "succeeded"}] if path == "/v1/jobs" else queries:
            assert tenants.second.get(path, params=query).json() == {"items": [], "next_cursor": None}
        assert [each for each in vars(owned).values() if each in tenants.first.get(path).text]


def reconstruct(client: httpx.Client, owned: Owned) -> httpx.Response:
    return client.post("/v1/reconstructions", json={"capture_id": owned.capture_id})


def freeze(client: httpx.Client, owned: Owned) -> httpx.Response:
    return client.post("/v1/maps", json={"job_id": owned.job_id})


def localize(client: httpx.Client, **query: Any) -> httpx.Response:
    return client.post("/v1/localize", files={"image": good_photos(1)[0]}, data={"query": json.dumps(query)})


def localize_bare(client: httpx.Client, **query: Any) -> httpx.Response:
    return client.post("/v1/localize", params=query, content=good_photos(1)[0][1], headers={"Content-Type": "image/jpeg"})


# What names a resource beside the path, in a body or in the query: operation and member -> the request that does it.
NAMED_BESIDE_THE_PATH: dict[tuple[str, str], list[Callable[[httpx.Client, Owned], httpx.Response]]] = {
    ("createReconstruction", "capture_id"): [reconstruct],
    ("createMap", "job_id"): [freeze],
    ("localize", "reference_ids"): [
        lambda client, owned: localize(client, reference_ids=[owned.reference_id]),
        lambda client, owned: localize_bare(client, reference_ids=[owned.reference_id]),
    ],
    ("localize", "map_ids"): [
        lambda client, owned: localize(client, map_ids=[owned.map_id]),
        lambda client, owned: localize_bare(client, map_ids=[owned.map_id]),
    ],
    ("localize", "map_id"): [],  # of a prior: one of `map_ids`, else it is refused
    ("localizeInMap", "map_id"): [],
}


def with_schemas(described: Any) -> str:
    """A description with all schemas that it refers to."""
    schemas = document()["components"]["schemas"]
    text, seen = json.dumps(described), set[str]()
    while unseen := set(re.findall(r"#/components/schemas/(\w+)", text)) - seen:
        seen |= unseen
        text += "".join(json.dumps(schemas[name]) for name in unseen)
    return text


def test_everything_that_names_a_resource_beside_the_path_is_tried() -> None:
    found = set()
    for _, _, operation in operations():
        members = re.findall(r'"(\w+_ids?)": {', with_schemas(operation.get("requestBody", {})))
        members += [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
        found |= {(operation["operationId"], member) for member in members if re.search(r"_ids?$", member)}
    assert found == set(NAMED_BESIDE_THE_PATH), "a request names a resource that this test does not send"


@pytest.mark.parametrize(("operation", "member"), [each for each, requests in NAMED_BESIDE_THE_PATH.items() if requests])
def test_a_request_cannot_name_another_tenant_s_resource(shared: tuple[Tenants, Owned], operation: str, member: str) -> None:
    tenants, owned = shared
    for request in NAMED_BESIDE_THE_PATH[operation, member]:
        answer = request(tenants.second, owned)
        assert_problem(answer, 404, "not_found")
        assert masked(answer) == masked(request(tenants.second, nobody_s()))
    assert not tenants.first.get(f"/v1/captures/{owned.capture_id}").json()["frozen"]


def test_the_other_tenant_changed_nothing(shared: tuple[Tenants, Owned]) -> None:
    tenants, owned = shared
    assert tenants.first.get(f"/v1/jobs/{owned.job_id}").json()["status"] == "succeeded"
    assert len(tenants.first.get(f"/v1/captures/{owned.capture_id}").json()["images"]) == 1


def test_idempotency_keys_are_each_tenant_s_own(tenants: Tenants) -> None:
    jobs = [
        client.post("/v1/reconstructions", files=[("images", each) for each in good_photos(2)], headers={"Idempotency-Key": "1"})
        for client in (tenants.first, tenants.second, tenants.first)
    ]
    assert [job.status_code for job in jobs] == [202, 202, 202]
    first, second, replay = (job.json()["id"] for job in jobs)
    assert first == replay != second
    assert "idempotent-replayed" not in jobs[1].headers


def test_a_deleted_job_is_gone_for_its_owner_alone(tenants: Tenants) -> None:
    job_id = tenants.api.new_job()["id"]
    assert tenants.first.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert_problem(tenants.first.get(f"/v1/jobs/{job_id}"), 410, "gone")
    assert_problem(tenants.second.get(f"/v1/jobs/{job_id}"), 404, "not_found")


def test_tenants_survive_an_empty_redis(tenants: Tenants) -> None:
    job_id = tenants.api.new_job()["id"]
    redis = tenants.api.store.redis
    for key in redis.scan_iter(tenants.api.settings.key_prefix + "*"):
        redis.delete(key)
    assert tenants.first.get(f"/v1/jobs/{job_id}").status_code == 200  # from its durable copy
    assert_problem(tenants.second.get(f"/v1/jobs/{job_id}"), 404, "not_found")


SCOPED = [(method, path, required_scope(method, path)) for method, path, _ in operations() if path not in OPEN]


@pytest.mark.parametrize("scope", get_args(Scope))
def test_every_route_wants_its_scope(shared: tuple[Tenants, Owned], scope: Scope) -> None:
    tenants, _ = shared
    wanted: dict[tuple[str, str], int] = {}
    with tenants.client(tenants.key("third", scope)) as client:
        for method, path, _ in SCOPED:
            answer = client.request(method, nobody_s().fill(path))
            wanted[method, path] = answer.status_code
            if answer.status_code == 403:
                assert f"may {scope}; this route wants" in assert_problem(answer, 403, "forbidden")["detail"]
    allowed = {route for route, status in wanted.items() if status != 403}
    assert allowed == {(method, path) for method, path, needed in SCOPED if needed == scope}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/jobs/{job_id}", "read"),
        ("HEAD", "/v1/jobs", "read"),
        ("GET", "/v1/jobs/{job_id}/links", "read"),
        ("POST", "/v1/reconstructions", "write"),
        ("PUT", "/v1/captures/{capture_id}/images/{name}", "write"),
        ("DELETE", "/v1/jobs/{job_id}", "write"),
        ("POST", "/v1/localize", "localize"),
        ("POST", "/v1/maps/{map_id}/localize", "localize"),
        ("GET", "/metrics", "admin"),
        ("GET", "/v1/system/demand", "admin"),
        ("GET", "/v1/info", "read"),
    ],
)
def test_the_scopes_of_routes(method: str, path: str, scope: Scope) -> None:
    assert required_scope(method, path) == scope


def test_a_key_of_the_settings_may_everything(settings: Settings) -> None:
    import hashlib

    digest = hashlib.sha256(b"m3r_old").hexdigest()
    with open_tenants(settings.model_copy(update={"api_key_sha256s": (digest,)})) as opened, httpx.Client() as client:
        client.headers.update(bearer("m3r_old"))
        for path in ("/metrics", "/v1/jobs", "/v1/system/demand"):
            assert client.get(opened.api.url + path).status_code == 200
        job_id = opened.api.new_job()["id"]
        assert client.get(f"{opened.api.url}/v1/jobs/{job_id}").status_code == 404  # it belongs to the tenant `first`
