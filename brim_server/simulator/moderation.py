"""Moderation: what a text is flagged for, the same for the same text.

A category is flagged where the text holds its name in any case, `violence` or `self-harm/intent`, so that whoever tests
decides the verdict. Scores are near 1 there and below 0.01 elsewhere.
"""

from hashlib import shake_128
from typing import Any, Final

from brim_server.simulator.bodies import Moderation, moderated_texts_of
from brim_server.simulator.dialect import encode

CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_APPLIED: Final = {name: ["text"] for name in CATEGORIES}


def moderation(body: Moderation, seed: bytes) -> bytes:
    """The 200 body: one result per text, or one for all parts of an input of parts."""
    results = [_result(text) for text in moderated_texts_of(body.input)]
    return encode({"id": f"modr-{seed.hex()}", "model": body.model, "results": results})


def _result(text: str) -> dict[str, Any]:
    lowered = text.lower()
    categories = {name: name in lowered for name in CATEGORIES}
    drawn = shake_128(text.encode()).digest(len(CATEGORIES))
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": {
            name: round((0.99 if is_flagged else 0.0) + byte / 25_600, 6)
            for byte, (name, is_flagged) in zip(drawn, categories.items(), strict=True)
        },
        "category_applied_input_types": _APPLIED,
    }
