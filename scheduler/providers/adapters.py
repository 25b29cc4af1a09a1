"""All adapters as one: each call goes out on the wire of its connection's provider."""

from __future__ import annotations

import time
from collections.abc import Callable

import aiohttp

from scheduler.domain.outcome import AttemptEnd
from scheduler.domain.setup import Provider
from scheduler.providers.anthropic.messages import AnthropicMessages
from scheduler.providers.call import Call
from scheduler.providers.openai_compatible import OpenAICompatible
from scheduler.providers.posting import Poster


class Adapters:
    """Implements call.Adapter over one session (wire.open_session)."""

    def __init__(self, session: aiohttp.ClientSession, wall_s: Callable[[], float] = time.time) -> None:
        poster = Poster(session)
        self._openai = OpenAICompatible(poster, wall_s)
        self._anthropic = AnthropicMessages(poster, wall_s)

    async def send(self, call: Call) -> AttemptEnd:
        """Make the call. Raises TooLate (nothing was sent); every other trouble is an AttemptEnd."""
        if call.account.provider is Provider.ANTHROPIC:
            return await self._anthropic.send(call)
        return await self._openai.send(call)
