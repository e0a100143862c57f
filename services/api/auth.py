"""Who may ask: bearer keys, signed links, and the rule that a service without keys stays on the loopback."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.adapters.json_logs import note_facts
from services.adapters.key_store import KeyStore
from services.adapters.objects import ObjectStoreError, open_store
from services.adapters.settings import Settings
from services.api.problems import ProblemError
from services.api.request_frame import ANSWER_HEADERS
from services.api.scopes import required_scope
from services.api.signed_links import SIGNED_ROUTES, BadLinkError
from services.contract.access import ALL_SCOPES, DEFAULT_TENANT, Scope
from services.contract.codes import ProblemCode

if TYPE_CHECKING:
    from services.api.wiring import Services

_bearer = HTTPBearer(auto_error=False, description="A key of this service: `Authorization: Bearer m3r_…`.")


class OpenBindError(Exception):
    """The service would listen where others can reach it, and no key protects it."""


@dataclass(frozen=True)
class Caller:
    """Whose resources a request may see, and what it may do with them."""

    tenant: str
    scopes: frozenset[Scope] = ALL_SCOPES
    key_id: str | None = None  # of a key in the store


def check_bind(settings: Settings) -> None:
    """Refuse an address beyond the loopback while there is no key.

    Raises:
        OpenBindError: names the address and the remedies.
    """
    if settings.api_key_sha256s or _is_loopback(settings.host):
        return
    try:
        if KeyStore(open_store(settings)).any():
            return
        why = "no API key is set"
    except ObjectStoreError as error:
        why = f"no API key is set in the settings, and the store of the others does not answer ({error})"
    raise OpenBindError(
        f"host is {settings.host!r} and {why}: anyone who reaches this machine could use the service. "
        "Make a key with 'm3r keys create', set M3R_API_KEY_SHA256S to a JSON list of the keys' SHA-256 in hex, "
        "or listen on 127.0.0.1"
    )


async def authorize(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    """Let a request pass that may do what its route does: with a key, a signed link, or while there is no key at all.

    Raises:
        ProblemError: 401 (no good key), 403 (a key without the scope), 429 (more requests than the tenant may send).
        ObjectStoreError: the keys cannot be read.
    """
    services: Services = request.app.state.services
    caller = await _identify(request, credentials, services)
    note_facts(tenant=caller.tenant)
    wanted = required_scope(request.method, request.scope["route"].path)
    if wanted not in caller.scopes:
        detail = f"the API key may {' and '.join(sorted(caller.scopes)) or 'do nothing'}; this route wants {wanted!r}"
        raise ProblemError(403, ProblemCode.FORBIDDEN, detail)
    await _count(request, services, caller, wanted)
    return caller


async def identify_key(services: Services, key: str) -> Caller:
    """Say whose key this is.

    Raises:
        ProblemError: 401; the key is wrong, expired or revoked.
        ObjectStoreError: the keys cannot be read.
    """
    if services.keyring.is_configured(key):
        return Caller(DEFAULT_TENANT)
    record = await services.keyring.find(key)
    fault = "is wrong" if record is None else record.fault(datetime.now(UTC))
    if record is None or fault is not None:
        raise _unauthorized(f"the API key {fault}", "invalid_token")
    return Caller(record.tenant, frozenset(record.scopes), record.id)


async def _identify(request: Request, credentials: HTTPAuthorizationCredentials | None, services: Services) -> Caller:
    if not await services.keyring.required():
        if _is_loopback(services.settings.host):
            return Caller(DEFAULT_TENANT)
        raise _unauthorized("the service has no key yet and others can reach it; make one with 'm3r keys create'")
    if credentials is not None:
        return await identify_key(services, credentials.credentials)
    if "sig" in request.query_params and request.method == "GET" and request.scope["route"].path in SIGNED_ROUTES:
        return await _follow_link(request, services)
    raise _unauthorized("the API key is missing")


async def _follow_link(request: Request, services: Services) -> Caller:
    try:
        tenant = await services.links.check(_own_path(request), request.query_params)
    except BadLinkError as error:
        raise _unauthorized(str(error), "invalid_token") from None
    return Caller(tenant, frozenset({"read"}))


async def _count(request: Request, services: Services, caller: Caller, scope: Scope) -> None:
    """Count the request, and let its answer say where the tenant stands."""
    standing = await services.rate_limits.take(await services.keyring.tenant(caller.tenant), scope)
    if standing is None:
        return
    setattr(request.state, ANSWER_HEADERS, standing.headers())
    if not standing.passed:
        raise standing.refusal()


def _own_path(request: Request) -> str:
    """The path without a proxy's prefix, which some proxies strip and some do not."""
    path, prefix = str(request.scope["path"]), str(request.scope.get("root_path", ""))
    return path.removeprefix(prefix) if path.startswith(prefix + "/") else path


def _unauthorized(why: str, error: str = "") -> ProblemError:
    challenge = 'Bearer realm="m3r"' + (f', error="{error}"' if error else "")
    detail = f"{why}; send a good one as 'Authorization: Bearer m3r_…'"
    return ProblemError(401, ProblemCode.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
