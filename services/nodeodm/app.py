"""The application of this protocol: it opens nothing, and works with what the API beside it has open."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from services.adapters.settings import Settings
from services.api.request_frame import RequestFrame
from services.nodeodm import asset_routes, new_task_routes, node_routes, task_routes
from services.nodeodm.error_form import UnexpectedErrors, install_error_form


def create_nodeodm_app(api: FastAPI) -> FastAPI:
    """Build the application.

    Args:
        api: the API's application in the same process; it is started before this one and ended after it.
    """
    settings: Settings = api.state.settings

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = api.state.services
        yield

    app = FastAPI(title="MASt3R service, NodeODM protocol", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.settings = settings
    for module in (node_routes, new_task_routes, task_routes, asset_routes):
        app.include_router(module.router)
    install_error_form(app)
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(RequestFrame, metrics=api.state.metrics, root_path="")
    return app
