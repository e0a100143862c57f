"""The HTTP application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import FastAPI, Request, Response

from services.adapters.settings import Settings
from services.api.cross_origin import EXPOSED, METHODS, CrossOrigin
from services.api.logs import configure_logs
from services.api.metrics import Metrics
from services.api.openapi import DESCRIPTION, describe
from services.api.problems import install_error_handlers
from services.api.request_frame import RequestFrame
from services.api.routes import (
    artifacts,
    captures,
    deliveries,
    events,
    jobs,
    links,
    localize,
    maps,
    page,
    priors,
    reconstructions,
    references,
    system,
    thumbnails,
    uploads,
)
from services.api.routes.events import StreamOverError
from services.api.wiring import open_services


def create_app(settings: Settings) -> FastAPI:
    """Build the application. Nothing is opened before it starts."""
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logs(settings.log_level)
        async with open_services(settings, metrics) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="MASt3R service",
        version=version("mast3r-service"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings, app.state.metrics = settings, metrics
    # Routers are tried in turn: the one that is polled goes first.
    modules = (jobs, reconstructions, captures, uploads, priors, events, deliveries, artifacts, links, thumbnails)
    for module in (*modules, references, maps, localize, system, page):
        app.include_router(module.router)
    install_error_handlers(app)
    app.add_exception_handler(StreamOverError, _end_stream)
    if settings.cors_origins:
        app.add_middleware(
            CrossOrigin,
            allow_origins=list(settings.cors_origins),
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=EXPOSED,
            max_age=3600,
        )
    app.add_middleware(RequestFrame, metrics=metrics, root_path=settings.root_path)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


async def _end_stream(_: Request, error: Exception) -> Response:
    assert isinstance(error, StreamOverError)
    return Response(status_code=204, headers={"Cache-Control": "no-store"})
