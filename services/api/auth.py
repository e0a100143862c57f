"""Who may ask: bearer keys, and the rule that a service without keys stays on the loopback."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.adapters.settings import Settings
from services.api.problems import ProblemError
from services.contract.codes import ProblemCode

DEFAULT_TENANT = "default"

_bearer = HTTPBearer(auto_error=False, description="A key of this service: `Authorization: Bearer m3r_…`.")


class OpenBindError(Exception):
    """The service would listen where others can reach it, and no key protects it."""


@dataclass(frozen=True)
class Caller:
    """Whose resources a request may see."""

    tenant: str


def check_bind(settings: Settings) -> None:
    """Refuse an address beyond the loopback while no key is set.

    Raises:
        OpenBindError: names the address and the remedies.
    """
    if settings.api_key_sha256s or _is_loopback(settings.host):
        return
    raise OpenBindError(
        f"host is {settings.host!r} and no API key is set: anyone who reaches this machine could use the service. "
        "Set M3R_API_KEY_SHA256S to a JSON list of the keys' SHA-256 in hex, or listen on 127.0.0.1"
    )


async def authorize(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    """Let a request pass that carries a key of ours, or any request when no key is set."""
    settings: Settings = request.app.state.settings
    if settings.api_key_sha256s and not (credentials and _is_known(credentials.credentials, settings.api_key_sha256s)):
        wanted = "wrong" if credentials else "missing"
        raise ProblemError(
            401,
            ProblemCode.UNAUTHORIZED,
            f"the API key is {wanted}; send it as 'Authorization: Bearer m3r_…'",
            headers={"WWW-Authenticate": 'Bearer realm="m3r"' + (', error="invalid_token"' if credentials else "")},
        )
    return Caller(DEFAULT_TENANT)


def _is_known(key: str, hashes: tuple[str, ...]) -> bool:
    """Compare with every hash, each in constant time, so that the time tells nothing."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    matches = [hmac.compare_digest(digest, known.strip().lower()) for known in hashes]
    return any(matches)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
