"""A submission as JSON: a job on a capture that was filled before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from anyio import to_thread
from fastapi import Request

from services.adapters.capture_store import CaptureState
from services.adapters.job_store import CaptureGone
from services.api.acceptance import Accepted, accept_record, fingerprint, new_record
from services.api.capture_access import capture_gone, find_capture
from services.api.json_body import read_json
from services.api.options_check import check_pairs
from services.api.prior_checks import check_priors
from services.api.prior_intake import digests_of
from services.api.prior_upload import read_cameras
from services.api.problems import ProblemError, invalid_field
from services.api.submission_form import JobRequest, read_form
from services.api.wiring import Services
from services.contract.captures import ReconstructionRequest
from services.contract.codes import ProblemCode
from services.contract.jobs import PriorFile
from services.contract.problems import FieldError

ONE_PHOTO = "only one usable photo: depth and scale come from it alone, nothing confirms them"


class CaptureSubmission:
    """A wish for a job on a capture."""

    def __init__(
        self,
        capture_id: str,
        wanted: JobRequest,
        services: Services,
        tenant: str,
        request_id: str,
        priors: Sequence[PriorFile] = (),
    ) -> None:
        self._capture_id = capture_id
        self._priors = priors
        self._wanted = wanted
        self._services = services
        self._tenant = tenant
        self._request_id = request_id

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._wanted, [self._capture_id, *digests_of(self._priors)])

    async def accept(self, job_id: str) -> Accepted:
        return await to_thread.run_sync(self._accept, job_id, limiter=self._services.store_threads)

    async def discard(self) -> None:
        return None

    def _accept(self, job_id: str) -> Accepted:
        services, capture_id = self._services, self._capture_id
        before = find_capture(services.captures, self._tenant, capture_id)
        self._check(before)
        state = services.captures.freeze(capture_id)  # last: a refused request does not freeze it
        if state is None:
            raise capture_gone(capture_id)
        if (state.priors, state.images) != (before.priors, before.images):  # something came in between
            self._check(state)
        record = new_record(job_id, self._tenant, self._wanted, capture_id, state.images, services.settings)
        warnings = [ONE_PHOTO] if len(state.images) == 1 else []
        record = record.model_copy(update={"owns_capture": False, "warnings": warnings, "priors": state.priors})
        try:
            return accept_record(record, services, self._request_id, lambda: None, requires=capture_id)
        except CaptureGone:
            raise capture_gone(capture_id) from None

    def _check(self, state: CaptureState) -> None:
        if not state.images:
            detail = f"capture {self._capture_id} has no photograph yet (PUT /v1/captures/{self._capture_id}/images/NAME)"
            raise ProblemError(422, ProblemCode.TOO_FEW_IMAGES, detail, [FieldError(pointer="/capture_id", message=detail)])
        if self._wanted.options.get("pairs"):
            check_pairs(self._wanted.options, len(state.images))
        check_priors(read_cameras(self._services, self._capture_id, state.priors), state.priors, state.images)


async def receive_json(request: Request, services: Services, tenant: str) -> CaptureSubmission:
    """Read a submission on a capture; raises ProblemError."""
    asked = await read_json(request, ReconstructionRequest)
    wanted = read_form(_as_form(asked))  # one check for both kinds of submission
    wanted = replace(wanted, webhook=await services.webhook_door.admit(asked.webhook, tenant))
    priors = await to_thread.run_sync(_priors_of, services, tenant, asked.capture_id, limiter=services.store_threads)
    return CaptureSubmission(asked.capture_id, wanted, services, tenant, request.state.request_id, priors)


def _priors_of(services: Services, tenant: str, capture_id: str) -> list[PriorFile]:
    """What is known beforehand when a request comes, of a capture that was deleted since its job too: part of what is asked."""
    state = services.captures.get(capture_id)
    return state.priors if state is not None and state.record.tenant == tenant else []


def _as_form(asked: ReconstructionRequest) -> dict[str, list[str]]:
    for at, name in enumerate(asked.outputs):
        if not name:
            raise invalid_field(f"/outputs/{at}", "a name is missing")
    fields = {
        "preset": asked.preset,
        "options": json.dumps(asked.options),
        "outputs": json.dumps(asked.outputs),
        "labels": json.dumps(asked.labels),
        "strict_images": str(asked.strict_images),
        "deadline_s": "" if asked.deadline_s is None else repr(asked.deadline_s),
    }
    return {name: [text] for name, text in fields.items()}
