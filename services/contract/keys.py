"""Where things lie in the object store. Every key of every service comes from here."""

from __future__ import annotations

CAPTURES_PREFIX = "captures/"


def capture_prefix(capture_id: str) -> str:
    """Everything that belongs to a capture."""
    return f"captures/{capture_id}/"


def capture_image(capture_id: str, name: str) -> str:
    """One photograph of a capture."""
    return f"captures/{capture_id}/images/{name}"


def capture_document(capture_id: str) -> str:
    """What a capture is, but for its photographs; a job's own capture has none."""
    return f"captures/{capture_id}/capture.json"


def capture_entries_prefix(capture_id: str) -> str:
    """What is known of a capture's photographs, one small document each."""
    return f"captures/{capture_id}/entries/"


def capture_entry(capture_id: str, name: str) -> str:
    """What is known of one photograph; it is written when the photograph lies in the store."""
    return f"captures/{capture_id}/entries/{name}.json"


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
