"""The FastAPI application over a core."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from api import documentation, failures
from api.access import AccessLog
from api.patience import Patience
from api.routes import (
    ai_connections,
    ai_resources,
    api_keys,
    batch_events,
    batch_retry,
    batches,
    completion_batches,
    dead_letters,
    deliveries,
    direct_calls,
    environments,
    explanations,
    files,
    health,
    message_batches,
    metrics,
    model_list,
    pool_definitions,
    status,
    workspaces,
)
from api.wiring import CoreWithFeed, build

ROUTERS = (
    health.router,
    metrics.router,
    status.router,
    dead_letters.router,  # its word stands where others take a batch's id
    completion_batches.router,
    batch_events.router,
    batch_retry.router,
    deliveries.router,
    explanations.router,
    completion_batches.item_router,  # its last path part takes any word: after all others
    files.router,
    batches.router,
    message_batches.router,
    model_list.router,
    direct_calls.router,
    workspaces.router,
    environments.router,
    ai_connections.router,
    ai_resources.router,
    api_keys.router,
    pool_definitions.router,
)


def create_app(core: CoreWithFeed, described: FastAPI | None = None) -> FastAPI:
    """The application; the core stays the caller's to close. described: one of `described_app` that nobody serves (any
    more): to build its routes takes a while, which tests spend once."""
    app = described or described_app()
    services = build(core)
    app.state.services = services
    return app


def described_app() -> FastAPI:
    """The application without a core: enough for its OpenAPI description."""
    app = FastAPI(
        title="Brim",
        version=_version(),
        description="Capacity-aware scheduler for LLM requests: fills every rate limit to the brim and never spills.",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    failures.install(app)
    documentation.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Patience)
    app.add_middleware(AccessLog)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.services.creation.close()
    app.state.services.uploads.close()
    await app.state.services.direct.close()


def _version() -> str:
    try:
        return version("brim-server")
    except PackageNotFoundError:
        return "0"


def print_description() -> None:
    """Print the OpenAPI description: `python -m api.app > docs/openapi.json`."""
    sys.stdout.write(json.dumps(described_app().openapi(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    print_description()
