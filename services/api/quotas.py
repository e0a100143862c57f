"""What a tenant may keep and have at work: jobs, photographs, bytes. Beyond it requests are refused with 429.

Jobs are counted in the compare-and-set that makes one, so the limit is exact. Photographs and bytes are measured every few
seconds, and what this process takes meanwhile is added: what other processes take in those seconds, and what is on its way, may
go beyond the limit.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from services.adapters.job_store import JobStore
from services.adapters.key_store import KeyStore
from services.adapters.objects import ObjectStoreError
from services.adapters.settings import Settings
from services.adapters.usage import Usage, UsageMeter
from services.api.problems import ProblemError
from services.contract.access import TenantRecord
from services.contract.codes import ProblemCode

FRESH_S = 5.0
RETRY_JOBS_S = 10
RETRY_STORAGE_S = 60


@dataclass(frozen=True)
class Allowance:
    """What a tenant may have; None: no limit."""

    jobs: int | None
    photos: int | None
    bytes: int | None


class Quotas:
    """Knows what tenants may have and what they have. Blocks; for threads."""

    def __init__(self, settings: Settings, store: JobStore, tenants: KeyStore) -> None:
        self._default = Allowance(settings.max_tenant_jobs, settings.max_tenant_photos, settings.max_tenant_bytes)
        self._tenants = tenants
        self._jobs = store
        self._meter = UsageMeter(store)
        self._allowances: dict[str, tuple[Allowance, float]] = {}
        self._usages: dict[str, tuple[Usage, float]] = {}
        self._lock = threading.Lock()

    def allowance(self, tenant: str) -> Allowance:
        """What a tenant may have, as it was said a few seconds ago at most; while nobody can say, what was said last."""
        known, read_at = self._allowances.get(tenant, (self._default, float("-inf")))
        if time.monotonic() - read_at < FRESH_S:
            return known
        try:
            known = _merge(self._default, self._tenants.tenant(tenant))
        except ObjectStoreError:
            return known
        self._allowances[tenant] = (known, time.monotonic())
        return known

    def require_job(self, tenant: str) -> None:
        """Refuse a job that would be one too many, before anything of it is read; raises ProblemError."""
        limit = self.allowance(tenant).jobs
        if limit is not None and self._jobs.active(tenant) >= limit:
            raise too_many_jobs(limit)

    def require_room(self, tenant: str, photos: int, size: int) -> None:
        """Refuse photographs beyond what the tenant may keep.

        Raises:
            ProblemError: quota_exceeded (429).
            redis.RedisError: nobody can say.
        """
        allowance = self.allowance(tenant)
        if allowance.photos is None and allowance.bytes is None:
            return
        usage = self._usage(tenant)
        if allowance.photos is not None and usage.photos + photos > allowance.photos:
            raise _full(f"{usage.photos} photographs of at most {allowance.photos} are kept for this tenant")
        if allowance.bytes is not None and usage.bytes + size > allowance.bytes:
            raise _full(f"{usage.bytes} bytes of at most {allowance.bytes} are kept for this tenant, and {size} more came")

    def add(self, tenant: str, photos: int, size: int) -> None:
        """Note what was taken."""
        with self._lock:
            if tenant in self._usages:
                usage, read_at = self._usages[tenant]
                self._usages[tenant] = (replace(usage, photos=usage.photos + photos, bytes=usage.bytes + size), read_at)

    def _usage(self, tenant: str) -> Usage:
        usage, read_at = self._usages.get(tenant, (Usage(0, 0), float("-inf")))
        if time.monotonic() - read_at < FRESH_S:
            return usage
        began = time.monotonic()
        usage = self._meter.measure(tenant)
        with self._lock:
            self._usages[tenant] = (usage, began)
        return usage


def too_many_jobs(limit: int) -> ProblemError:
    """The tenant has as many jobs at work as it may."""
    detail = f"{limit} jobs of this tenant wait or run, the limit; submit this one when another has ended"
    return _exceeded(detail, RETRY_JOBS_S)


def _full(what: str) -> ProblemError:
    return _exceeded(f"{what}; delete jobs or captures, and try again", RETRY_STORAGE_S)


def _exceeded(detail: str, retry_after_s: int) -> ProblemError:
    return ProblemError(429, ProblemCode.QUOTA_EXCEEDED, detail, headers={"Retry-After": str(retry_after_s)}, retryable=True)


def _merge(default: Allowance, record: TenantRecord) -> Allowance:
    return Allowance(
        jobs=default.jobs if record.max_jobs is None else record.max_jobs,
        photos=default.photos if record.max_photos is None else record.max_photos,
        bytes=default.bytes if record.max_bytes is None else record.max_bytes,
    )
