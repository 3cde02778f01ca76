"""Where the time of a welcome goes, from the timestamps in the journals and the witness log.

  intervals(journals.read, witness lines) -> {"name of the interval": [milliseconds, ...], ...}

On Kafka the broker says when a record was stored; the embedded log does not, so there the
intervals go from decision to decision. The times of broker and simulator are whole milliseconds, so
an interval near zero may come out negative.
"""

from collections import defaultdict

import paths  # noqa: F401  (the judge's folder)
from witness import percentile

NS_PER_MS = 1_000_000

# (name, from, to); a moment that is not known on this log leaves its interval out.
INTERVALS_KAFKA = (
    ("callback -> received", "made", "received"),
    ("received -> event stored", "received", "event_stored"),
    ("event stored -> tagging decided", "event_stored", "tagging_decided"),
    ("tagging decided -> profile stored", "tagging_decided", "profile_stored"),
    ("profile stored -> command stored", "profile_stored", "command_stored"),
    ("command stored -> attempt decided", "command_stored", "attempt_decided"),
    ("attempt decided -> attempt stored", "attempt_decided", "attempt_stored"),
    ("attempt stored -> call arrived", "attempt_stored", "arrived"),
)
INTERVALS_EMBEDDED = (
    ("callback -> received", "made", "received"),
    ("received -> tagging decided", "received", "tagging_decided"),
    ("tagging decided -> attempt decided", "tagging_decided", "attempt_decided"),
    ("attempt decided -> call arrived", "attempt_decided", "arrived"),
)


def moments(read, witness_lines):
    """customer -> {moment: Unix nanoseconds}. `read(topic, consume)` as of a journals' source."""
    found = defaultdict(dict)
    for line in witness_lines:
        at = found[line["recipients"][0]]
        at["arrived"] = line["t_wall"]
        at["made"] = line["t_wall"] - line["age_ms"] * NS_PER_MS
    commands = {}  # (partition, offset) -> customer

    def note(at, name, record):
        if record["timestamp_ms"] is not None:
            at[name] = record["timestamp_ms"] * NS_PER_MS

    def known(record):
        return found.get(record["key"].rpartition("/")[2])

    def event(_, record):
        at = known(record)
        if at is not None and record["value"].get("follow", {}).get("welcome_code"):
            at["received"] = int(record["value"]["received_time_ns"])
            note(at, "event_stored", record)

    def profile(_, record):
        at = known(record)
        if at is not None and any("welcome" in each
                                  for each in record["value"].get("commands", [])):
            at["tagging_decided"] = record.decided_ns
            note(at, "profile_stored", record)

    def command(partition, record):
        at = known(record)
        if at is not None and "welcome" in record["value"]:
            commands[partition, record["offset"]] = at
            note(at, "command_stored", record)

    def ledger(partition, record):
        attempt = record["value"].get("attempt")
        for position in (attempt or {}).get("target", {}).get("welcome", {}).get("positions", []):
            at = commands.get((partition, int(position)))
            if at is not None and "attempt_decided" not in at:
                at["attempt_decided"] = int(attempt["stamp"]["wall_ns"])
                note(at, "attempt_stored", record)

    for topic, consume in (("events", event), ("profiles", profile), ("commands", command),
                           ("ledger", ledger)):
        read(topic, consume)
    return found


def intervals(read, witness_lines):
    all_moments = moments(read, witness_lines)
    stored = any("event_stored" in at for at in all_moments.values())
    return {name: [(at[end] - at[begin]) / NS_PER_MS for at in all_moments.values()
                   if begin in at and end in at]
            for name, begin, end in (INTERVALS_KAFKA if stored else INTERVALS_EMBEDDED)}


def figures(read, witness_lines):
    """[{"stage", "p50_ms", "p99_ms", "max_ms"}]."""
    return [{"stage": name, "p50_ms": round(percentile(values, 50), 2),
             "p99_ms": round(percentile(values, 99), 2), "max_ms": round(max(values), 2)}
            for name, values in intervals(read, witness_lines).items() if values]
