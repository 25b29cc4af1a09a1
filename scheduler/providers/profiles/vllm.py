"""vLLM and other servers of one's own: no limits and a queue without bound, so calls in flight are what to hold."""

from scheduler.providers.profile import Charging, OutputReserve, Profile, Shape

VLLM = Profile(
    name="vllm",
    shape=Shape.NONE,
    output_reserve=OutputReserve.LIKELY,
    charging=Charging.ACTUAL,
    failed_calls_free=True,
)
