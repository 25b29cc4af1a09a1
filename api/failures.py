"""Every error that leaves a route becomes an answer in the form that its path speaks."""

from __future__ import annotations

from typing import Final, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import anthropic_errors, errors, openai_errors
from scheduler.domain.errors import BrimError


class Form(Protocol):
    """How one face words its errors: a module with these four functions, and the shape of what they answer."""

    @property
    def BODY(self) -> type: ...
    def internal_error(self) -> Response: ...
    def of_error(self, error: BrimError) -> Response: ...
    def of_parameters(self, error: RequestValidationError) -> Response: ...
    def of_framework(self, error: HTTPException) -> Response: ...


FORMS: Final[tuple[tuple[str, Form], ...]] = (
    ("/v1/files", openai_errors),
    ("/v1/batches", openai_errors),
    ("/v1/models", openai_errors),
    ("/v1/chat/completions", openai_errors),
    ("/v1/completions", openai_errors),
    ("/v1/embeddings", openai_errors),
    ("/v1/responses", openai_errors),
    ("/v1/moderations", openai_errors),
    ("/v1/messages", anthropic_errors),
)
"""Which paths, with all below them, speak another form than our own."""


def form_of(path: str) -> Form:
    """The form of the errors of a path."""
    return next((form for root, form in FORMS if path == root or path.startswith(root + "/")), errors)


def internal_error(path: str) -> Response:
    """The answer of a path for what should not have happened."""
    return form_of(path).internal_error()


def install(app: FastAPI) -> None:
    """Answer every error that leaves a route."""

    async def answered(request: Request, error: Exception) -> Response:
        form = form_of(request.url.path)
        match error:
            case BrimError():
                return form.of_error(error)
            case RequestValidationError():
                return form.of_parameters(error)
            case HTTPException():
                return form.of_framework(error)
            case _:
                return form.internal_error()

    for kind in (BrimError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answered)
