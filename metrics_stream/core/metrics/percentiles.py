"""Names of percentiles, as load tools and their users write them, and the rule by which a percentile is taken.

| written | by |
|---|---|
| `p(95)`, `p(99.9)`, `med` | k6 |
| `p50`, `p999`, `median` | Artillery; `p97_5`, `p99_99` autocannon |
| `95%`, `99.9%`, `response_time_percentile_0.95` | Locust |
| `pct1ResTime`, `pct95.0`, `90% Line` | JMeter |
| `percentiles1` … `percentiles4`, `95th percentile` | Gatling |
| `95%`, `99.000%` | hey, wrk, ab; `95th` vegeta |
| `p95_response_time_ms`, `response_time.p95`, `perc95`, `latencyP99`, `tp99` | everybody else |

Which percentile `pct1` or `percentiles1` is, depends on the settings of the tool, so its share is unknown.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

# A name begins at the start, behind a separator, or where camelCase begins a word; it ends where no word goes on.
_BEGIN = r"(?:^|(?<=[^0-9A-Za-z])|(?<=[a-z0-9])(?=[A-Z]))"
_END = r"(?![0-9a-z])"
_NUMBER = r"(?:\d{1,3}\.\d{1,5}|\d{2,6})"
_WORD = r"(?i:percentiles?|perc|pctile|pctl|pct|centile|quantile)"

# The first rule that fits. A named group says how its digits are meant.
_RULES = re.compile(
    "|".join(
        [
            rf"{_BEGIN}(?i:p)\(\s*(?P<call>\d+(?:\.\d+)?)\s*\)",
            # autocannon writes the decimal point as `_`, and nothing behind it.
            rf"{_BEGIN}(?i:p)(?P<autocannon>\d{{1,3}}_\d{{1,5}})$",
            r"(?:^|(?<=\.))p(?P<digit>\d)$",
            rf"{_BEGIN}(?i:t?p)[_-]?(?P<short>{_NUMBER})(?:(?i:th)|{_END})",
            rf"{_BEGIN}{_WORD}[_\-. ]?(?P<word>0?\.\d{{1,5}}|{_NUMBER}){_END}",
            rf"{_BEGIN}{_WORD}(?P<index>\d){_END}",
            rf"{_BEGIN}(?P<ordinal>{_NUMBER})(?i:th)(?:[_\- ]?{_WORD})?{_END}",
            rf"{_BEGIN}(?P<before>{_NUMBER})[_\- ]?(?i:percentile|perc|pctile|pctl|centile){_END}",
            rf"{_BEGIN}(?P<joined>\d\d)(?i:pct|p){_END}",
            rf"{_BEGIN}(?P<percent>{_NUMBER})[_ ]?%(?:(?i:ile)|[_ ](?i:line))?{_END}",
            rf"{_BEGIN}(?P<median>(?i:median)){_END}",
            r"(?:^|(?<=[^0-9A-Za-z]))(?P<med>(?i:med))$",
            r"(?:^|(?<=\.))(?P<fraction>0\.\d{1,5})$",
        ]
    )
)

# The last word of a path can belong to a percentile (Gatling's `percentiles3.total`), or count what it was taken of.
_COUNTS = frozenset({"count", "samples"})


class Percentile(NamedTuple):
    """What the name of a field says about its percentile.

    `share` is that of the values which are below it, 0 to 1, or None if the name does not tell. `base` is the rest of
    the name: the sketch of this name has the values.
    """

    share: float | None
    base: str


@lru_cache(maxsize=10_000)
def percentile_in(path: str) -> Percentile | None:
    """Return what the name or dotted path of a field says about a percentile; None if the field is none."""
    match = _RULES.search(path)
    if match is None:
        return None
    before, after = path[: match.start()], path[match.end() :]
    if "." in after and (after[0] != "." or "." in after[1:] or after[1:] in _COUNTS):
        return None  # a percentile of the object above is no percentile of every field in it
    kind = match.lastgroup or ""
    base = before.rstrip("_-. ") if not after else before + after.lstrip("_-. ")
    return Percentile(_share(kind, match[kind]), base)


def _share(kind: str, digits: str) -> float | None:
    if kind == "index":
        return None
    if kind in {"median", "med"}:
        return 0.5
    if kind == "fraction" or (kind == "word" and digits.startswith(("0.", "."))):
        return float(digits)
    digits = digits.replace("_", ".")
    return _of_percent(digits) if kind in {"call", "digit"} or "." in digits else share_of(digits)


def _of_percent(digits: str) -> float:
    # Through Decimal, so that 99.9 is the float 0.999, with which Locust and k6 compute, too.
    return min(1.0, float(Decimal(digits) / 100))


def share_of(digits: str) -> float:
    """Return the share for the digits in a percentile's name: 95 → 0.95, 999 → 0.999."""
    return int(digits) / 100 if len(digits) < 3 or digits == "100" else float(f"0.{digits}")


def rank_of(share: float, count: int) -> int:
    """Return the index of a percentile among so many sorted values, from 0: `floor(share * count)`, as Locust does.

    k6 interpolates between two neighbours, of which this value is one.
    """
    return min(count - 1, int(share * count))
