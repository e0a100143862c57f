"""Where things lie in the object store. Every key of every service comes from here."""

from __future__ import annotations


def capture_prefix(capture_id: str) -> str:
    """Everything that belongs to a capture."""
    return f"captures/{capture_id}/"


def capture_image(capture_id: str, name: str) -> str:
    """One photograph of a capture."""
    return f"captures/{capture_id}/images/{name}"


JOBS_PREFIX = "jobs/"


def job_prefix(job_id: str) -> str:
    """Everything that belongs to a job."""
    return f"jobs/{job_id}/"


def job_document(job_id: str) -> str:
    """The durable copy of a job's record."""
    return f"jobs/{job_id}/job.json"


def attempts_prefix(job_id: str) -> str:
    """The artefacts of all attempts of a job."""
    return f"jobs/{job_id}/attempts/"


def attempt_prefix(job_id: str, token: str) -> str:
    """All artefacts of one attempt; readers see them only once the record names the attempt."""
    return f"jobs/{job_id}/attempts/{token}/"


def artifact(job_id: str, token: str, name: str) -> str:
    """One artefact of one attempt."""
    return f"jobs/{job_id}/attempts/{token}/{name}"
