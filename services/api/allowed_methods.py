"""Which methods a path answers, over all routes that share it."""

from __future__ import annotations

from starlette.routing import Match
from starlette.types import Scope

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


def allowed_methods(scope: Scope) -> list[str]:
    """List the methods of a request's path, for `Allow`; empty: there is no such path."""
    routes = scope["app"].routes
    found = {
        method for method in _METHODS if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    }
    if "GET" in found:
        found.add("HEAD")
    return sorted(found | {"OPTIONS"}) if found else []
