"""Settings of API and worker, read from the environment (`M3R_…`). No instance is made at import."""

from __future__ import annotations

import json

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ENVIRONMENT_PREFIX = "M3R_"


class Settings(BaseSettings):
    """Everything an operator may set; the defaults serve one machine."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid")

    redis_url: str = "redis://127.0.0.1:6379/0"
    key_prefix: str = "m3r:"  # of every key in Redis

    store: str = "dir:./m3r-data"  # or s3://bucket[/prefix]
    s3_endpoint: str | None = None
    s3_public_endpoint: str | None = None  # as clients reach it; presigned URLs name it
    s3_region: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: str | None = Field(default=None, repr=False)
    min_free_disk_bytes: int = 512 * 2**20  # a directory store refuses new objects below this

    host: str = "127.0.0.1"
    port: int = 8000
    public_base_url: str | None = None
    root_path: str = ""  # the proxy's prefix
    cors_origins: tuple[str, ...] = ()
    api_key_sha256s: tuple[str, ...] = ()  # hex hashes of bearer keys; none: loopback only

    max_photos: int = 200
    max_photo_bytes: int = 50 * 10**6
    max_capture_bytes: int = 4 * 10**9
    max_photo_pixels: int = 60_000_000
    max_archive_entries: int = 2_000
    max_archive_ratio: float = 100.0  # bytes inflated per byte stored

    job_time_limit_s: float = 3600.0
    lease_s: float = 30.0  # a running job whose worker has not been heard for so long is given to another
    max_attempts: int = 3  # tries that may end with the worker lost
    cancel_grace_s: float = 10.0  # a job asked to stop gets so long before its process is killed
    shutdown_grace_s: float = 12.0  # a worker asked to end lets its job run so long before it gives it back
    storage_patience_s: float = 20.0  # how long an absent object store is tried again
    stray_grace_s: float = 3600.0  # leftovers of lost attempts are removed so long after the job ended
    retention_days: float = 7.0
    tombstone_days: float = 30.0  # a deleted job is still answered with 410 for so long
    capture_expiry_h: float = 48.0
    idempotency_lease_s: float = 20.0  # a try under an Idempotency-Key that was not heard for so long counts as dead

    engine: str = "services.worker.engine:load_engine"  # module:function(settings) -> Engine
    checkpoint: str = "default"
    device: str = "cpu"
    dtype: str = "float32"
    threads: int | None = None  # CPU threads of the engine; None: all
    memory_limit_bytes: int | None = None  # of the worker's child process
    max_jobs_per_child: int = 50
    scratch: str | None = None  # folder for a job's working files; None: the system's temporary folder
    log_level: str = "INFO"


def to_environment(settings: Settings) -> dict[str, str]:
    """Write settings as environment variables, so that another process reads the same ones."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {
        ENVIRONMENT_PREFIX + name.upper(): value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
