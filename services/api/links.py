"""URLs the service hands out: below the public base URL when one is set, else where the request came in."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request

from services.adapters.settings import Settings


def base_url(request: Request) -> str:
    """Where clients reach the service, without a slash at the end."""
    settings: Settings = request.app.state.settings
    if settings.public_base_url:
        return settings.public_base_url.rstrip("/")
    return f"{request.url.scheme}://{request.url.netloc}{settings.root_path.rstrip('/')}"


def job_url(base: str, job_id: str) -> str:
    """A job."""
    return f"{base}/v1/jobs/{job_id}"


def capture_url(base: str, capture_id: str) -> str:
    """A capture."""
    return f"{base}/v1/captures/{capture_id}"


def artifact_url(base: str, job_id: str, name: str) -> str:
    """One file of a job's result."""
    return f"{base}/v1/jobs/{job_id}/artifacts/{quote(name)}"


def thumbnail_url(owner: str, name: str) -> str:
    """A small picture of a photograph of a job or capture, given its URL."""
    return f"{owner}/images/{quote(name)}/thumbnail"


def job_links(base: str, job_id: str, retry_of: str | None = None) -> dict[str, str]:
    """Everything one can do with a job."""
    job = job_url(base, job_id)
    links = {
        "self": job,
        "events": f"{job}/events",
        "cancel": f"{job}/cancel",
        "retry": f"{job}/retry",
        "artifacts": f"{job}/artifacts",
        "archive": f"{job}/artifacts.zip",
        "signed": f"{job}/links",
    }
    return links if retry_of is None else {**links, "retry_of": job_url(base, retry_of)}
