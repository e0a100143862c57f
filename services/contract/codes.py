"""Stable, machine-readable codes: of jobs that failed, and of requests that were refused."""

from __future__ import annotations

from enum import StrEnum


class JobErrorCode(StrEnum):
    """Why a job failed (`error.code` of a job)."""

    INVALID_IMAGE = "invalid_image"
    TOO_FEW_IMAGES = "too_few_images"
    NO_OVERLAP = "no_overlap"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    ENGINE_ERROR = "engine_error"


RETRYABLE = frozenset({JobErrorCode.WORKER_LOST, JobErrorCode.STORAGE_UNAVAILABLE, JobErrorCode.TIMEOUT})


class ProblemCode(StrEnum):
    """Why a request was refused (`code` of a problem document, RFC 9457)."""

    INVALID_REQUEST = "invalid_request"
    INVALID_IMAGE = "invalid_image"
    DIGEST_MISMATCH = "digest_mismatch"
    INVALID_ARCHIVE = "invalid_archive"
    INVALID_OPTIONS = "invalid_options"
    INVALID_PRIORS = "invalid_priors"
    DUPLICATE_NAME = "duplicate_name"
    TOO_FEW_IMAGES = "too_few_images"
    TOO_MANY_IMAGES = "too_many_images"
    TOO_LARGE = "too_large"
    INCOMPLETE_BODY = "incomplete_body"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    GONE = "gone"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    CONFLICT = "conflict"
    CAPTURE_FROZEN = "capture_frozen"
    NAME_TAKEN = "name_taken"
    WEBHOOK_REFUSED = "webhook_refused"
    DIRECT_UPLOAD_UNAVAILABLE = "direct_upload_unavailable"
    UPLOAD_INCOMPLETE = "upload_incomplete"
    TOO_MANY_UPLOADS = "too_many_uploads"
    REQUEST_IN_FLIGHT = "request_in_flight"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    INSUFFICIENT_STORAGE = "insufficient_storage"
    INTERNAL = "internal"
    INVALID_INTRINSICS = "invalid_intrinsics"
    TOO_MANY_REFERENCES = "too_many_references"
    LIMIT_REACHED = "limit_reached"
    MAP_NOT_READY = "map_not_ready"
    LOCALISATION_UNAVAILABLE = "localisation_unavailable"
    DEADLINE_NOT_MET = "deadline_not_met"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_ERROR = "engine_error"
