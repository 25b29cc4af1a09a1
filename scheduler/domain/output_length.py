"""How long answers are: a quantile of what was seen, in bounded memory. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import ceil, log
from typing import Generic, TypeVar

SHARE = 0.95
"""Share of answers that a reserve shall suffice for. The average is well below it, so what a few answers need beyond
their reserve, others give back."""
LEAST_SEEN = 20
"""With fewer answers nothing is concluded."""
MOST_SEEN = 2_000
"""At so many, all counts are halved: what was seen long ago weighs less and less."""
_GROWTH = 1.1
"""Each step of lengths is so much longer than the one before: a quantile is at most 10 % too high, never too low."""
_LONGEST = 2**31 - 1
MOST_RESERVED = 1_000_000_000
"""No reserve is larger, whatever a request says."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class OutputGuess:
    """An item whose reserve for the answer is a guess, because it sets no limit that its provider charges.

    copies: answers that it asks for (≥ 1). most_tokens: what it allows for all of them together, where the provider
    charges only what it generates; None: it says nothing.
    """

    copies: int = 1
    most_tokens: int | None = None

    def tokens(self, likely_tokens: int) -> int:
        """The reserve when one answer is likely to be so long."""
        guess = min(likely_tokens * self.copies, MOST_RESERVED)
        return guess if self.most_tokens is None else min(guess, self.most_tokens)


class OutputLengths:
    """Lengths of answers in tokens, counted in about 225 steps at most."""

    __slots__ = ("_counts", "_seen")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._seen = 0

    def observe(self, tokens: int) -> None:
        """Take note of one answer (tokens ≥ 1)."""
        step = ceil(log(min(tokens, _LONGEST)) / log(_GROWTH) - 1e-9)
        self._counts[step] = self._counts.get(step, 0) + 1
        self._seen += 1
        if self._seen >= MOST_SEEN:
            self._counts = {step: half for step, count in self._counts.items() if (half := count // 2)}
            self._seen = sum(self._counts.values())

    def quantile(self, share: float = SHARE, least: int = LEAST_SEEN) -> int | None:
        """A length in tokens that at least `share` (0 < share ≤ 1) of the answers did not exceed; None before `least`
        were seen."""
        if self._seen < max(1, least):
            return None
        wanted, passed, steps = share * self._seen, 0, iter(sorted(self._counts))
        while passed < wanted:
            step = next(steps)
            passed += self._counts[step]
        return min(_LONGEST, int(_GROWTH**step + 1e-6))


@dataclass(frozen=True, slots=True)
class News(Generic[K]):
    """What is likely for a key. seen: answers since the last time that this was asked for."""

    key: K
    quantile_tokens: int
    seen: int


class LearnedLengths(Generic[K]):
    """Lengths by whatever they depend on (a resource, a batch on one); the `most` used last are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_key: OrderedDict[K, OutputLengths] = OrderedDict()
        self._untold: dict[K, int] = {}

    def observe(self, key: K, tokens: int) -> None:
        """Take note of one answer."""
        lengths = self._by_key.get(key)
        if lengths is None:
            lengths = self._by_key[key] = OutputLengths()
            if len(self._by_key) > self._most:
                forgotten, _ = self._by_key.popitem(last=False)
                self._untold.pop(forgotten, None)
        else:
            self._by_key.move_to_end(key)
        lengths.observe(tokens)
        self._untold[key] = self._untold.get(key, 0) + 1

    def quantile(self, key: K) -> int | None:
        """The likely length for a key; None when too little is known."""
        lengths = self._by_key.get(key)
        return lengths.quantile() if lengths else None

    def take_news(self) -> list[News[K]]:
        """What was seen since the last time, of keys of which enough is known. Told once."""
        news = [
            News(key, quantile, seen)
            for key, seen in self._untold.items()
            if (quantile := self.quantile(key)) is not None
        ]
        for each in news:
            del self._untold[each.key]
        return news

    def put_back(self, news: Iterable[News[K]]) -> None:
        """That news reached nobody: tell it again, unless it is forgotten meanwhile."""
        for each in news:
            if each.key in self._by_key:
                self._untold[each.key] = self._untold.get(each.key, 0) + each.seen

    def __len__(self) -> int:
        return len(self._by_key)
