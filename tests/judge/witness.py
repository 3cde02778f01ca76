"""The witness log: what the simulated WeCom saw, and what of it broke a limit."""

import bisect
import hashlib
import json
from collections import defaultdict

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
CREATE = "add_msg_template"


class Witness:
    def __init__(self, lines):
        self.lines = sorted(lines, key=lambda line: line["seq"])

    def executed(self, api=None):
        return [line for line in self.lines
                if line["verdict"] == "executed" and api in (None, line["api"])]

    def rejected(self, errcode):
        return [line for line in self.lines
                if line["verdict"] == "rejected" and line["errcode"] == errcode]

    def _by_caller(self):
        """(api, scope, corp or address) -> lines in order of arrival. Every line counts, whatever
        became of it: a server may count refusals, too."""
        callers = defaultdict(list)
        for line in self.lines:
            if line["api"] == "unknown":
                continue
            for scope in ("corp", "ip"):
                if line[scope]:
                    callers[line["api"], scope, line[scope]].append(line)
        for lines in callers.values():
            lines.sort(key=lambda line: line["t_raw_ns"])
        return callers

    def peaks(self, limits):
        """[(label, peak, amount)]: most calls that any window of each limit ever held."""
        found = {}
        for (api, scope, caller), lines in self._by_caller().items():
            for limit in limits.of(api, scope, caller):
                label = limit.label(api)
                peak = (most_in_period(lines, limit) if limit.calendar else
                        most_in_window([line["t_raw_ns"] for line in lines],
                                       limit.window_ms * NS_PER_MS,
                                       [limit.cost_of(line) for line in lines]))
                found[label] = max(found.get(label, (0, 0))[0], peak), limit.amount
        return [(label, peak, amount) for label, (peak, amount) in sorted(found.items())]

    def lockouts(self, limits):
        """[(api, caller, begin_ns, end_ns, calls inside)], one per lockout begun by a 45009.

        It lasts as long as the longest limit that was full then, or, if none was, as the shortest.
        """
        spans = []
        for (api, scope, caller), lines in self._by_caller().items():
            rows = limits.of(api, scope, caller)
            times = [line["t_raw_ns"] for line in lines]
            until = -1
            for line in lines:
                now = line["t_raw_ns"]
                if line["errcode"] != 45009 or now < until:
                    continue
                full = [row.lockout_of(line) for row in rows
                        if used_before(lines, times, line, row) + row.cost_of(line) > row.amount]
                if not full and scope == "ip":
                    continue  # the corp's limits explain it
                lockout_ms = max(full) if full else min(row.lockout_of(line) for row in rows)
                until = now + lockout_ms * NS_PER_MS
                spans.append((api, caller, now, until, count_between(times, now, until)))
        return spans


def read(path):
    with open(path, encoding="utf-8") as file:
        return Witness(json.loads(text) for text in file if text.strip())


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def most_in_window(times, window_ns, costs=None):
    """Most of the sorted `times`, or of what they cost, in any (t - window, t]."""
    costs = costs or [1] * len(times)
    most, first, inside = 0, 0, 0
    for last, time in enumerate(times):
        inside += costs[last]
        while times[first] <= time - window_ns:
            inside -= costs[first]
            first += 1
        most = max(most, inside)
    return most


def most_in_period(lines, limit):
    """Most that the lines take of a limit of days or months in any of these."""
    used = defaultdict(int)
    for line in lines:
        used[limit.period_of(line)] += limit.cost_of(line)
    return max(used.values(), default=0)


def used_before(lines, times, line, limit):
    """What the lines before this one have taken of the limit, as it stands at the line."""
    now = line["t_raw_ns"]
    if limit.calendar:
        return sum(limit.cost_of(other) for other in lines
                   if other["t_raw_ns"] < now and limit.period_of(other) == limit.period_of(line))
    if limit.cost == "calls":
        return count_between(times, now - limit.window_ms * NS_PER_MS, now)
    return sum(limit.cost_of(other) for other in lines
               if now - limit.window_ms * NS_PER_MS < other["t_raw_ns"] < now)


def count_between(times, after, before):
    """How many of the sorted `times` are in (after, before)."""
    return bisect.bisect_left(times, before) - bisect.bisect_right(times, after)


def percentile(values, share):
    """Nearest rank; 0 of nothing."""
    if not values:
        return 0
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 100)
    return ordered[max(0, int(rank) - 1)]


def makespan_seconds(creates):
    """From the first to the last arrival."""
    if not creates:
        return 0.0
    times = [line["t_raw_ns"] for line in creates]
    return (max(times) - min(times)) / NS_PER_S
