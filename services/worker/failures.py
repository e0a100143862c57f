"""From what went wrong to what the job says: exceptions in the child, and deaths of it as the parent sees them."""

from __future__ import annotations

import errno
import re

from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from services.adapters.objects import ObjectNotFound, ObjectStoreError
from services.adapters.transitions import job_error
from services.contract.codes import JobErrorCode
from services.contract.jobs import JobError

MEMORY_HINT = "Send fewer or smaller photographs, a smaller options.image_size, or preset=fast."
HINTS: dict[JobErrorCode, str] = {
    JobErrorCode.INVALID_IMAGE: "Send the photograph again, or leave it out; without strict_images it would only be a warning.",
    JobErrorCode.TOO_FEW_IMAGES: "Send at least one photograph that can be read.",
    JobErrorCode.NO_OVERLAP: "Photographs must show the same things from nearby places; add some in between.",
    JobErrorCode.OUT_OF_MEMORY: MEMORY_HINT,
    JobErrorCode.TIMEOUT: "Send fewer photographs or preset=fast, or ask the operator for a longer job time.",
    JobErrorCode.WORKER_LOST: "Submit the job again; if it is lost again, one of its photographs may be the cause.",
    JobErrorCode.STORAGE_UNAVAILABLE: "Submit the job again later.",
    JobErrorCode.ENGINE_ERROR: "This is a fault of the engine or its set-up; please report it with the job's id.",
}
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
# How CUDA and its libraries report faults after which a process cannot go on.
DEVICE_FAULT = re.compile(r"CUDA error|CUDNN_STATUS_|CUBLAS_STATUS_|cuDNN error|device-side assert|an illegal memory access")
SIGNAL = re.compile(r"signal (\d+)")


def describe_failure(error: BaseException, time_limit_s: float) -> JobError:
    """Say in the contract's words what an exception means."""
    if isinstance(error, (SoftTimeLimitExceeded, TimeLimitExceeded)):
        return named(JobErrorCode.TIMEOUT, f"the job ran into its time limit of {time_limit_s:g} s")
    if isinstance(error, ObjectNotFound):
        return named(JobErrorCode.STORAGE_UNAVAILABLE, f"a photograph is gone from the store: {error}")
    if isinstance(error, ObjectStoreError):
        return named(JobErrorCode.STORAGE_UNAVAILABLE, f"the object store does not answer: {error}")
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return named(JobErrorCode.STORAGE_UNAVAILABLE, "the worker's disk is full")
    if is_out_of_memory(error):
        return named(JobErrorCode.OUT_OF_MEMORY, str(error) or "memory did not suffice")
    code = getattr(error, "code", None)
    if isinstance(code, str) and code in set(JobErrorCode):
        return named(JobErrorCode(code), str(error))
    return named(JobErrorCode.ENGINE_ERROR, f"{type(error).__name__}: {error}"[:1000])


def is_out_of_memory(error: BaseException) -> bool:
    """Memory did not suffice: Python's error, torch's, or the engine's; told without importing either."""
    named_so = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return isinstance(error, MemoryError) or named_so or getattr(error, "code", None) == JobErrorCode.OUT_OF_MEMORY


def is_device_fault(error: BaseException) -> bool:
    """The device is in an unknown state; nothing may be computed in this process any more."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, RuntimeError) and not is_out_of_memory(chain) and DEVICE_FAULT.search(str(chain)):
            return True
        chain = chain.__cause__
    return False


def describe_death(reason: str, oom_kills_rose: bool) -> JobError:
    """Say what the death of a worker's child means; `reason` is the pool's text, which names the signal."""
    signal = SIGNAL.search(reason)
    if signal and signal[1] == "9" and oom_kills_rose:
        return named(JobErrorCode.OUT_OF_MEMORY, "the kernel ended the worker's process because memory did not suffice")
    text = reason.partition(" Job: ")[0].rstrip(". ")
    return named(JobErrorCode.WORKER_LOST, f"the worker's process died: {text}")


def named(code: JobErrorCode, message: str) -> JobError:
    """Build an error with the hint of its code."""
    return job_error(code, message, HINTS[code])
