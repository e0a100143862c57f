"""Settings of API and worker, read from the environment (`M3R_…`). No instance is made at import."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.contract.access import Scope

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
    s3_timeout_s: float = 15.0  # a server that says nothing for so long is asked once more, then counts as away
    s3_multipart_bytes: int = 16 * 2**20  # larger objects are sent in parts of this size, at least 5 MiB
    min_free_disk_bytes: int = 512 * 2**20  # a directory store refuses new objects below this, uploads below twice this

    host: str = "127.0.0.1"
    port: int = 8000
    public_base_url: str | None = None
    root_path: str = ""  # the proxy's prefix
    cors_origins: tuple[str, ...] = ()
    api_key_sha256s: tuple[str, ...] = ()  # hex hashes of bearer keys beside those of `m3r keys`; none at all: loopback only
    signed_link_s: float = 900.0  # a link that a browser follows without a key works so long, twice that at most
    rates: dict[Scope, str] = {}  # requests of each tenant, {"write": "60/minute"}; `m3r keys tenant` says otherwise for one
    max_tenant_jobs: int | None = None  # of each tenant, that wait or run; None: no limit
    max_tenant_photos: int | None = None  # kept
    max_tenant_bytes: int | None = None  # of photographs and results kept

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
    upload_expiry_s: float = 3600.0  # URLs for direct upload work so long; what is not completed in twice that is removed
    webhook_key: str | None = Field(default=None, repr=False)  # seals webhook secrets; None: one that the object store keeps
    webhook_allow_http: bool = False  # without TLS, for receivers in a network of one's own
    webhook_allowed_networks: tuple[str, ...] = ()  # such as 10.1.0.0/16: receivers there are reached although not public
    webhook_ca_file: str | None = None  # certificates (PEM) that receivers are trusted by; None: the usual authorities
    webhook_timeout_s: float = 15.0  # of one try, from the name's resolution to the answer's headers
    webhook_max_attempts: int = 12
    webhook_max_age_h: float = 72.0  # an event is given up after so long, or after so many tries
    webhook_retry_first_s: float = 5.0  # pause before the second try; each further one is three times as long, six hours at most
    idempotency_lease_s: float = 20.0  # a try under an Idempotency-Key that was not heard for so long counts as dead

    max_references: int = 32  # of one query
    max_kept_references: int = 10_000  # of one tenant
    max_kept_maps: int = 100  # of one tenant
    reference_retention_days: float = 30.0
    map_retention_days: float = 30.0
    localisation_engine: str = "services.worker.localisation_engine:load_localisation_engine"  # module:function(settings)
    localisation_deadline_ms: int = 10_000  # of a query that names none
    localisation_max_deadline_ms: int = 60_000
    localisation_batch: int = 4  # queries that wait are taken together, at most so many
    localisation_max_waiting: int = 64
    localisation_queue_bytes: int = 256 * 2**20  # photographs of queries that wait, in Redis
    localisation_max_photo_bytes: int = 10 * 10**6
    localisation_max_query_bytes: int = 64 * 10**6  # with the references that come along
    localisation_max_query_pixels: int = 120_000_000  # of all its photographs together; the worker has them in memory at once
    localisation_cache_bytes: int = 2 * 2**30  # of encoded references and of maps in the worker's memory, each
    localisation_threads: int | None = None  # CPU threads of the localisation worker; None: all

    engine: str = "services.worker.engine:load_engine"  # module:function(settings) -> Engine
    checkpoint: str = "default"
    device: str = "cpu"
    dtype: str = "float32"
    kernels: Literal["auto", "compiled", "cuda"] = "auto"  # auto: what is not compiled runs as reference; else it is an error
    cuda_graphs: bool = False  # record the network's calls on a GPU, one graph for each shape of photographs
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
