"""The OpenAI wire: chat completions, completions, embeddings, responses, at any base URL that speaks it."""

from __future__ import annotations

import time
from collections.abc import Callable

from scheduler.domain.outcome import AttemptEnd, Failed
from scheduler.providers.bodies import build_body
from scheduler.providers.call import Call
from scheduler.providers.classify import classify
from scheduler.providers.posting import HttpAnswer, Poster


class OpenAICompatible:
    """One HTTP POST a call. `wall_s`: the Unix clock, for dates in Retry-After."""

    def __init__(self, poster: Poster, wall_s: Callable[[], float] = time.time) -> None:
        self._poster = poster
        self._wall_s = wall_s

    async def send(self, call: Call) -> AttemptEnd:
        """Make the call. Raises TooLate (nothing was sent); every other trouble is an AttemptEnd."""
        try:
            body = build_body(call.request, call.endpoint, call.model, call.default_args)
        except ValueError:
            return Failed("The request is not a JSON object.", "INVALID_REQUEST")
        account = call.account
        answer = await self._poster.post(call, account.address.url_of(call.endpoint, call.model), body)
        if not isinstance(answer, HttpAnswer):
            return answer
        return classify(answer.status, answer.headers, answer.body, self._wall_s(), account.profile)
