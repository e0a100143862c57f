"""A batch of queries, answered: stale ones dropped first, photographs encoded together, each query a problem of its own."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.adapters.localisation_queue import LoadedQuery, QueryQueue, WaitingQuery
from services.contract.localisation import (
    Confidence,
    LocalizeAnswer,
    LocalizedPose,
    PoseConvention,
    PoseFrame,
    PoseScale,
    Prior,
    TimingMs,
    quaternion_of,
)
from services.contract.localisation_messages import QUERY_PART, QueryMessage, ReferenceMessage, Reply, ReplyProblem
from services.worker.failures import is_device_fault
from services.worker.localisation_engine import DecodedPhoto, Encoded, Found, LocalisationEngine, Outcome, PosedReference
from services.worker.localisation_failures import describe_query_failure, worker_lost
from services.worker.localisation_maps import MapShelf
from services.worker.localisation_photos import decode_photo
from services.worker.localisation_references import ReferenceShelf

log = logging.getLogger("m3r.localisation")

MAX_TRIES = 2  # a query whose worker died is tried once more


class DeviceLost(Exception):
    """The device is in an unknown state; the process must end."""


class NotFinite(Exception):
    """The engine gave a pose that is no number."""


@dataclass
class _Work:
    """One query on its way."""

    query: LoadedQuery
    photos: list[DecodedPhoto] = field(default_factory=list)  # the query's, then those of references that came with it
    encoded: list[Encoded] = field(default_factory=list)
    queue_ms: float = 0.0
    decode_ms: float = 0.0
    infer_ms: float = 0.0

    @property
    def message(self) -> QueryMessage:
        return self.query.message


class QueryAnswering:
    """Answers queries with one engine."""

    def __init__(self, engine: LocalisationEngine, references: ReferenceShelf, maps: MapShelf, queue: QueryQueue) -> None:
        self.engine = engine
        self._references = references
        self._maps = maps
        self._queue = queue

    def answer(self, waiting: Sequence[WaitingQuery]) -> int:
        """Answer every query that somebody still waits for; says how many were worked on.

        Raises:
            redis.RedisError: replies cannot be sent; the API has told its clients.
            DeviceLost: the process must end; queries without an answer are taken over by the next one.
        """
        now = self._queue.now_ms()
        fresh = [query for query in waiting if not self._settled_without_work(query, now)]
        loaded = self._queue.load(fresh) if fresh else []
        for query, found in zip(fresh, loaded, strict=True):
            if found is None:
                self._queue.drop(query)
        started = time.perf_counter()
        works = [_Work(found, queue_ms=max(0.0, now - found.waiting.queued_ms)) for found in loaded if found is not None]
        decoded = [work for work in works if self._attempt(work, self._decode)]
        for work in self._encode(decoded):
            self._localize_in_time(work, now, started)
        return len(works)

    def _settled_without_work(self, query: WaitingQuery, now_ms: float) -> bool:
        if query.deadline_ms <= now_ms:
            self._queue.drop(query)  # the API has answered it
            return True
        if query.tries > MAX_TRIES:
            self._queue.answer(query, Reply(id=query.id, problem=worker_lost()))
            return True
        return False

    def _decode(self, work: _Work) -> None:
        started = time.perf_counter()
        message, parts = work.message, work.query.parts
        work.photos.append(decode_photo("image", parts[QUERY_PART], message.intrinsics))
        for reference in message.references:
            if reference.part is not None:
                work.photos.append(decode_photo(reference.name, parts[reference.part], reference.intrinsics))
        work.decode_ms = _since(started)

    def _encode(self, works: list[_Work]) -> list[_Work]:
        """Encode all photographs of all queries at once; where that fails, query by query, so that each fails by itself."""
        if not works:
            return []
        started = time.perf_counter()
        try:
            encoded = iter(self.engine.encode([photo for work in works for photo in work.photos]))
        except Exception as error:
            if len(works) > 1 and not is_device_fault(error):
                return [done for work in works for done in self._encode([work])]
            self._fail(works[0], error)
            return []
        for work in works:
            work.encoded = [next(encoded) for _ in work.photos]
            work.infer_ms = _since(started)
        return works

    def _localize_in_time(self, work: _Work, now_ms: float, started: float) -> None:
        if work.query.waiting.deadline_ms <= now_ms + _since(started):
            self._queue.drop(work.query.waiting)
            return
        self._attempt(work, self._localize)

    def _localize(self, work: _Work) -> None:
        started = time.perf_counter()
        message, inline = work.message, iter(work.encoded[1:])
        if message.maps:
            opened = [self._maps.get(record) for record in message.maps]
            outcome = self.engine.localize_in_maps(work.encoded[0], opened, _priors(message))
        else:
            references = [
                PosedReference(next(inline) if each.part is not None else self._kept(each), each.pose)
                for each in message.references
            ]
            outcome = self.engine.localize(work.encoded[0], references)
        work.infer_ms += _since(started)
        answer = describe_outcome(outcome, message, _timing(work))
        self._queue.answer(work.query.waiting, Reply(id=message.id, answer=answer))
        facts = {"request_id": message.request_id, "status": 200, "seconds": round(answer.timing_ms.total / 1000, 4)}
        log.info("localised" if answer.localized else f"not localised: {answer.reason}", extra=facts)

    def _kept(self, reference: ReferenceMessage) -> Encoded:
        assert reference.id is not None
        return self.engine.with_intrinsics(self._references.get(reference.id, reference.name), reference.intrinsics)

    def _attempt(self, work: _Work, step: Callable[[_Work], None]) -> bool:
        try:
            step(work)
        except Exception as error:
            self._fail(work, error)
            return False
        return True

    def _fail(self, work: _Work, error: Exception) -> None:
        problem: ReplyProblem = describe_query_failure(error)
        unexpected = problem.status == 500
        facts = {"request_id": work.message.request_id, "status": problem.status}
        log.log(
            logging.ERROR if unexpected else logging.INFO,
            "%s",
            problem.detail,
            extra=facts,
            exc_info=error if unexpected else None,
        )
        self._queue.answer(work.query.waiting, Reply(id=work.message.id, problem=problem))
        if is_device_fault(error):
            raise DeviceLost(str(error)) from error


def describe_outcome(outcome: Outcome, message: QueryMessage, timing: TimingMs) -> LocalizeAnswer:
    """Say in the contract's words where a query was found; raises NotFinite."""
    if not isinstance(outcome, Found):
        return LocalizeAnswer(localized=False, reason=outcome.reason, detail=outcome.detail, timing_ms=timing)
    numbers = [outcome.reprojection_px, outcome.inlier_ratio, *(v for row in (*outcome.pose, *outcome.covariance) for v in row)]
    if not all(map(math.isfinite, numbers)):
        raise NotFinite("the engine's pose or its covariance is not finite")
    convention = PoseConvention(units="metres" if outcome.metric else "arbitrary")
    pose = LocalizedPose(
        matrix=outcome.pose,
        position=[row[3] for row in outcome.pose[:3]],
        quaternion=quaternion_of([row[:3] for row in outcome.pose[:3]]),
        frame=_frame(outcome, message),
        convention=convention,
    )
    confidence = Confidence(
        inliers=outcome.inliers,
        inlier_ratio=outcome.inlier_ratio,
        reprojection_px=outcome.reprojection_px,
        covariance=outcome.covariance,
    )
    scale = PoseScale(metric=outcome.metric, source=outcome.scale_source)
    used = [_name_used(each, message) for each in outcome.used]
    return LocalizeAnswer(localized=True, pose=pose, scale=scale, confidence=confidence, used=used, timing_ms=timing)


def _frame(found: Found, message: QueryMessage) -> PoseFrame:
    if found.frame is None:
        return PoseFrame(kind="world")
    if message.maps:
        return PoseFrame(kind="map", id=message.maps[found.frame].id)
    return PoseFrame(kind="reference", id=message.references[found.frame].id, index=found.frame)


def _priors(message: QueryMessage) -> list[Prior | None]:
    """One per map; a prior that names none is of the only one."""
    prior = message.prior
    return [prior if prior is not None and prior.map_id in (None, record.id) else None for record in message.maps]


def _name_used(which: int | str, message: QueryMessage) -> str:
    if isinstance(which, str):
        return which
    reference = message.references[which]
    return reference.id or reference.name


def _timing(work: _Work) -> TimingMs:
    parts = (work.queue_ms, work.decode_ms, work.infer_ms)
    queue, decode, infer = (round(value, 3) for value in parts)
    return TimingMs(queue=queue, decode=decode, infer=infer, total=round(sum(parts), 3))


def _since(started: float) -> float:
    """Milliseconds."""
    return 1000 * (time.perf_counter() - started)
