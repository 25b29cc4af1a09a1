"""What a caller who named something unknown probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

_MOST_CHARACTERS = 64
_MOST_KNOWN = 300
_FEW = 5


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence to follow another: " Did you mean gpt-4o-mini?", or where no known name is like it and they are few,
    " There is: gpt-4o, o3."; else nothing.

    Looks at the first 300 names and the first 64 characters, so that it costs milliseconds whatever is written.
    """
    some = list(islice(known, _MOST_KNOWN))
    near = nearest(name, some)
    if near is not None:
        return f" Did you mean {near}?"
    return f" There is: {', '.join(sorted(some))}." if 0 < len(some) <= _FEW else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, whatever its case; None when none is."""
    by_lower = {each.lower(): each for each in islice(known, _MOST_KNOWN) if len(each) <= _MOST_CHARACTERS}
    found = difflib.get_close_matches(name[:_MOST_CHARACTERS].lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None
