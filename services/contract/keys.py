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


TOMBSTONES_PREFIX = "deleted/captures/"


def capture_tombstone(capture_id: str) -> str:
    """That a capture was deleted; it outlives Redis and the capture's folder."""
    return f"deleted/captures/{capture_id}/capture.json"


def capture_entries_prefix(capture_id: str) -> str:
    """What is known of a capture's photographs, one small document each."""
    return f"captures/{capture_id}/entries/"


def capture_entry(capture_id: str, name: str) -> str:
    """What is known of one photograph; it is written when the photograph lies in the store."""
    return f"captures/{capture_id}/entries/{name}.json"


def capture_prior(capture_id: str, prior_id: str) -> str:
    """The bytes of one file that says what is known beforehand; they never change."""
    return f"captures/{capture_id}/priors/files/{prior_id}"


def capture_prior_entries_prefix(capture_id: str) -> str:
    """What is known of the files that say what is known beforehand, one small document each."""
    return f"captures/{capture_id}/priors/entries/"


def capture_prior_entries_of(capture_id: str, kind: str, name: str) -> str:
    """Those of one kind about one photograph; the one with the greatest id holds."""
    return f"captures/{capture_id}/priors/entries/{kind}/{name or 'all'}/"


def capture_prior_entry(capture_id: str, kind: str, name: str, prior_id: str) -> str:
    """What is known of one such file; it is written when the file lies in the store."""
    return f"captures/{capture_id}/priors/entries/{kind}/{name or 'all'}/{prior_id}.json"


def uploads_prefix(capture_id: str) -> str:
    """What was uploaded directly for a capture and is not part of it yet."""
    return f"captures/{capture_id}/uploads/"


def upload_prefix(capture_id: str, upload_id: str) -> str:
    """Everything that belongs to a direct upload."""
    return f"captures/{capture_id}/uploads/{upload_id}/"


def upload_document(capture_id: str, upload_id: str) -> str:
    """What was announced for a direct upload."""
    return f"captures/{capture_id}/uploads/{upload_id}/upload.json"


def upload_file(capture_id: str, upload_id: str, place: int) -> str:
    """What came as the file at this place of a direct upload; nobody has looked at it yet."""
    return f"captures/{capture_id}/uploads/{upload_id}/files/{place}"


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


def attempt_result(job_id: str, token: str) -> str:
    """What an attempt is about to publish; it tells an end whose record was lost. No artefact's name begins with "_"."""
    return f"jobs/{job_id}/attempts/{token}/_result.json"


def artifact(job_id: str, token: str, name: str) -> str:
    """One artefact of one attempt."""
    return f"jobs/{job_id}/attempts/{token}/{name}"


ACCESS_PREFIX = "access/"
ACCESS_KEYS_PREFIX = "access/keys/"
ACCESS_TENANTS_PREFIX = "access/tenants/"
ACCESS_SIGNING_PREFIX = "access/signing/"


def access_key(sha256: str) -> str:
    """What is known of a bearer key, under its SHA-256."""
    return f"{ACCESS_KEYS_PREFIX}{sha256}.json"


def access_tenant(name: str) -> str:
    """What a tenant may use."""
    return f"{ACCESS_TENANTS_PREFIX}{name}.json"


def webhook_key() -> str:
    """What webhook secrets are derived from and sealed with, unless the settings have a key."""
    return f"{ACCESS_PREFIX}webhook-key"


def access_signing(secret_id: str) -> str:
    """A secret that links are signed with."""
    return f"{ACCESS_SIGNING_PREFIX}{secret_id}.json"


def capture_thumbnail(capture_id: str, name: str) -> str:
    """A small picture of a photograph, made when it is first asked for."""
    return f"captures/{capture_id}/thumbnails/{name}.jpg"


def capture_task(capture_id: str) -> str:
    """What was asked for when a capture was begun over NodeODM's protocol."""
    return f"captures/{capture_id}/nodeodm/task.json"


def capture_task_job(capture_id: str) -> str:
    """The id of the newest job of such a task."""
    return f"captures/{capture_id}/nodeodm/job.txt"


def capture_unread_prefix(capture_id: str) -> str:
    """Names of files that came over NodeODM's protocol and mean nothing here, one empty object each."""
    return f"captures/{capture_id}/nodeodm/unread/"


def kept_scene(job_id: str, token: str) -> str:
    """What the engine keeps of a job's scene beyond its artefacts, so that it can be frozen into a map; clients do not see it."""
    return f"jobs/{job_id}/attempts/{token}/kept/scene.npz"


REFERENCES_PREFIX = "references/"


def reference_prefix(reference_id: str) -> str:
    """Everything that belongs to a reference photograph."""
    return f"references/{reference_id}/"


def reference_document(reference_id: str) -> str:
    """What a reference is."""
    return f"references/{reference_id}/reference.json"


def reference_image(reference_id: str) -> str:
    """Its photograph, so that another checkpoint can encode it anew."""
    return f"references/{reference_id}/image"


def reference_encoding(reference_id: str, fingerprint: str) -> str:
    """Its encoding by one network."""
    return f"references/{reference_id}/encodings/{fingerprint}"


MAPS_PREFIX = "maps/"


def map_prefix(map_id: str) -> str:
    """Everything that belongs to a map."""
    return f"maps/{map_id}/"


def map_document(map_id: str) -> str:
    """What a map is."""
    return f"maps/{map_id}/map.json"


def map_build_prefix(map_id: str, build: str) -> str:
    """All files of one build; readers see them once the record names the build."""
    return f"maps/{map_id}/builds/{build}/"


def map_file(map_id: str, build: str, name: str) -> str:
    """One file of one build."""
    return f"maps/{map_id}/builds/{build}/{name}"
