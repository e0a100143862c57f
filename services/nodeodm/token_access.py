"""Who may ask: the key comes as the query parameter `token`, since clients of this protocol send no headers of their own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials

from services.api.auth import Caller, authorize


async def authorize_token(request: Request, token: Annotated[str, Query()] = "") -> Caller:
    """Let a request pass as the API lets it: the same keys, tenants and scopes. Raises as `authorize`."""
    credentials = HTTPAuthorizationCredentials(scheme="Bearer", credentials=token) if token else None
    return await authorize(request, credentials)


TokenHolder = Annotated[Caller, Depends(authorize_token)]
