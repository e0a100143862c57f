"""Cross-origin requests from browsers, for the origins that the settings name."""

from __future__ import annotations

from fastapi import Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
EXPOSED = [
    "Location",
    "ETag",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Content-Digest",
    "Content-Disposition",
    "Content-Range",
    "Accept-Ranges",
    "Idempotent-Replayed",
    "X-Request-Id",
]


class CrossOrigin(CORSMiddleware):
    """Starlette's, but a preflight that is refused is an answer without permission and no error: the browser does the rest."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request."""
        response = super().preflight_response(request_headers)
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        if response.status_code != 200:
            kept = {"vary": "Origin"}
        return Response(status_code=204, headers=kept)
