"""What a key may do on which route. Derived from method and path, so a new route is never without a scope."""

from __future__ import annotations

from services.contract.access import Scope

_ADMIN = ("/metrics", "/v1/system/")  # numbers of all tenants together


def required_scope(method: str, path: str) -> Scope:
    """Name the scope that a route wants.

    Args:
        path: the route's template, "/v1/jobs/{job_id}".
    """
    if path.startswith(_ADMIN):
        return "admin"
    if path.endswith("/localize"):
        return "localize"
    return "read" if method in ("GET", "HEAD") else "write"
