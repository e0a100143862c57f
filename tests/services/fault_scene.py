"""One cell of the fault matrix: a job is held at a moment, a fault strikes, and the job must end right whatever it was."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import redis

from services.contract.jobs import Artifact, JobRecord, JobResult, Metrics, Quality, Scale
from services.contract.keys import artifact, capture_image
from services.contract.states import JobStatus
from tests.services.api_stand import good_photos
from tests.services.gated_worker import Gates
from tests.services.invariants import Witness, check_job, fingerprint
from tests.services.service_stand import Stand, WorkerProcess, make_record, tiny_jpeg, wait_for
from tests.services.tcp_proxy import TcpProxy
from tests.services.test_api_killed import api_process

MOMENTS = ("before-claim", "mid-stage", "before-commit", "after-commit")
REACHED_WITHIN_S = 60.0
ENDED_WITHIN_S = 90.0
HELD_WORKER = "tests.services.gated_worker"
UNFENCED_WORKER = "tests.services.gated_unfenced_worker"


class Api:
    """The API in a process of its own, which can be killed and started again."""

    def __init__(self, stand: Stand) -> None:
        self._settings = stand.settings
        self._stack = ExitStack()
        self.client: httpx.Client

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.client = self._stack.enter_context(api_process(self._settings))

    def kill(self) -> None:
        """End it as a crash would."""
        self._stack.close()

    def submit(self, stand: Stand) -> JobRecord:
        """Send photographs as one job."""
        answer = self.client.post("/v1/reconstructions", files=[("images", each) for each in good_photos(2)])
        assert answer.status_code == 202, answer.text
        return stand.store.require(answer.json()["id"])


@dataclass
class Scene:
    """What a fault works on."""

    stand: Stand
    gates: Gates
    moment: str
    target: JobRecord
    module: str
    proxy: TcpProxy | None = None
    api: Api | None = None

    @property
    def held(self) -> int:
        """The process that is held with the job."""
        return wait_for(lambda: self.gates.held(self.moment, self.target.id), REACHED_WITHIN_S, f"{self.moment}\n{self.tails()}")

    def go_on(self) -> None:
        """Let that process go on."""
        self.gates.open(self.moment, self.target.id)

    def start_worker(self) -> WorkerProcess:
        """Start a worker without waiting for it."""
        return self.stand.start_worker(self.module, wait=False)

    def tails(self) -> str:
        """What the workers logged last."""
        return "\n".join(worker.tail() for worker in self.stand.workers)


Fault = Callable[[Scene], None]


@contextlib.contextmanager
def scene(
    stand: Stand, gates: Gates, moment: str, module: str = HELD_WORKER, proxy: TcpProxy | None = None, over_http: bool = False
) -> Iterator[Scene]:
    """A job that a worker holds at a moment."""
    with contextlib.ExitStack() as stack:
        api = Api(stand) if over_http else None
        if api is not None:
            api.start()
            stack.callback(api.kill)
        target = stand.submit() if api is None else api.submit(stand)
        gates.arm(moment, target.id)
        made = Scene(stand, gates, moment, target, module, proxy, api)
        made.start_worker()
        assert made.held
        yield made


def run_cell(fault: Fault, made: Scene) -> JobRecord:
    """Let a fault strike and check what must hold, of its job and of others."""
    stand, bystander = made.stand, finish_one(made.stand)
    before = fingerprint(stand, bystander)
    neighbour = stand.submit()
    began = time.monotonic()
    with Witness(stand, made.target) as witness:
        fault(made)
        made.go_on()
        wait_terminal(made, made.target)
        if made.proxy is not None:
            made.proxy.heal()
        done = check_job(stand, made.target)
    assert time.monotonic() - began < ENDED_WITHIN_S
    witness.check(done)
    wait_terminal(made, neighbour)
    assert check_job(stand, neighbour).status is JobStatus.SUCCEEDED, "the worker serves on"
    assert fingerprint(stand, bystander) == before, "another job was touched"
    if made.api is not None:
        told = made.api.client.get(f"/v1/jobs/{done.id}").json()
        assert (told["status"], told["terminal"]) == (done.status, True)
    return done


def wait_terminal(made: Scene, job: JobRecord) -> JobRecord:
    """Wait for a job's end; a Redis that is away or was emptied is waited for, too."""

    def ended() -> JobRecord | None:
        with contextlib.suppress(redis.RedisError):
            record = made.stand.store.get(job.id)
            return record if record is not None and record.terminal else None
        return None

    try:
        return wait_for(ended, ENDED_WITHIN_S, f"the end of {job.id}")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{made.stand.store.get(job.id)}\n{made.tails()}") from None


def finish_one(stand: Stand) -> JobRecord:
    """A job that has ended before, with its result: nothing of it may change."""
    record = make_record(stand.settings, photos=1)
    stand.objects.put(capture_image(record.capture_id, record.images[0].name), tiny_jpeg(), "image/jpeg")
    stand.store.create(record)
    claimed = stand.store.claim(record.id, "tests/1/1")
    assert claimed is not None
    token, data = str(claimed.token), b"ply\n" * 500
    stand.objects.put(artifact(record.id, token, "scene.ply"), data)
    file = Artifact(name="scene.ply", media_type="application/ply", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    scale, quality = Scale(metric=False, source="none"), Quality(verdict="good")
    result = JobResult(token=token, artifacts=[file], scale=scale, quality=quality, metrics=Metrics())
    assert stand.store.commit(record.id, token, result)
    stand.documents.write(record.id)
    return stand.store.require(record.id)
