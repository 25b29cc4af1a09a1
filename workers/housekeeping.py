"""The duties that keep Postgres and the engine in order, put together; any process may do each at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.callers.secrets import Vault
from scheduler.services.files.files import Files
from scheduler.services.shards.recovery import Recovery
from scheduler.settings import Settings
from workers import canceller, checkpointer, expirer, filekeeper, pruner, reconciler, sealer, secretkeeper, urger
from workers.duty import begin


class Housekeeping:
    """They need nothing of the entries that this process runs. live_shards: those in use; on_deliveries: callbacks were
    written."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        recovery: Recovery,
        files: Files,
        vault: Vault,
        live_shards: Callable[[], Sequence[int]],
        utc_now: Callable[[], datetime],
        on_deliveries: Callable[[], None],
    ) -> None:
        self._reconcile_s = settings.reconcile_s
        self._canceller = canceller.Canceller(store, engine, recovery, utc_now, on_deliveries)
        self._reconciler = reconciler.Reconciler(store, engine, recovery, live_shards, utc_now)
        self._expirer = expirer.Expirer(store, engine, recovery, utc_now, on_deliveries)
        self._urger = urger.Urger(store, engine, recovery, live_shards, utc_now)
        self._sealer = sealer.Sealer(store, engine, recovery, settings.window_entries, settings.upload_silence_s)
        self._checkpointer = checkpointer.Checkpointer(store.quotas, engine, live_shards)
        self._filekeeper = filekeeper.FileKeeper(files, utc_now)
        self._pruner = pruner.Pruner(store.shards, store.retention, settings.retention_days, utc_now)
        self._secretkeeper = secretkeeper.Secretkeeper(store.callback_secrets, store.shards, vault)

    def start(self, stop: asyncio.Event) -> list[asyncio.Task[None]]:
        """Begin; the tasks end after `stop`."""
        return [
            begin(canceller.INTERVAL_S, self._canceller.run_once, stop, name="canceller"),
            begin(self._reconcile_s, self._reconciler.run_once, stop, name="reconciler"),
            begin(expirer.INTERVAL_S, self._expirer.run_once, stop, name="expirer"),
            begin(urger.INTERVAL_S, self._urger.run_once, stop, name="urger"),
            begin(sealer.INTERVAL_S, self._sealer.run_once, stop, name="sealer"),
            begin(checkpointer.INTERVAL_S, self._checkpointer.run_once, stop, name="checkpointer"),
            begin(filekeeper.INTERVAL_S, self._filekeeper.run_once, stop, name="filekeeper"),
            begin(pruner.INTERVAL_S, self._pruner.run_once, stop, name="pruner"),
            begin(secretkeeper.INTERVAL_S, self._secretkeeper.run_once, stop, name="secretkeeper"),
        ]
