"""Resources as the models that callers of the OpenAI face may name."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from scheduler.domain.setup import Resource


class ModelView(Struct, frozen=True, kw_only=True):
    """A resource by its name. created: Unix seconds."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "brim"


class ModelPage(Struct, frozen=True, kw_only=True):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelView]


def model_view(resource: Resource) -> ModelView:
    """A resource as a model."""
    return ModelView(id=resource.name, created=int(resource.created_at.timestamp()))
