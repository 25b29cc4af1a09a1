"""The services that routes use, built once per process from a core."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from fastapi import Request

from api.room import Room
from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.batches.changing import Changing
from scheduler.services.batches.control import BatchControl
from scheduler.services.batches.creation import BatchCreation
from scheduler.services.batches.dead_letters import DeadLetters
from scheduler.services.batches.event_stream import EventStream, Feed
from scheduler.services.batches.opening import Opening
from scheduler.services.batches.progress import Progress
from scheduler.services.batches.reopening import Reopening
from scheduler.services.budgets.parkings import Parkings
from scheduler.services.callers.keys import Authenticator
from scheduler.services.callers.tenants import Tenants
from scheduler.services.core import Core
from scheduler.services.direct.face import DirectFace
from scheduler.services.direct.line import Grants
from scheduler.services.explain.explanation import Explaining
from scheduler.services.explain.headroom import Readings
from scheduler.services.files.files import Files
from scheduler.services.setup.effects import SetupEffects
from scheduler.services.setup.forms import ConnectionForm
from scheduler.services.setup.objects import SetupObjects
from scheduler.services.setup.parked_connections import ParkedConnections
from scheduler.services.setup.pools import Pools
from scheduler.services.shards.access import Shards
from scheduler.services.submissions.message_batches import MessageBatches
from scheduler.services.submissions.submissions import Submissions
from scheduler.services.uploads.extension import Extension
from scheduler.services.uploads.sink import Openers
from scheduler.services.uploads.upload import Uploads
from scheduler.settings import Settings


class EngineWithFeed(Engine, Protocol):
    """The engine and its live feed."""

    @property
    def feed(self) -> Feed: ...
    @property
    def grants(self) -> Grants: ...


class CoreWithFeed(Core, Protocol):
    """What the API needs of scheduler.bootstrap.Core."""

    @property
    def engine(self) -> EngineWithFeed: ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may call."""

    settings: Settings
    room: Room
    store: Store
    engine: Engine
    tenants: Tenants
    shards: Shards
    authenticator: Authenticator
    creation: BatchCreation
    control: BatchControl
    uploads: Uploads
    files: Files
    submissions: Submissions
    reopening: Reopening
    dead_letters: DeadLetters
    changing: Changing
    progress: Progress
    events: EventStream
    setup: SetupObjects
    readings: Readings
    explaining: Explaining
    direct: DirectFace
    message_batches: MessageBatches
    parked: ParkedConnections
    pools: Pools


def build(core: CoreWithFeed) -> Services:
    """The services of one process."""
    settings, store, engine = core.settings, core.store, core.engine
    tenants = Tenants(store)
    shards = Shards(core.recovery)
    authenticator = Authenticator(store.setup, settings.admin_key)
    effects = SetupEffects(store.setup, engine, tenants, shards)
    parked = ParkedConnections(store, engine, tenants, shards, lambda: datetime.now(UTC))
    parkings = Parkings(store.parkings, engine, timedelta(seconds=settings.park_s), lambda: datetime.now(UTC))
    form = ConnectionForm(core.vault, allow_noop=settings.allow_noop)
    opening = Opening(settings, store, engine, tenants, shards)
    extension = Extension(store, engine, settings.window_entries)
    openers = Openers(engine, tenants, shards, opening, extension)
    reopening = Reopening(store, tenants, shards, opening, core.recovery)
    control = BatchControl(settings, store, engine, tenants, shards)
    submissions = Submissions(settings, store, core.files, core.vault, control)
    return Services(
        settings=settings,
        room=Room(settings.bodies_bytes),
        direct=DirectFace(
            settings, store.setup, store.quotas, engine, engine.grants, tenants, shards, core.vault, parkings
        ),
        store=store,
        engine=engine,
        tenants=tenants,
        shards=shards,
        authenticator=authenticator,
        creation=BatchCreation(settings, store, opening, tenants, core.vault.seal),
        control=control,
        uploads=Uploads(settings, store, tenants, openers, core.vault.seal),
        files=core.files,
        submissions=submissions,
        message_batches=MessageBatches(settings, store, core.files, submissions),
        changing=Changing(store, engine, tenants, shards, lambda: datetime.now(UTC)),
        reopening=reopening,
        dead_letters=DeadLetters(store.dead_letters, reopening),
        progress=Progress(store, engine, tenants, shards),
        events=EventStream(store, engine.feed, tenants),
        setup=SetupObjects(store, tenants, form, effects, authenticator, parked),
        readings=Readings(store, engine, tenants, shards),
        parked=parked,
        pools=Pools(store.setup, tenants, effects),
        explaining=Explaining(store, engine, tenants, shards, lambda: datetime.now(UTC)),
    )


def services_of(request: Request) -> Services:
    """The services behind a request."""
    services: Services = request.app.state.services
    return services
