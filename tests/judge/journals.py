"""The exported topics: only records that count, by the one validity rule of journals.

One file per topic partition, tidegate.<topic>-<partition>.jsonl, each line
{"offset", "key", "header", "value"}; header and value are messages of tidegate.log.v1 as proto
JSON, which may leave out fields with their default value.
"""

import base64
import glob
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field

CREATE = "add_msg_template"
TOUCH_KINDS = ("touch_sent", "touch_failed", "touch_unconfirmed", "touch_skipped")


def number(message, name):
    """An integer field: proto JSON writes 64-bit ones as strings and leaves out zeros."""
    return int(message.get(name) or 0)


def is_fence(record):
    return record["header"].get("kind") in ("RECORD_KIND_FENCE", 1)


def counted(records):
    """The records of a journal that count, and the fences that began an epoch.

    A record counts if its epoch is that of the newest fence before it and its seq is the last
    counted one + 1. The first fence of an epoch wins.
    """
    epoch = seq = 0
    for record in records:
        header = record["header"]
        if is_fence(record):
            if number(header, "epoch") > epoch:
                epoch = number(header, "epoch")
                yield record
        elif number(header, "epoch") == epoch and number(header, "seq") == seq + 1:
            seq += 1
            yield record


def taken(records):
    """The records of an outbox's target that a reader takes: the next out_seq of each source."""
    last = defaultdict(int)
    for record in records:
        source = record["header"].get("source")
        if source:
            if number(source, "out_seq") != last[source["journal"]] + 1:
                continue
            last[source["journal"]] += 1
        yield record


def read_topic(folder, topic):
    """One list of records per partition, in order of offset."""
    partitions = []
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), f"tidegate.{topic}-*.jsonl"))):
        with open(path, encoding="utf-8") as file:
            records = [json.loads(text) for text in file if text.strip()]
        records.sort(key=lambda record: int(record["offset"]))
        for record in records:
            record["header"] = record.get("header") or {}
            record["value"] = record.get("value") or {}
        partitions.append(records)
    return partitions


@dataclass
class Attempt:
    """One attempt of a mass send create."""
    call_id: str
    number: int
    campaign: str
    sha256: str
    marker: str
    raw_ns: int
    outcome: str = ""     # class of the answer; empty if none was recorded
    errcode: int = 0
    settled: str = ""     # how a doubt ended; empty if there was none or it is open
    msgid: str = ""
    doubted: bool = False

    @property
    def body(self):
        return self.sha256, self.marker

    @property
    def accepted(self):
        return self.outcome == "ACCEPTED" or self.settled == "ACCEPTED"

    @property
    def never_executed(self):
        return self.outcome in ("REFUSED", "NOT_EXECUTED") or self.settled == "NOT_EXECUTED"


@dataclass
class Ledger:
    attempts: dict = field(default_factory=dict)  # (call id, number) -> Attempt
    plans: dict = field(default_factory=dict)     # campaign -> {audience, calls, skipped}
    results: dict = field(default_factory=dict)   # (campaign, batch) -> final statuses of touches
    fences: list = field(default_factory=list)    # (Unix ns, attempts open at it) in order
    # Per create answered 45009: (completed, raw stamps of later attempts).
    refusals: list = field(default_factory=list)

    def by_call(self):
        calls = defaultdict(list)
        for attempt in self.attempts.values():
            calls[attempt.call_id].append(attempt)
        for attempts in calls.values():
            attempts.sort(key=lambda attempt: attempt.number)
        return calls

    def doubts(self):
        attempts = self.attempts.values()
        return {
            "opened": sum(a.doubted for a in attempts),
            "accepted": sum(a.settled == "ACCEPTED" for a in attempts),
            "not_executed": sum(a.settled == "NOT_EXECUTED" for a in attempts),
            "parked": sum(a.settled == "PARKED" for a in attempts),
        }


def _last_word(value, prefix, names):
    """An enum as proto JSON may write it, by name or by number, without its prefix."""
    if isinstance(value, int):
        return names[value]
    return (value or "").removeprefix(prefix)


def _outcome_class(value):
    return _last_word(value, "OUTCOME_CLASS_",
                      ("", "ACCEPTED", "REFUSED", "NOT_EXECUTED", "DOUBT"))


def _settlement(value):
    return _last_word(value, "SETTLEMENT_", ("", "ACCEPTED", "NOT_EXECUTED", "PARKED"))


def read_ledger(folder):
    ledger = Ledger()
    for records in read_topic(folder, "ledger"):
        _fold_ledger(ledger, counted(records))
    return ledger


def _fold_ledger(ledger, records):
    attempts = {}  # of this lane
    for record in records:
        value = record["value"]
        if is_fence(record):
            # What the former owner left without an outcome may or may not have happened.
            still_open = [attempt for attempt in attempts.values()
                          if not attempt.outcome and not attempt.settled]
            ledger.fences.append((number(record["header"].get("fence", {}), "wall_time_ns"),
                                  [attempt for attempt in still_open if not attempt.doubted]))
            for attempt in still_open:
                attempt.doubted = True
        elif "attempt" in value:
            body = value["attempt"]
            target = body.get("target", {}).get("campaign_call")
            if body.get("api") == CREATE and target:
                attempt = Attempt(
                    call_id=body["call_id"], number=number(body, "attempt"),
                    campaign=target["campaign"], marker=body.get("marker", ""),
                    sha256=base64.b64decode(body.get("request_sha256", "")).hex(),
                    raw_ns=number(body.get("stamp", {}), "raw_ns"))
                attempts[attempt.call_id, attempt.number] = attempt
                for _, later in ledger.refusals:
                    later.append(attempt.raw_ns)
        elif "outcome" in value:
            body = value["outcome"]
            attempt = attempts.get((body["call_id"], number(body, "attempt")))
            if attempt:
                attempt.outcome = _outcome_class(body.get("outcome_class"))
                attempt.errcode = number(body, "errcode")
                attempt.msgid = body.get("msgid", "")
                attempt.doubted |= attempt.outcome == "DOUBT"
                if attempt.errcode == 45009:
                    ledger.refusals.append((number(body.get("completed", {}), "raw_ns"), []))
        elif "settled" in value:
            body = value["settled"]
            attempt = attempts.get((body["call_id"], number(body, "attempt")))
            if attempt:
                attempt.doubted = True
                attempt.settled = _settlement(body.get("settlement"))
                attempt.msgid = body.get("msgid", "") or attempt.msgid
        elif "planned" in value:
            body = value["planned"]
            ledger.plans[body["campaign"]] = {
                "audience": number(body, "audience"), "calls": number(body, "calls"),
                "skipped": number(body, "skipped_no_sender") + number(body, "skipped_over_quota")}
        elif "result" in value and value["result"].get("final"):
            body = value["result"]
            call = body["call"]
            ledger.results[call["campaign"], number(call, "batch")] = list(
                base64.b64decode(body.get("statuses", "")))
    ledger.attempts.update(attempts)


@dataclass
class Events:
    # campaign -> customer -> [(kind, reason)]
    touches: dict = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    welcome_codes: dict = field(default_factory=dict)  # code -> state


def read_events(folder):
    events = Events()
    seen = set()
    for records in read_topic(folder, "events"):
        for record in records:
            value = record["value"]
            event = (value.get("corp"), value.get("source"), value.get("event_id"))
            if event in seen:
                continue
            seen.add(event)
            if value.get("kind") in TOUCH_KINDS:
                touch = value.get("touch", {})
                events.touches[touch.get("campaign")][value.get("customer")].append(
                    (value["kind"], touch.get("reason", "")))
            elif value.get("follow", {}).get("welcome_code"):
                follow = value["follow"]
                events.welcome_codes[follow["welcome_code"]] = follow.get("state", "")
    return events


def read_tag_wishes(folder):
    """(member, customer) -> tags that should be on at the end."""
    wishes = defaultdict(list)
    for records in read_topic(folder, "commands"):
        for record in taken(records):
            value = record["value"]
            if "mark_tag" in value:
                wishes[value["member"], value["customer"]].append(
                    (number(value, "profile_version"), value["mark_tag"]))
    wanted = {}
    for pair, changes in wishes.items():
        tags = set()
        for _, change in sorted(changes, key=lambda each: each[0]):
            tags |= set(change.get("add", []))
            tags -= set(change.get("remove", []))
        wanted[pair] = tags
    return wanted


def read_welcome_states(folder):
    """Channel states whose customers get a welcome, from the accepted definitions."""
    channels, revisions, requests = {}, defaultdict(int), set()
    for records in read_topic(folder, "definitions"):
        for record in records:
            proposal = record["value"]
            corp = proposal.get("corp")
            request = corp, proposal.get("caller"), proposal.get("request_id")
            if request in requests or number(proposal, "expected_revision") != revisions[corp]:
                continue
            revisions[corp] += 1
            if proposal.get("request_id"):
                requests.add(request)
            for definition in proposal.get("definitions", []):
                if "channel" in definition:
                    channels[corp, definition["id"]] = definition["channel"]
    return {channel["state"] for channel in channels.values() if channel.get("welcome_text")}
