"""Rates of requests as an operator writes them: "600/minute", "10/second", "5000 per 2 hours"."""

from __future__ import annotations

from limits import RateLimitItem, parse_many

NO_LIMIT = "none"


class RateError(ValueError):
    """A text that is no rate."""


def parse_rate(text: str) -> RateLimitItem:
    """Read a rate; raises RateError."""
    try:
        (rate,) = parse_many(text)  # one, not several
    except ValueError:
        raise RateError(f"{text!r} is no rate; write it like '600/minute', '10/second' or '5000 per 2 hours'") from None
    if rate.amount < 1:
        raise RateError(f"{text!r} lets nothing pass; the least is '1/day'")
    return rate
