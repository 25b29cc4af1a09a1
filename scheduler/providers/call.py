"""What an adapter is given, and how it tells when the call really left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from scheduler.domain.batch import Endpoint
from scheduler.domain.outcome import AttemptEnd
from scheduler.domain.setup import Provider
from scheduler.providers.addresses import Address
from scheduler.providers.profile import Profile
from scheduler.providers.profiles.generic import GENERIC


@dataclass(frozen=True, slots=True)
class Account:
    """A connection ready to be used. headers: what every call carries, the key included; never shown
    anywhere."""

    connection_id: UUID
    name: str
    provider: Provider
    address: Address
    headers: Mapping[str, str] = field(repr=False)
    profile: Profile = GENERIC


class Departure:
    """When one call left, in seconds of the monotonic clock. send_by_s: later than that it must not leave.

    sent_s is None as long as nothing was written to the provider: such a call is given back whole.
    """

    __slots__ = ("send_by_s", "sent_s")

    def __init__(self, send_by_s: float) -> None:
        self.send_by_s = send_by_s
        self.sent_s: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt as an adapter sends it. request: the item's JSON bytes; model: the target's.

    default_args: JSON bytes by name, for what the request leaves out. timeout_s: for the whole call.
    """

    account: Account
    endpoint: Endpoint
    model: str
    request: bytes = field(repr=False)
    default_args: Mapping[str, bytes]
    timeout_s: float
    departure: Departure


class TooLate(Exception):
    """The connection was open only after `send_by_s`: nothing was sent, and the call is not to be made
    now."""


class Adapter(Protocol):
    """One wire. Raises TooLate; every other trouble is an AttemptEnd."""

    async def send(self, call: Call) -> AttemptEnd:
        """Make the call and say how it ended; sets departure.sent_s at the moment it leaves."""
        ...
