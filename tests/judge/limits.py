"""The limits file: rows per api and scope, with WeCom's documented values where it says nothing."""

import datetime
import json
from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
MONTH_BLOCK_MS = 30 * 24 * HOUR_MS  # as WeCom says, whatever the month
CHINA = datetime.timezone(datetime.timedelta(hours=8))
DOCUMENTED = [
    {"api": "*", "scope": "corp", "amount": 10_000, "window_ms": MINUTE_MS},
    {"api": "*", "scope": "corp", "amount": 150_000, "window_ms": HOUR_MS},
    {"api": "*", "scope": "ip", "amount": 20_000, "window_ms": MINUTE_MS},
    {"api": "*", "scope": "ip", "amount": 600_000, "window_ms": HOUR_MS},
    # Messages of apps count people, and not towards the others: 200 for each of 1,000 accounts.
    {"api": "message_send", "scope": "corp", "amount": 200_000, "calendar": "day",
     "cost": "person_times"},
    {"api": "message_send", "scope": "ip", "amount": 1_000_000_000, "calendar": "day",
     "cost": "person_times"},
]


@dataclass(frozen=True)
class Limit:
    scope: str  # "corp" or "ip"
    amount: int
    window_ms: int  # 0 with a calendar
    lockout_ms: int  # with a calendar: 0 = until the day or month ends
    cost: str = "calls"
    calendar: str = ""

    def label(self, api):
        what = "" if self.cost == "calls" else f" {self.cost}"
        window = self.calendar or f"{self.window_ms}ms"
        return f"{api} {self.scope} {self.amount}{what}/{window}"

    def cost_of(self, line):
        """What a line of the witness log takes of it."""
        return 1 if self.cost == "calls" else len(line["recipients"])

    def period_of(self, line):
        """Of a calendar: the day or month of the line, as China counts them."""
        at = datetime.datetime.fromtimestamp(line["t_wall"] // 1_000_000_000, CHINA)
        return (at.year, at.month, at.day if self.calendar == "day" else 0)

    def lockout_of(self, line):
        """Milliseconds from the line on."""
        if self.lockout_ms or self.calendar != "day":
            return self.lockout_ms
        at = datetime.datetime.fromtimestamp(line["t_wall"] // 1_000_000_000, CHINA)
        midnight = at.replace(hour=0, minute=0, second=0) + datetime.timedelta(days=1)
        return int((midnight - at).total_seconds() * 1000)


class Limits:
    def __init__(self, rows, corps=None):
        """corps: the file's part of that name."""
        self._rows = list(rows)
        self._corps = corps or {}
        named = {(row["api"], row["scope"]) for row in self._rows}
        self._rows += [row for row in DOCUMENTED if (row["api"], row["scope"]) not in named]

    def of(self, api, scope, corp=""):
        """The rows of this api; the "*" rows if it has none of its own. What a corp has of its own
        stands in place of the rows of that name."""
        own = self._corps.get(corp, {}).get("limits", []) if scope == "corp" else []
        for name in (api, "*"):
            rows = [row for row in own if row["api"] == name]
            rows = rows or [row for row in self._rows
                            if row["scope"] == scope and row["api"] == name]
            if rows:
                return [_limit(scope, row) for row in rows]
        return []


def _limit(scope, row):
    window_ms = row.get("window_ms", 0)
    calendar = row.get("calendar", "")
    lockout_ms = MONTH_BLOCK_MS if calendar == "month" else window_ms
    return Limit(scope, row["amount"], window_ms, row.get("lockout_ms", lockout_ms),
                 row.get("cost", "calls"), calendar)


def read(path):
    with open(path, encoding="utf-8") as file:
        parsed = json.load(file)
    return Limits(parsed.get("limits", []), parsed.get("corps"))


def optimum_seconds(calls, limits, in_flight, median_latency_ms):
    """When the last of `calls` may leave at the earliest: t_k = max over limits (t_{k-L} + W).

    Or calls * latency / in flight, if that is longer. Days and people are left out.
    """
    limits = [limit for limit in limits if limit.cost == "calls" and not limit.calendar]
    times = []
    for k in range(calls):
        earliest = [times[k - limit.amount] + limit.window_ms
                    for limit in limits if k >= limit.amount]
        times.append(max(earliest, default=0))
    by_limits = times[-1] if times else 0
    by_latency = calls * median_latency_ms / in_flight if in_flight else 0
    return max(by_limits, by_latency) / 1000


def in_flight_of(path, api):
    """Of all corps; that of "*" if it has none of its own; 0 if the file does not bound it."""
    with open(path, encoding="utf-8") as file:
        amounts = {row["api"]: row["amount"] for row in json.load(file).get("in_flight", [])}
    return amounts.get(api, amounts.get("*", 0))
