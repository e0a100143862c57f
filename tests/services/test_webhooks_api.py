"""Webhooks over HTTP: what is let in at the door, what a receiver gets, what becomes of one that misbehaves, and redelivery."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.adapters.objects import open_store
from services.adapters.settings import Settings
from services.adapters.transitions import job_error
from services.adapters.webhook_outbox import WebhookOutbox
from services.adapters.webhook_secrets import SecretUnreadable, WebhookSecrets
from services.adapters.webhook_shares import LANES, LANES_OF_ONE
from services.contract.codes import JobErrorCode
from services.contract.keys import job_document, webhook_key
from services.contract.webhooks import FINAL_EVENTS, Webhook
from tests.services.api_stand import Api, assert_problem, good_photos, open_api
from tests.services.service_stand import make_record, wait_for
from tests.services.webhook_receiver import SECRET, Receiver, receiver

QUICK = {"webhook_allowed_networks": ("127.0.0.0/8",), "webhook_timeout_s": 0.6, "webhook_retry_first_s": 0.05}


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Receivers on the loopback, little patience."""
    return settings.model_copy(update=QUICK)


@pytest.fixture
def api(quick: Settings) -> Iterator[Api]:
    """The API of one test."""
    with open_api(quick) as opened:
        yield opened


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """The receiver of one test."""
    with receiver() as made:
        yield made


def submit(api: Api, webhook: Any, **fields: Any) -> httpx.Response:
    """Submit two photographs with a webhook."""
    text = webhook if isinstance(webhook, str) else json.dumps(webhook)
    return api.submit(*good_photos(2), webhook=text, **fields)


def new_job(api: Api, hook: Receiver, **changes: Any) -> dict[str, Any]:
    """A job that tells `hook`."""
    answer = submit(api, {"url": hook.url, "secret": SECRET, **changes})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def deliveries(api: Api, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What the job's owner sees."""
    return list(api.http.get(job["links"]["deliveries"]).json()["items"])


def wait_settled(api: Api, job: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
    """Wait until nothing of a job is under way."""

    def settled() -> list[dict[str, Any]]:
        found = deliveries(api, job)
        return found if len(found) >= count and all(each["status"] != "pending" for each in found) else []

    return wait_for(settled, 30, "the deliveries' end")


def test_a_job_tells_its_end(api: Api, hook: Receiver) -> None:
    job = new_job(api, hook)
    assert job["webhook"] == {"url": hook.url, "events": list(FINAL_EVENTS)}
    api.finish(job["id"])
    (delivery,) = wait_settled(api, job)
    (seen,) = hook.received
    event = seen.verify()
    assert event == seen.event
    assert event["type"] == "job.succeeded"
    assert event["data"] | {"job_id": job["id"], "sequence": 1, "status": "succeeded", "terminal": True} == event["data"]
    assert seen.headers["content-type"] == "application/json"
    assert delivery["id"] == seen.id
    assert (delivery["status"], delivery["attempts"], delivery["last_status"], delivery["last_error"]) == (
        "delivered",
        1,
        200,
        None,
    )
    assert delivery["delivered_at"] is not None
    numbers = api.http.get("/metrics").text
    assert 'm3r_webhook_tries_total{outcome="delivered"} 1.0' in numbers
    assert "m3r_webhook_jobs_open 0.0" in numbers


def test_json_submissions_carry_webhooks_too(api: Api, hook: Receiver) -> None:
    capture = api.http.post("/v1/captures").json()["id"]
    name, data = good_photos(1)[0]
    api.http.put(f"/v1/captures/{capture}/images/{name}", content=data)
    body = {"capture_id": capture, "webhook": {"url": hook.url, "secret": SECRET, "events": ["job.canceled"]}}
    job = api.http.post("/v1/reconstructions", json=body).json()
    assert job["webhook"] == {"url": hook.url, "events": ["job.canceled"]}
    api.http.post(job["links"]["cancel"])
    wait_settled(api, job)
    assert hook.received[0].verify()["type"] == "job.canceled"
    again = api.http.post(job["links"]["retry"]).json()  # the new job has the wishes of the old one
    assert again["webhook"] == job["webhook"]
    api.http.post(again["links"]["cancel"])
    wait_settled(api, again)
    assert [each.verify()["data"]["job_id"] for each in hook.received] == [job["id"], again["id"]]
    assert hook.received[1].sequence == 1


def test_without_a_secret_the_tenant_s_own_signs(api: Api, quick: Settings, hook: Receiver) -> None:
    job = submit(api, {"url": hook.url}).json()
    api.http.post(job["links"]["cancel"])
    wait_settled(api, job)
    secrets = WebhookSecrets(quick, open_store(quick))
    own, other = secrets.of_tenant("default"), secrets.of_tenant("other")
    assert own != other
    assert hook.received[0].verify(own)["type"] == "job.canceled"


def test_a_given_secret_is_nowhere_to_be_read(api: Api, hook: Receiver, capfd: pytest.CaptureFixture[str]) -> None:
    raw = base64.b64decode(SECRET.removeprefix("whsec_"))
    needles = [SECRET, SECRET.removeprefix("whsec_"), raw.hex()]
    job = new_job(api, hook)
    api.http.post(job["links"]["cancel"])
    wait_settled(api, job)
    texts = [api.objects.read(job_document(job["id"])).decode(), json.dumps(api.job(job["id"]))]
    read = {"hash": api.store.redis.hgetall, "string": api.store.redis.get, "stream": api.store.redis.xrange}
    texts += [key + str(read.get(api.store.redis.type(key), str)(key)) for key in api.store.redis.keys(api.store.prefix + "*")]
    texts += [json.dumps(deliveries(api, job)), api.http.get("/v1/jobs").text, *capfd.readouterr()]
    assert hook.url in texts[0]  # one would find it
    assert not [needle for needle in needles for text in texts if needle in text]
    sealed = api.record(job["id"]).webhook
    assert sealed is not None
    assert sealed.sealed_secret


def test_events_come_in_their_order_though_the_first_fails(api: Api, hook: Receiver) -> None:
    hook.script = [500, "close", 503, 200]
    job = new_job(api, hook, events=["job.running", "job.failed"])
    token = api.claim(job["id"])
    api.store.fail(job["id"], token, job_error(JobErrorCode.NO_OVERLAP, "no two photographs overlap"))
    first, second = wait_settled(api, job, 2)
    assert [each.sequence for each in hook.received] == [1, 1, 1, 1, 2]
    assert hook.ids() == [first["id"]] * 4 + [second["id"]]
    assert len({each.body for each in hook.received[:4]}) == 1
    for each in hook.received:
        each.verify()
    assert (first["attempts"], second["attempts"]) == (4, 1)
    assert hook.received[-1].event["data"]["error"] == {
        "code": "no_overlap",
        "message": "no two photographs overlap",
        "retryable": False,
    }


@pytest.mark.parametrize(
    ("what", "status", "why"),
    [
        (500, 500, "answered 500"),
        (404, 404, "answered 404"),
        (302, 302, "answered 302"),
        ("redirect", 307, "answered 307"),
        ("stall", None, r"no answer within 0\.6 s"),
        ("drip", None, r"no answer within 0\.6 s"),
        ("close", None, "RemoteProtocolError"),
        ("garbage", None, "RemoteProtocolError"),
    ],
)
def test_a_receiver_that_misbehaves_is_given_up(quick: Settings, what: int | str, status: int | None, why: str) -> None:
    settings = quick.model_copy(update={"webhook_max_attempts": 2})
    with receiver() as elsewhere, receiver() as hook, open_api(settings) as api:
        hook.script = [f"redirect {elsewhere.url}" if what == "redirect" else what]
        job = new_job(api, hook)
        api.http.post(job["links"]["cancel"])
        (delivery,) = wait_settled(api, job)
        assert (delivery["status"], delivery["attempts"], delivery["last_status"]) == ("failed", 2, status)
        assert re.search(why, delivery["last_error"])
        assert (hook.connections, elsewhere.connections) == (2, 0)
        hook.script = [204]
        answer = api.http.post(f"{job['links']['deliveries']}/{delivery['id']}/redeliver")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        (again,) = wait_settled(api, job)
        assert (again["id"], again["status"], again["attempts"]) == (delivery["id"], "delivered", 3)
        assert hook.received[-1].id == delivery["id"]
        hook.received[-1].verify()


def test_a_flood_behind_a_good_status_is_not_read(api: Api, hook: Receiver) -> None:
    hook.script = ["flood"]
    job = new_job(api, hook)
    api.http.post(job["links"]["cancel"])
    assert wait_settled(api, job)[0]["status"] == "delivered"


def test_410_ends_what_a_job_tells(api: Api, hook: Receiver) -> None:
    hook.script = [410, 200]
    job = new_job(api, hook, events=["job.running", "job.succeeded"])
    api.finish(job["id"])
    first, second = wait_settled(api, job, 2)
    assert [(each["status"], each["attempts"]) for each in (first, second)] == [("failed", 1), ("dropped", 0)]
    assert hook.connections == 1
    api.http.post(f"{job['links']['deliveries']}/{second['id']}/redeliver")  # an explicit wish
    wait_for(lambda: hook.connections == 2, what="the redelivery")


def test_a_receiver_that_stalls_does_not_keep_others_waiting(quick: Settings, hook: Receiver) -> None:
    settings = quick.model_copy(update={"webhook_timeout_s": 15.0})
    with receiver() as slow, open_api(settings) as api:
        slow.script = ["stall"]
        stalled = [new_job(api, slow) for _ in range(LANES + 2)]
        for job in stalled:
            api.http.post(job["links"]["cancel"])
        wait_for(lambda: slow.connections == LANES_OF_ONE, what="the stalled deliveries")
        job = new_job(api, hook)
        api.http.post(job["links"]["cancel"])
        wait_settled(api, job)
        assert slow.connections == LANES_OF_ONE
        told = [deliveries(api, job)[0] for job in stalled]
        assert {(each["status"], each["attempts"]) for each in told} == {("pending", 0)}
        busy = slow.received[0]
        owner = busy.event["data"]["job_id"]
        answer = api.http.post(f"{api.url}/v1/jobs/{owner}/deliveries/{busy.id}/redeliver")
        assert assert_problem(answer, 409, "conflict")["retryable"]
        assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("webhook", "pointer", "code"),
    [
        ("not json", "/webhook", "invalid_request"),
        ("[]", "/webhook", "invalid_request"),
        ({}, "/webhook/url", "invalid_request"),
        ({"url": "https://a.example/", "surprise": 1}, "/webhook/surprise", "invalid_request"),
        ({"url": "https://a.example/", "events": ["job.queued"]}, "/webhook/events/0", "invalid_request"),
        ({"url": "https://a.example/", "events": []}, "/webhook/events", "invalid_request"),
        ({"url": "https://a.example/" + "a" * 2000}, "/webhook/url", "invalid_request"),
        ({"url": "https://a.example/", "secret": "hunter2hunter2"}, "/webhook/secret", "invalid_request"),
        ({"url": "https://a.example/", "secret": "whsec_c2hvcnQ="}, "/webhook/secret", "invalid_request"),
        ({"url": "http://a.example/"}, "/webhook/url", "webhook_refused"),
        ({"url": "https://u:p@a.example/"}, "/webhook/url", "webhook_refused"),
        ({"url": "https://10.0.0.1/"}, "/webhook/url", "webhook_refused"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "/webhook/url", "webhook_refused"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "/webhook/url", "webhook_refused"),
    ],
)
def test_what_is_refused_at_the_door(api: Api, webhook: Any, pointer: str, code: str) -> None:
    problem = assert_problem(submit(api, webhook), 422, code)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert "hunter2" not in json.dumps(problem)
    assert api.stored("captures/") == []  # nothing of it stays
    assert api.http.get("/v1/jobs").json()["items"] == []


def test_a_name_is_looked_up_at_the_door_and_at_every_delivery(
    quick: Settings, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer is public, later ones are ours."""
    answers = {"inner.example": ["10.0.0.1"], "rebound.example": ["93.184.216.34"], "unknown.example": []}
    system = socket.getaddrinfo

    def lookup(host: str, port: int, *rest: Any, **named: Any) -> list[Any]:
        if host not in answers:
            return system(host, port, *rest, **named)
        if not answers[host]:
            raise OSError("no such name")
        return [(0, 0, 0, "", (address, port)) for address in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    settings = quick.model_copy(update={"webhook_allowed_networks": (), "webhook_allow_http": True, "webhook_max_attempts": 1})
    with open_api(settings) as api:
        submitted = {host: submit(api, {"url": f"http://{host}:{hook.port}/"}) for host in answers}
        assert_problem(submitted["inner.example"], 422, "webhook_refused")
        answers["rebound.example"] = ["127.0.0.1"]
        for host, why in (("rebound.example", "not public"), ("unknown.example", "not known")):
            job = submitted[host].json()
            api.http.post(job["links"]["cancel"])
            (delivery,) = wait_settled(api, job)
            assert delivery["status"] == "failed"
            assert why in delivery["last_error"]
    assert hook.connections == 0


def test_the_door_s_idempotency(api: Api, hook: Receiver) -> None:
    def send(secret: str) -> httpx.Response:
        webhook = json.dumps({"url": hook.url, "secret": secret})
        files = [("images", each) for each in good_photos(2)]
        return api.http.post("/v1/reconstructions", files=files, data={"webhook": webhook}, headers={"Idempotency-Key": "k"})

    first = send(SECRET)
    assert first.status_code == 202
    assert send(SECRET).content == first.content
    assert_problem(send("whsec_" + base64.b64encode(b"x" * 32).decode()), 422, "idempotency_key_reused")


def test_deliveries_belong_to_their_job(api: Api, hook: Receiver) -> None:
    job, other = new_job(api, hook), new_job(api, hook)
    api.http.post(job["links"]["cancel"])
    (delivery,) = wait_settled(api, job)
    base = f"{api.url}/v1/jobs"
    assert_problem(api.http.post(f"{base}/{other['id']}/deliveries/{delivery['id']}/redeliver"), 404, "not_found")
    assert_problem(api.http.post(f"{base}/{job['id']}/deliveries/evt_none/redeliver"), 404, "not_found")
    assert_problem(api.http.get(f"{base}/job_x/deliveries"), 404, "not_found")
    plain = api.new_job()
    assert "deliveries" not in plain["links"]
    assert plain["webhook"] is None
    assert api.http.get(f"{base}/{plain['id']}/deliveries").json() == {"items": []}
    foreign = api.record(other["id"])
    api.store.replace(foreign.model_copy(update={"tenant": "other", "version": foreign.version + 1}), foreign.version)
    assert_problem(api.http.get(f"{base}/{other['id']}/deliveries"), 404, "not_found")
    api.http.delete(f"{base}/{job['id']}")
    assert_problem(api.http.get(f"{base}/{job['id']}/deliveries"), 410, "gone")


def test_secrets_are_sealed_for_one_tenant_under_one_key(quick: Settings) -> None:
    objects = open_store(quick)
    secrets = WebhookSecrets(quick, objects)
    sealed = secrets.seal(SECRET, "a")
    webhook = Webhook(url="https://a.example/", events=["job.failed"], sealed_secret=sealed)
    assert WebhookSecrets(quick, objects).of_job(webhook, "a") == SECRET  # the kept key is the same for every process
    assert len(objects.read(webhook_key())) == 32
    for other in (secrets, WebhookSecrets(quick.model_copy(update={"webhook_key": "another"}), objects)):
        with pytest.raises(SecretUnreadable, match="M3R_WEBHOOK_KEY"):
            other.of_job(webhook, "b")
    configured = WebhookSecrets(quick.model_copy(update={"webhook_key": "k"}), objects)
    assert configured.of_tenant("a") != secrets.of_tenant("a")


def test_a_secret_that_cannot_be_opened_is_told_and_given_up(quick: Settings, hook: Receiver) -> None:
    with open_api(quick.model_copy(update={"webhook_key": "old"})) as api:
        job = new_job(api, hook)
    with open_api(quick.model_copy(update={"webhook_key": "new"})) as api:
        api.http.post(f"{api.url}/v1/jobs/{job['id']}/cancel")
        job = api.job(job["id"])
        (delivery,) = wait_settled(api, job)
        assert (delivery["status"], delivery["attempts"]) == ("failed", 1)
        assert "M3R_WEBHOOK_KEY" in delivery["last_error"]
        assert hook.connections == 0


def test_two_services_deliver_each_event_once_and_in_order(quick: Settings, hook: Receiver) -> None:
    settings = quick.model_copy(update={"webhook_timeout_s": 15.0})
    wish = Webhook(url=hook.url, events=["job.running", "job.failed"])
    with open_api(settings) as one, open_api(settings) as other:
        jobs = [make_record(settings, webhook=wish) for _ in range(25)]
        for job in jobs:
            one.store.create(job)
            token = other.claim(job.id)
            assert one.store.fail(job.id, token, job_error(JobErrorCode.NO_OVERLAP, "no two photographs overlap"))
        wait_for(lambda: WebhookOutbox(one.store).open_jobs() == 0, 40, "an empty outbox")
    assert len(set(hook.ids())) == len(hook.ids()) == 50
    for job in jobs:
        assert [each.sequence for each in hook.received if each.event["data"]["job_id"] == job.id] == [1, 2]
