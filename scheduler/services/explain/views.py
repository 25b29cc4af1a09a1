"""Explanations as callers see them: which limit binds, what goes first, when it starts and ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

Scope = Literal["connection", "model", "pool", "resource", "api-key", "batch", "item"]
State = Literal["waiting", "deferred", "running", "finished", "opening"]


class LimitHold(Struct, rename="camel", frozen=True, kw_only=True):
    """One limit on the way. scope, id and name: whose it is. dimension: what it counts, or in which way it holds.

    period, limit and used: null where it has none. reason: of a pause. admits_at: when it lets this work through; null
    when that cannot be told.
    """

    scope: Scope
    id: str | None
    name: str | None
    dimension: str
    period: str | None
    limit: int | None
    used: int | None
    reason: str | None
    admits_at: datetime | None


class ItemExplanation(Struct, rename="camel", frozen=True, kw_only=True):
    """Why an item waits. items_ahead: of its own batch; requests_ahead: all that pass its connection before it.

    binding_limit null: nothing holds it back but free slots of workers. earliest_start and expected_end hold if nothing
    else arrives; null when they cannot be told. limits: all on its way. message: the same in words.
    """

    batch_id: UUID
    item_id: UUID
    resource_id: UUID
    resource: str | None
    status: str
    state: State
    binding_limit: LimitHold | None
    items_ahead: int
    requests_ahead: int
    earliest_start: datetime | None
    expected_end: datetime | None
    limits: list[LimitHold]
    message: str


class ResourceExplanation(Struct, rename="camel", frozen=True, kw_only=True):
    """A batch's part on one resource. waiting includes deferred; times are of its next item and of its last."""

    resource_id: UUID
    resource: str | None
    waiting: int
    deferred: int
    running: int
    binding_limit: LimitHold | None
    requests_ahead: int
    earliest_start: datetime | None
    expected_end: datetime | None


class BatchExplanation(Struct, rename="camel", frozen=True, kw_only=True):
    """Why a batch is not done yet. binding_limit: of the part that ends last. meets_deadline: null without a deadline,
    or when the end cannot be told."""

    batch_id: UUID
    status: str
    binding_limit: LimitHold | None
    items_ahead: int
    requests_ahead: int
    earliest_start: datetime | None
    expected_end: datetime | None
    deadline: datetime | None
    meets_deadline: bool | None
    resources: list[ResourceExplanation]
    message: str


class Feasibility(Struct, rename="camel", frozen=True, kw_only=True):
    """Whether a batch can be done in time, as things stand. warning: in words, when it cannot, or waits on somebody."""

    meets_deadline: bool | None
    binding_limit: LimitHold | None
    warning: str | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """When a live batch ends, as things stand, and what decides that. expected_end None: it cannot be told.

    stuck: why nothing of it moves, in words, when its connection is shut for longer than a moment.
    """

    expected_end: datetime | None
    feasibility: Feasibility
    stuck: str | None = None
