"""Talk to the service over HTTP: send photographs, follow a job, fetch its artefacts."""

from __future__ import annotations

import hashlib
import itertools
import json
import mimetypes
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

POLL_S = 20  # a long poll returns at once when the job changes
RETRIES = 5


class ServiceError(Exception):
    """The service refused a request or could not be reached; the message says what it answered."""


class ServiceClient:
    """A thin client of the `/v1` interface."""

    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(POLL_S + 40, connect=10)
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, photos: list[Path], options: dict[str, Any], preset: str, outputs: list[str]) -> dict[str, Any]:
        """Send photographs as one job and return its document; a broken connection is tried again and makes no second job."""
        fields = {"options": json.dumps(options), "preset": preset}
        if outputs:
            fields["outputs"] = json.dumps(outputs)
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        for failures in itertools.count(1):
            try:
                with ExitStack() as stack:
                    files = [("images", (p.name, stack.enter_context(p.open("rb")), media_type(p))) for p in photos]
                    request = {"data": fields, "files": files, "headers": headers, "timeout": httpx.Timeout(600)}
                    return dict(self._send("POST", "/v1/reconstructions", **request).json())
            except httpx.TransportError:
                if failures > RETRIES:
                    raise
                time.sleep(min(0.5 * 2**failures, 10))
        raise AssertionError("unreachable")

    def watch(self, job_id: str, on_change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Follow a job until it is final, telling `on_change` about every document that comes."""
        failures = 0
        while True:
            try:
                job: dict[str, Any] = self._send("GET", f"/v1/jobs/{job_id}").json()
                failures = 0
            except (httpx.TransportError, ServiceError):
                failures += 1
                if failures > RETRIES:
                    raise
                time.sleep(min(0.5 * 2**failures, 10))
                continue
            on_change(job)
            if job["terminal"]:
                return job
            time.sleep(0.3 if job["status"] == "running" else 0.5)

    def cancel(self, job_id: str) -> None:
        """Ask the service to stop a job."""
        self._send("POST", f"/v1/jobs/{job_id}/cancel")

    def artifacts(self, job_id: str) -> list[dict[str, Any]]:
        """List a job's artefacts."""
        return list(self._send("GET", f"/v1/jobs/{job_id}/artifacts").json())

    def download(self, job_id: str, artifact: dict[str, Any], folder: Path) -> Path:
        """Fetch one artefact, check its SHA-256 and move it into place.

        Raises:
            ServiceError: the bytes that came are not the bytes that were promised.
        """
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / str(artifact["name"])
        part = target.with_name(target.name + ".part")
        digest = hashlib.sha256()
        with part.open("wb") as file:
            for chunk in self._stream(f"/v1/jobs/{job_id}/artifacts/{artifact['name']}"):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != artifact["sha256"]:
            part.unlink()
            raise ServiceError(f"{artifact['name']}: SHA-256 is {digest.hexdigest()}, the service promised {artifact['sha256']}")
        part.replace(target)
        return target

    def _stream(self, path: str) -> Iterator[bytes]:
        with self._http.stream("GET", path, follow_redirects=True) as response:
            if response.status_code != 200:
                response.read()
                raise ServiceError(describe_problem(response))
            yield from response.iter_bytes()

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        response = self._http.request(method, path, **request)
        if response.status_code >= 400:
            raise ServiceError(describe_problem(response))
        return response


def media_type(photo: Path) -> str:
    """Guess a photograph's media type from its name."""
    return mimetypes.guess_type(photo.name)[0] or "application/octet-stream"


def describe_problem(response: httpx.Response) -> str:
    """Put a problem document (RFC 9457) into one line a person can read."""
    try:
        problem = response.json()
    except json.JSONDecodeError:
        return f"{response.status_code} {response.reason_phrase}: {response.text[:200]}"
    details = "; ".join(f"{e.get('pointer', '')} {e.get('message', '')}".strip() for e in problem.get("errors") or [])
    return f"{response.status_code} {problem.get('code')}: {problem.get('detail') or problem.get('title')}" + (
        f" ({details})" if details else ""
    )
