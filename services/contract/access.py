"""Keys and tenants: who may use the service, for what, and how much of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import Field

from services.contract.jobs import Model

Scope = Literal["read", "write", "localize", "admin"]
ALL_SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
DEFAULT_SCOPES: tuple[Scope, ...] = ("read", "write", "localize")

DEFAULT_TENANT = "default"  # of requests while there is no key, and of the keys that the settings name
TENANT_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
TenantName = Annotated[str, Field(pattern=TENANT_PATTERN)]

KEY_PREFIX = "m3r_"


class KeyRecord(Model):
    """A bearer key; the key itself is known to its owner alone, here is its SHA-256."""

    id: str  # "key_" and the first hexadecimal digits of the SHA-256
    sha256: str  # hex
    tenant: TenantName
    scopes: list[Scope]
    label: str = ""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def fault(self, now: datetime) -> str | None:
        """Say why the key is not good (any more); None: it is."""
        if self.revoked_at is not None:
            return f"was revoked at {self.revoked_at.isoformat(timespec='seconds')}"
        if self.expires_at is not None and self.expires_at <= now:
            return f"expired at {self.expires_at.isoformat(timespec='seconds')}"
        return None


class TenantRecord(Model):
    """What a tenant may use where it differs from the settings; None: as the settings say."""

    name: TenantName
    max_jobs: Annotated[int, Field(ge=0)] | None = None  # that wait or run
    max_photos: Annotated[int, Field(ge=0)] | None = None  # kept
    max_bytes: Annotated[int, Field(ge=0)] | None = None  # of photographs and results kept
    rates: dict[Scope, str] = Field(default_factory=dict)  # requests: "600/minute"; "none" lifts the settings' limit


class LinkSecret(Model):
    """What signed links are signed with."""

    id: str
    secret: Annotated[str, Field(repr=False)]  # hex
    created_at: datetime


class SignedLinks(Model):
    """URLs that work without a key until `expires_at`: for what a browser fetches by itself (`EventSource`, `img`, `a`)."""

    expires_at: datetime
    events: str | None = None  # of a job
    archive: str | None = None  # all files of a job's result
    artifacts: dict[str, str] = Field(default_factory=dict)  # file of the result -> URL
    thumbnails: dict[str, str] = Field(default_factory=dict)  # photograph -> URL
