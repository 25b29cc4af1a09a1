"""Calls to Anthropic's /v1/messages."""

from __future__ import annotations

from collections.abc import Callable

from scheduler.domain.outcome import AttemptEnd, Failed, Retry
from scheduler.providers.anthropic.answer import to_completion
from scheduler.providers.anthropic.blocks import Untranslatable
from scheduler.providers.anthropic.request import to_messages
from scheduler.providers.call import Call
from scheduler.providers.classify import classify
from scheduler.providers.posting import HttpAnswer, Poster


class AnthropicMessages:
    """One HTTP POST a call. `wall_s`: the Unix clock, for dates in headers and the answer's `created`."""

    def __init__(self, poster: Poster, wall_s: Callable[[], float]) -> None:
        self._poster = poster
        self._wall_s = wall_s

    async def send(self, call: Call) -> AttemptEnd:
        """Make the call. Raises TooLate (nothing was sent); every other trouble is an AttemptEnd."""
        if call.endpoint != "/v1/chat/completions":
            return Failed(f"Anthropic does not serve {call.endpoint}.", "ENDPOINT_NOT_SUPPORTED")
        try:
            body = to_messages(call.request, call.model, call.default_args)
        except Untranslatable as problem:
            return Failed(str(problem), "INVALID_REQUEST")
        answer = await self._poster.post(call, call.account.address.base_url + "/messages", body)
        if not isinstance(answer, HttpAnswer):
            return answer
        translated = answer.body
        if 200 <= answer.status < 300:
            completion = to_completion(answer.body, self._wall_s())
            if completion is None:
                reason = f"The provider answered {answer.status} with a body that is no message."
                return Retry(reason, "BAD_RESPONSE")
            translated = completion
        return classify(answer.status, answer.headers, translated, self._wall_s(), call.account.profile)
