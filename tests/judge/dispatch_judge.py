#!/usr/bin/env python3
"""Judges a run of many campaigns under kills from outside: duplicates, losses, calls above a limit.

Reads the witness log, the client's log, the exported journals, the limits file and the purchases that
were imported (customer,order_id,...); shares no code with the product. I-1, I-2, I-3, I-6 and I-9 are
those of checks.py, for each campaign; refusals that the simulator was asked for (field `fault`) are
no calls above a limit. Beside them:
  I-7   attempts of a call are 1, 2, 3, ...; another one follows only what was found not executed
  I-9b  after a create refused with 45009 one more is tried inside the lockout at most
  I-10  tokens are fetched once per start of a process and per token that WeCom refused
  I-15  every attempt has its end
  drain SIGTERM leaves no attempt without its outcome
Exit codes: 0 all hold, 1 one is violated, 2 an input is missing or broken.

Example:
  tests/judge/dispatch_judge.py --run OUT --orders-min 2 --starts 11
"""

import argparse
import bisect
import csv
import json
import os
import sys
from collections import Counter, defaultdict

import checks
import journals
import limits as limits_file
import witness as witness_file
from witness import CREATE

SHOWN = 20
TOKEN_REFUSED = (40014, 42001)
EXECUTED = "executed, answer lost"
NEVER_ARRIVED = "never arrived"


def audience(path, orders_min):
    with open(path, encoding="utf-8", newline="") as file:
        orders = Counter(row["customer"] for row in csv.DictReader(file))
    return {customer for customer, count in orders.items() if count >= orders_min}


def real(witness, errcode):
    """Refusals that nobody had asked for."""
    return [line for line in witness.rejected(errcode) if not line["fault"]]


def within_limits(witness, limits):
    """I-9 without the refusals that were asked for: they close nothing at WeCom."""
    violations = [f"{label}: {peak} calls in one window"
                  for label, peak, amount in witness.peaks(limits) if peak > amount]
    return violations + [f"{line['api']} refused with {line['errcode']} (witness seq {line['seq']})"
                         for errcode in (45009, 45033) for line in real(witness, errcode)]


def along_the_edges(ledger):
    """I-7."""
    violations = []
    for attempts in ledger.by_call().values():
        numbers = [attempt.number for attempt in attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            violations.append(f"call {attempts[0].call_id[:16]} has the attempts {numbers}")
        violations += [f"{checks.name_of(attempt)} was followed by another one and is not known as "
                       "not executed" for attempt in attempts[:-1]
                       if "NOT_EXECUTED" not in (attempt.outcome, attempt.settled)]
    return violations


def keeps_lockouts(ledger, limits):
    """I-9b: by the ledger, since only an answer that was recorded can be kept."""
    lockout_ns = min(limit.lockout_ms for limit in limits.of(CREATE, "corp")) * 1_000_000
    violations = []
    for completed, later in ledger.refusals:
        inside = bisect.bisect_left(later, completed + lockout_ns)
        if inside > 1:
            violations.append(f"{inside} creates were tried inside the lockout from {completed} on")
    return violations


def few_tokens(witness, starts):
    """I-10."""
    fetched = sum(line["api"] == "gettoken" for line in witness.lines)
    refused = sum(line["verdict"] == "rejected" and line["errcode"] in TOKEN_REFUSED
                  for line in witness.lines)
    return [f"{fetched} tokens fetched in {starts} starts with {refused} tokens refused"
            ] if fetched > starts + refused else []


def all_have_an_end(ledger):
    """I-15."""
    return [f"{checks.name_of(attempt)} has no end" for attempt in ledger.attempts.values()
            if not (attempt.outcome and attempt.outcome != "DOUBT" or attempt.settled)]


def drained(ledger, terms_ns):
    """Of each SIGTERM: the next fence finds no attempt open."""
    fences = sorted(ledger.fences, key=lambda fence: fence[0])
    violations = []
    for term_ns in terms_ns:
        following = [fence for fence in fences if fence[0] > term_ns][:1]
        violations += [f"{checks.name_of(attempt)} was left open by SIGTERM"
                       for _, still_open in following for attempt in still_open]
    return violations


def became_of(line):
    refused = f"refused with {line['errcode']}" if line["verdict"] == "rejected" else EXECUTED
    return line["fault"] or refused


def doubts_by_cause(ledger, witness):
    """{what became of the call at WeCom: {opened, accepted, not_executed, parked}}."""
    arrivals = defaultdict(list)
    for line in witness.lines:
        if line["api"] == CREATE:
            arrivals[checks.body_of(line)].append(line)
    causes = defaultdict(Counter)
    for attempts in ledger.by_call().values():
        for attempt, following in zip(attempts, attempts[1:] + [None]):
            if not attempt.doubted:
                continue
            until = following.raw_ns if following else float("inf")
            lines = [line for line in arrivals[attempt.body]
                     if attempt.raw_ns <= line["t_raw_ns"] < until]
            cause = became_of(lines[0]) if lines else NEVER_ARRIVED
            causes[cause]["opened"] += 1
            causes[cause][attempt.settled.lower() or "open"] += 1
    return {cause: dict(counts) for cause, counts in sorted(causes.items())}


def faults_fired(witness):
    """{api: {fault: calls}}."""
    fired = defaultdict(Counter)
    for line in witness.lines:
        if line["fault"]:
            fired[line["api"]][line["fault"]] += 1
    return {api: dict(kinds) for api, kinds in sorted(fired.items())}


def judge(folder, orders_min, starts=0, terms_ns=(), told=None):
    """The verdict as a dictionary. `folder`: what the run has written; `starts`: of the process that
    calls WeCom (0: I-10 is not judged); `terms_ns`: Unix times at which it got SIGTERM; `told`: how
    many customers with a welcome code WeCom has told of and got a 200 (None: as many as the events
    say)."""
    def path(name):
        return os.path.join(folder, name)

    witness = witness_file.read(path("witness.jsonl"))
    with open(path("client.jsonl"), encoding="utf-8") as file:
        client_log = [json.loads(text) for text in file if text.strip()]
    ledger, events = journals.read_ledger(path("journals")), journals.read_events(path("journals"))
    limits = limits_file.read(path("limits.json"))
    customers = audience(path("purchases.csv"), orders_min)
    found = defaultdict(list)
    duplicates = lost = 0
    for campaign in sorted(ledger.plans):
        case = checks.Case(witness, client_log, ledger, events, limits, campaign, customers)
        duplicates += len(case.duplicates())
        lost += len(case.lost())
        for name in ("I-1", "I-2", "I-3", "I-6"):
            found[name] += [f"{campaign}: {text}" for text in checks.INVARIANTS[name](case)]
    found["I-1"] = sorted({text.partition(": ")[2] for text in found["I-1"]})  # of all calls
    found["I-7"] = along_the_edges(ledger)
    found["I-9"] = within_limits(witness, limits)
    found["I-9b"] = keeps_lockouts(ledger, limits)
    found["I-10"] = few_tokens(witness, starts) if starts else []
    found["I-15"] = all_have_an_end(ledger)
    found["drain"] = drained(ledger, terms_ns)
    welcomed = Counter(line["recipients"][0] for line in witness.executed("send_welcome_msg"))
    states = journals.read_welcome_states(path("journals"))
    requested = max(sum(state in states for state in events.welcome_codes.values()), told or 0)
    parked = ledger.doubts()["parked"]
    return {
        "valid": not any(found.values()),
        "checks": {name: {"ok": not texts, "count": len(texts), "violations": texts[:SHOWN]}
                   for name, texts in found.items()},
        "campaigns": len(ledger.plans),
        "touches": len(customers) * len(ledger.plans),
        "calls": len(witness.lines),
        "creates_executed": len(witness.executed(CREATE)),
        "duplicates": duplicates + sum(count > 1 for count in welcomed.values()),
        "lost": lost + max(0, requested - len(welcomed)),
        "above_limits": sum(max(0, peak - amount) for _, peak, amount in witness.peaks(limits))
                        + len(real(witness, 45009)) + len(real(witness, 45033)),
        "welcomes": {"requested": requested, "sent": len(welcomed)},
        "doubts": {**ledger.doubts(), "by_cause": doubts_by_cause(ledger, witness)},
        "parked": parked,
        "faults": faults_fired(witness),
        "witness_sha256": witness_file.sha256_of(path("witness.jsonl")),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="folder of the run: witness.jsonl, "
                        "client.jsonl, limits.json, purchases.csv, journals")
    parser.add_argument("--orders-min", type=int, default=2,
                        help="the audience: customers with at least so many orders (default 2)")
    parser.add_argument("--starts", type=int, default=0,
                        help="of the process that calls WeCom, for I-10 (default: not judged)")
    options = parser.parse_args(arguments)
    try:
        verdict = judge(options.run, options.orders_min, options.starts)
    except (OSError, ValueError, KeyError, IndexError, StopIteration) as error:
        print(f"judge: cannot read the inputs: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(verdict, indent=1))
    return 0 if verdict["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
