"""What a caller who named something unknown probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

_MOST_CHARACTERS = 64
_MOST_KNOWN = 300


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to follow a sentence, such as " Did you mean gpt-4o-mini?"; nothing when no known name is like it.

    Looks at the first 300 names and the first 64 characters, so that it costs milliseconds whatever is written.
    """
    near = nearest(name, known)
    return "" if near is None else f" Did you mean {near}?"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, whatever its case; None when none is."""
    by_lower = {each.lower(): each for each in islice(known, _MOST_KNOWN) if len(each) <= _MOST_CHARACTERS}
    found = difflib.get_close_matches(name[:_MOST_CHARACTERS].lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None
