"""Other callers of the same key: they use the limits, and are seen only in what is left."""

import random
from typing import Final

from brim_server.simulator.door import Admitted, Door
from brim_server.simulator.options import Options

MINUTE_US: Final = 60_000_000
LONGEST_GAP_US: Final = 120 * 1_000_000
"""After a longer silence what they did before is forgotten: no limit remembers it."""
TOKENS: Final = 1_000
"""Of one of their calls, where only tokens are limited."""


class Others:
    """Calls at random moments (a Poisson process), caught up with whenever somebody looks. Not retried."""

    __slots__ = ("_at_us", "_per_minute", "_random", "_tokens", "admitted", "refused")

    def __init__(self, options: Options, now_us: int) -> None:
        whole = options.rpm or (options.tpm or 0) / TOKENS
        self._per_minute = options.others * whole
        self._tokens = round((options.tpm or 0) / whole) if whole else 0
        self._random = random.Random(options.seed)
        self._at_us = float(now_us)
        self.admitted = 0
        self.refused = 0

    def until(self, now_us: int, door: Door) -> None:
        """Make the calls that they made up to now."""
        if not self._per_minute:
            return
        self._at_us = max(self._at_us, now_us - LONGEST_GAP_US)
        while self._at_us <= now_us:
            if isinstance(door.ask(self._tokens, int(self._at_us)), Admitted):
                self.admitted += 1
            else:
                self.refused += 1
            self._at_us += self._random.expovariate(self._per_minute / MINUTE_US)
