"""What the service says about itself: limits, presets, versions, and how busy it is."""

from __future__ import annotations

from typing import Literal

from services.contract.access import Scope
from services.contract.jobs import Model, Preset


class LocalisationLimits(Model):
    """What a query may ask for, and how much a tenant may keep."""

    max_references: int  # of one query
    max_photo_bytes: int
    max_query_bytes: int  # with the references that come along
    max_query_pixels: int  # of all photographs of a query together
    deadline_ms: int  # of a query that names none
    max_deadline_ms: int
    max_kept_references: int
    max_kept_maps: int


class Limits(Model):
    """What a request may ask for. A request beyond a limit is refused and names it."""

    max_photos: int
    max_photo_bytes: int
    max_capture_bytes: int
    max_photo_pixels: int
    min_photo_side: int  # pixels
    max_archive_entries: int
    max_wait_s: int
    job_time_limit_s: int
    photo_formats: list[str]  # media types
    localisation: LocalisationLimits


class Retention(Model):
    """How long things are kept."""

    job_days: float
    capture_hours: float
    reference_days: float
    map_days: float


class TenantLimits(Model):
    """Whose resources the caller sees, what its key may do, and what the tenant may have; null: no limit."""

    name: str
    scopes: list[Scope]
    max_jobs: int | None  # that wait or run
    max_photos: int | None  # kept
    max_bytes: int | None  # of photographs and results kept
    rates: dict[Scope, str]  # requests, "120/minute"; a scope that is not here has no limit


class Info(Model):
    """`GET /v1/info`."""

    name: Literal["mast3r-service"] = "mast3r-service"
    version: str
    api_versions: list[str]
    checkpoint: str
    presets: list[Preset]
    default_preset: Preset
    outputs: list[str]
    limits: Limits
    retention: Retention
    tenant: TenantLimits


class Demand(Model):
    """`GET /v1/system/demand`: what an autoscaler needs to know."""

    queued: int
    running: int


class Health(Model):
    """`GET /healthz/live` and `/healthz/ready`: each check's name and "ok" or what is wrong."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
