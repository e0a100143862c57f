"""From what went wrong with a query to what its answer says."""

from __future__ import annotations

import redis

from services.adapters.objects import ObjectStoreError
from services.contract.codes import ProblemCode
from services.contract.localisation_messages import ReplyProblem
from services.worker.failures import is_out_of_memory

RETRY_AFTER_S = 5

# An attribute `code` of what was raised -> status and code of the problem.
_NAMED = {
    "invalid_image": (422, ProblemCode.INVALID_IMAGE),
    "invalid_intrinsics": (422, ProblemCode.INVALID_INTRINSICS),
    "invalid_references": (422, ProblemCode.INVALID_REQUEST),
    "not_found": (404, ProblemCode.NOT_FOUND),
    "map_not_ready": (409, ProblemCode.MAP_NOT_READY),
    "foreign_network": (409, ProblemCode.MAP_NOT_READY),
    "invalid_map": (409, ProblemCode.MAP_NOT_READY),
}


def describe_query_failure(error: Exception, pointer: str | None = None) -> ReplyProblem:
    """Say what a client hears; `pointer` is the part of its request that was being worked on."""
    if is_out_of_memory(error):
        detail = "memory did not suffice for this query; send smaller photographs or fewer references, or try again"
        return ReplyProblem(status=503, code=ProblemCode.OUT_OF_MEMORY, detail=detail, retry_after_s=RETRY_AFTER_S)
    if isinstance(error, (ObjectStoreError, redis.RedisError)):
        detail = f"the object store does not answer; try again in {RETRY_AFTER_S} seconds"
        return ReplyProblem(status=503, code=ProblemCode.STORAGE_UNAVAILABLE, detail=detail, retry_after_s=RETRY_AFTER_S)
    code = getattr(error, "code", None)
    if isinstance(code, str) and code in _NAMED:
        status, problem = _NAMED[code]
        return ReplyProblem(status=status, code=problem, detail=str(error)[:1000], pointer=pointer)
    detail = f"the engine failed on this query ({type(error).__name__}); the worker's log has more"
    return ReplyProblem(status=500, code=ProblemCode.ENGINE_ERROR, detail=detail)


def worker_lost() -> ReplyProblem:
    """The query was in work when its worker died, and not for the first time."""
    detail = "the worker died while this query was in work, twice; do not send these photographs again"
    return ReplyProblem(status=503, code=ProblemCode.LOCALISATION_UNAVAILABLE, detail=detail, retry_after_s=RETRY_AFTER_S)
