"""The limits file: rows per api and scope, with WeCom's documented values where it says nothing."""

import json
from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DOCUMENTED = [
    {"api": "*", "scope": "corp", "amount": 10_000, "window_ms": MINUTE_MS},
    {"api": "*", "scope": "corp", "amount": 150_000, "window_ms": HOUR_MS},
    {"api": "*", "scope": "ip", "amount": 20_000, "window_ms": MINUTE_MS},
    {"api": "*", "scope": "ip", "amount": 600_000, "window_ms": HOUR_MS},
]


@dataclass(frozen=True)
class Limit:
    scope: str  # "corp" or "ip"
    amount: int
    window_ms: int
    lockout_ms: int

    def label(self, api):
        return f"{api} {self.scope} {self.amount}/{self.window_ms}ms"


class Limits:
    def __init__(self, rows):
        self._rows = list(rows)
        for scope in ("corp", "ip"):
            if not any(row["api"] == "*" and row["scope"] == scope for row in self._rows):
                self._rows += [row for row in DOCUMENTED if row["scope"] == scope]

    def of(self, api, scope):
        """The rows of this api; the "*" rows if it has none of its own."""
        scoped = [row for row in self._rows if row["scope"] == scope]
        rows = [row for row in scoped if row["api"] == api]
        rows = rows or [row for row in scoped if row["api"] == "*"]
        return [Limit(scope, row["amount"], row["window_ms"],
                      row.get("lockout_ms", row["window_ms"])) for row in rows]


def read(path):
    with open(path, encoding="utf-8") as file:
        return Limits(json.load(file).get("limits", []))


def optimum_seconds(calls, limits, in_flight, median_latency_ms):
    """When the last of `calls` may leave at the earliest: t_k = max over limits (t_{k-L} + W).

    Or calls * latency / in flight, if that is longer.
    """
    times = []
    for k in range(calls):
        earliest = [times[k - limit.amount] + limit.window_ms
                    for limit in limits if k >= limit.amount]
        times.append(max(earliest, default=0))
    by_limits = times[-1] if times else 0
    by_latency = calls * median_latency_ms / in_flight if in_flight else 0
    return max(by_limits, by_latency) / 1000


def in_flight_of(path, api):
    """0 if the file does not bound it."""
    with open(path, encoding="utf-8") as file:
        for row in json.load(file).get("in_flight", []):
            if row["api"] == api:
                return row["amount"]
    return 0
