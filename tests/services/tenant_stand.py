"""An API with tenants: keys are made as an operator makes them, requests are sent as their owners send them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from services.adapters.key_store import KeyStore
from services.adapters.objects import open_store
from services.adapters.settings import Settings
from services.contract.access import DEFAULT_SCOPES, Scope
from tests.services.api_stand import Api, open_api


@dataclass
class Tenants:
    """A running API, its key store, and a client for each tenant."""

    api: Api
    keys: KeyStore
    first: httpx.Client
    second: httpx.Client

    def client(self, key: str) -> httpx.Client:
        """A client that sends a key."""
        return httpx.Client(base_url=self.api.url, timeout=30, headers=bearer(key))

    def key(self, tenant: str, *scopes: Scope, **facts: Any) -> str:
        """Make a key."""
        return self.keys.create(tenant, scopes or DEFAULT_SCOPES, **facts)[0]


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


@contextlib.contextmanager
def open_tenants(settings: Settings) -> Iterator[Tenants]:
    """Run an API whose tenants `first` and `second` have a key each; the stand's own client is the first's."""
    store = KeyStore(open_store(settings))
    first, second = (store.create(name, (*DEFAULT_SCOPES, "admin"))[0] for name in ("first", "second"))
    with open_api(settings) as api, httpx.Client(base_url=api.url, timeout=30, headers=bearer(second)) as other:
        api.http.headers.update(bearer(first))
        yield Tenants(api, store, api.http, other)


@pytest.fixture
def tenants(settings: Settings) -> Iterator[Tenants]:
    """The API of one test, with two tenants."""
    with open_tenants(settings) as opened:
        yield opened
