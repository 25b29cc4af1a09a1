"""What a process is built on, as its parts see it; scheduler.bootstrap makes the real one."""

from __future__ import annotations

from typing import Protocol

from scheduler.ports.engine import Engine
from scheduler.ports.store import Store
from scheduler.services.callers.secrets import Vault
from scheduler.services.files.files import Files
from scheduler.services.shards.recovery import Recovery
from scheduler.settings import Settings


class Core(Protocol):
    """Open for as long as the process works."""

    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def recovery(self) -> Recovery: ...
    @property
    def vault(self) -> Vault: ...
    @property
    def files(self) -> Files: ...
