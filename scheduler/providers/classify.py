"""From an HTTP answer to an AttemptEnd: pure, for every provider, as its profile says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from scheduler.domain.capacity import Period
from scheduler.domain.outcome import AttemptEnd, Failed, Fatal, FatalScope, LimitHit, Refusal, Retry, Succeeded
from scheduler.domain.parking import next_midnight_pacific_ms
from scheduler.domain.rates import RateReport
from scheduler.providers.dialects import gemini, read_rates
from scheduler.providers.error_bodies import MESSAGE_CHARS, Problem, problem_in
from scheduler.providers.profile import Profile
from scheduler.providers.profiles.generic import GENERIC
from scheduler.providers.usages import usage_in
from scheduler.providers.waits import said_ms, wait_ms

_ABOUT_THE_ITEM = frozenset(
    {"moderation", "content_filter", "content_policy_violation", "model_not_found", "unsupported_model"}
)
_TOO_LONG = frozenset({"context_length_exceeded", "string_above_max_length"})
_TOO_LONG_PHRASES = ("prompt is too long", "input is too long")
_NEVER_FITS = re.compile(r"Limit:? (\d+),(?: Used:? \d+,)? Requested:? (\d+)")
_OF_A_DAY = re.compile(r"\bper (?:hour|day)\b|\b(?:RP|TP|ITP|OTP)[HD]\b", re.IGNORECASE)
_OF_A_MINUTE = re.compile(r"\bper (?:second|min|minute)\b|\b(?:RP|TP|ITP|OTP)[SM]\b", re.IGNORECASE)
_LONG = (Period.HOUR, Period.DAY)
_PASSING = frozenset({408, 409, 425})
_SHOWN = ("x-request-id", "request-id", "content-type", "retry-after", "retry-after-ms")
_SHOWN_STARTS = ("x-ratelimit-", "anthropic-ratelimit-", "openai-", "azureml-")


def classify(
    status: int, headers: Mapping[str, str], body: bytes, now_s: float, profile: Profile = GENERIC
) -> AttemptEnd:
    """How an attempt ended, from what came back. headers: lower-case names. now_s: Unix time, for dates
    in headers."""
    rates = read_rates(profile.dialect, status, headers, body, now_s)
    if 200 <= status < 300:
        return _success(status, headers, body, rates)
    problem = problem_in(body)
    wait = wait_ms(headers, problem.message, now_s, rates, body=_text(body))
    if _no_credit(status, problem, headers, body, rates, profile, now_s):
        return _shut(problem, body, rates, wait, now_s)
    if status == 413 or (status == 429 and _never_fits(problem.message)):
        reason = problem.message or "Too large for the provider."
        return Fatal(FatalScope.ITEM, reason, "REQUEST_TOO_LARGE", rates=rates, refusal=Refusal(status, body))
    if status == 429:
        # 0 stands for "not said": whoever pauses the budget knows how often that happened in a row.
        growth = bool(profile.growth_codes & problem.names)
        reason = problem.message or "The provider's rate limit is reached."
        return LimitHit(wait or 0, reason, rates, growth, one_model=_is_of_a_day(reason, rates))
    if status >= 500 or status in _PASSING or status in profile.passing_statuses:
        reason = problem.message or f"The provider answered {status}."
        refusal = Refusal(status, body)
        return Retry(reason, f"PROVIDER_{status}", wait_ms(headers, "", now_s), rates=rates, refusal=refusal)
    return _refusal(status, problem, body, rates)


def _success(status: int, headers: Mapping[str, str], body: bytes, rates: RateReport | None) -> AttemptEnd:
    try:
        usage = usage_in(body)
    except UnicodeDecodeError:
        reason = f"The provider answered {status} with a body that is not UTF-8."
        return Retry(reason, "BAD_RESPONSE", rates=rates)
    if usage is None:
        reason = f"The provider answered {status} with a body that is no JSON object."
        return Retry(reason, "BAD_RESPONSE", rates=rates)
    return Succeeded(body, shown(headers), usage, rates)


def shown(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that users may see."""
    return {name: value for name, value in headers.items() if name in _SHOWN or name.startswith(_SHOWN_STARTS)}


def _no_credit(
    status: int,
    problem: Problem,
    headers: Mapping[str, str],
    body: bytes,
    rates: RateReport | None,
    profile: Profile,
    now_s: float,
) -> bool:
    """The account stands in the way: waiting for the next minute does not help.

    Gemini's quotas of the day, and those of 0, which it gives to accounts without any, count for every profile: their
    names are unmistakable.
    """
    if status == 402:
        return True
    if status not in (400, 403, 429):
        return False
    if any(name in profile.no_credit_codes or name.endswith(profile.no_credit_endings) for name in problem.names):
        return True
    if problem.message.lower().startswith(profile.no_credit_phrases):
        return True
    if status != 429:
        return False
    if any(each.period is Period.DAY or each.limit == 0 for each in gemini.limits_in(body)):
        return True
    return profile.silent_429_is_final and said_ms(headers, now_s) is None and not (rates and rates.used_up)


def _shut(problem: Problem, body: bytes, rates: RateReport | None, wait: int | None, now_s: float) -> Fatal:
    """No credit; or Gemini's quota of a day is used up, which starts again at midnight Pacific time, whatever its
    retryDelay says, and may be that of one model only."""
    reason = problem.message or "The provider reports no credit."
    quotas = gemini.limits_in(body)
    scope = FatalScope.MODEL if gemini.is_of_one_model(body) else FatalScope.CONNECTION
    if quotas and all(each.period is Period.DAY and each.limit != 0 for each in quotas):
        return Fatal(scope, reason, "PROVIDER_QUOTA_USED_UP", next_midnight_pacific_ms(now_s), rates)
    return Fatal(scope, reason, "PROVIDER_NO_CREDIT", wait, rates)


def _is_of_a_day(message: str, rates: RateReport | None) -> bool:
    """What is used up is a limit of an hour or a day, which providers count by model: by its words ("on requests per
    day (RPD)"), else by what headers call used up."""
    if _OF_A_MINUTE.search(message):
        return False
    if _OF_A_DAY.search(message):
        return True
    used_up = rates.used_up if rates else ()
    return bool(used_up) and all(each.period in _LONG for each in used_up)


def _never_fits(message: str) -> bool:
    """The request alone is more than the limit."""
    if "request too large" in message.lower():
        return True
    found = _NEVER_FITS.search(message)
    return found is not None and int(found.group(2)) > int(found.group(1))


def _refusal(status: int, problem: Problem, body: bytes, rates: RateReport | None) -> AttemptEnd:
    """1xx, 3xx and the 4xx that will not pass."""
    connection = FatalScope.CONNECTION
    if status == 401 or (status == 403 and not problem.names & _ABOUT_THE_ITEM):
        # The provider's own words may quote a part of the key, so they are not repeated.
        return Fatal(connection, f"The provider refused the key ({status}).", "PROVIDER_KEY_REFUSED", rates=rates)
    if status < 400:
        reason = f"The provider answered {status} in place of a result; redirects are not followed: check the base URL."
        return Failed(reason, "PROVIDER_REDIRECTED", status, body, rates)
    if problem.names & _TOO_LONG or problem.message.lower().startswith(_TOO_LONG_PHRASES):
        code = "CONTEXT_LENGTH_EXCEEDED"
    elif status == 404:
        code = "MODEL_NOT_FOUND"
    else:
        code = "INVALID_REQUEST"
    return Failed(problem.message or f"The provider refused the request ({status}).", code, status, body, rates)


def _text(body: bytes) -> str:
    return body[: 4 * MESSAGE_CHARS].decode(errors="replace")
