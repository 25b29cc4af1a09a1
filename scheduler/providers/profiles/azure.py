"""Azure OpenAI: tokens by the minute, requests judged over 1 s or 10 s; headers that may be missing, cached, -1 or 0.

Against a slice of S seconds, with burst b and jitter j, the safe share is about S / (S + b + j): hence the small burst.
"""

from scheduler.providers.profile import SLICES_PACE, Dialect, Profile, Shape

AZURE = Profile(
    name="azure",
    shape=Shape.SLICES,
    pace=SLICES_PACE,
    burst_ms=100,
    dialect=Dialect.AZURE,
    remaining_is_live=False,
)
