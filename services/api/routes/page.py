"""`/`: the page for people. Static files of the package; all it shows comes from the API like any other client's data."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from services.adapters.settings import Settings
from services.api.page_files import INDEX, PageFile, page_files
from services.api.problems import ProblemError
from services.api.ranges import etag_matches
from services.contract.codes import ProblemCode

router = APIRouter(include_in_schema=False)

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "worker-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@router.get("/")
async def get_page(request: Request) -> Response:
    """Give the page. It needs no key; what it asks the API for does."""
    return _answer(request, page_files()[INDEX])


@router.get("/web/{path:path}")
async def get_page_file(path: str, request: Request) -> Response:
    """Give one of the page's files."""
    file = page_files().get(path)
    if file is None or path == INDEX:
        raise ProblemError(404, ProblemCode.NOT_FOUND, f"the page has no file {path[:100]!r}")
    return _answer(request, file)


def content_security_policy(settings: Settings) -> str:
    """What the page may load: its own files, the API beside it, and the object store that downloads are sent on to."""
    connect = "'self'"
    if settings.store.startswith("s3:"):
        connect = " ".join(["'self'", *_store_origin(settings)])
    return "; ".join(f"{name} {value}" for name, value in {**_POLICY, "connect-src": connect}.items())


def _store_origin(settings: Settings) -> list[str]:
    endpoint = settings.s3_public_endpoint or settings.s3_endpoint
    if endpoint is not None:
        parts = urlsplit(endpoint)
        return [f"{parts.scheme}://{parts.netloc}"]
    region = settings.s3_region or "us-east-1"
    return [f"https://s3.{region}.amazonaws.com", "https://s3.amazonaws.com"]


def _answer(request: Request, file: PageFile) -> Response:
    zipped = "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{file.tag}-gzip"' if zipped else f'"{file.tag}"'
    settings: Settings = request.app.state.settings
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",  # kept, but asked for again: a page and a script of two versions never meet
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Content-Security-Policy": content_security_policy(settings),
    }
    if etag_matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    if zipped:
        headers["Content-Encoding"] = "gzip"
    return Response(file.compressed if zipped else file.body, headers=headers, media_type=file.media_type)
