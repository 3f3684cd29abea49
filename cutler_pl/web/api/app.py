"""The application: its paths, its own error bodies, its description at /openapi.json and a page at /docs.

FastAPI makes the description; LitServe, which is FastAPI with worker processes, has no limit of its queue and other
error bodies, and a second process for one network brings nothing here.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from cutler_pl.runtime.version import VERSION
from cutler_pl.web.api.answers import Error, Health
from cutler_pl.web.api.description import RESPONSES, request_body
from cutler_pl.web.api.endpoints import Endpoint
from cutler_pl.web.api.options import ServerOptions
from cutler_pl.web.api.responses import refusal, to_response
from cutler_pl.web.api.service import Service

_SAFE_PAGE = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_DESCRIPTION = (
    "An image as multipart form in, the objects as JSON out. Boxes are COCO's `bbox` (left, top, width, height), masks "
    "its compressed run lengths; both in pixels of the upright image, EXIF orientation applied."
)


def build_app(endpoints: Sequence[Endpoint[Any]], options: ServerOptions) -> FastAPI:
    """The ASGI application that answers for some endpoints."""
    service = Service(options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="cutler_pl", version=VERSION, description=_DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    for endpoint in endpoints:
        _add(app, service, endpoint)
    page = resources.files("cutler_pl.web.api").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/healthz", responses={200: {"model": Health}, 503: {"model": Error}}, summary="Whether it answers")
    async def healthz() -> Response:
        if not service.is_running:
            return to_response(Error("the thread of the networks has ended; restart the server"), 503)
        return to_response(Health("ok", service.active))

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page, headers=_SAFE_PAGE)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        paths = ", ".join(["/healthz", "/docs", *(endpoint.path for endpoint in endpoints)])
        sentences = {
            404: f"there is no {request.url.path[:60]}; the paths are {paths}",
            405: f"{request.url.path[:60]} does not take {request.method[:20]}; see /docs",
        }
        sentence = sentences.get(error.status_code, f"{error.detail}; see /docs")
        return to_response(Error(sentence), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return refusal(request, error)

    return app


def _add(app: FastAPI, service: Service, endpoint: Endpoint[Any]) -> None:
    async def answer(request: Request) -> Response:
        return await service.answer(request, endpoint)

    app.add_api_route(
        endpoint.path, answer, methods=["POST"], summary=endpoint.summary, name=endpoint.path.strip("/"),
        description=f"Answered by {endpoint.model}.", responses=RESPONSES,
        openapi_extra=request_body(endpoint.options), response_model=None,
    )  # fmt: skip
