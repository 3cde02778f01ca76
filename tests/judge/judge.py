#!/usr/bin/env python3
"""Judges one run from outside: what the witness saw against what was asked and what was recorded.

Reads the witness log, the client's log, the exported journals, the limits file and the raw
purchases; shares no code with the product. Prints all figures and whether the invariants I-1, I-2,
I-3, I-6 and I-9 hold.
Exit codes: 0 all hold, 1 one is violated, 2 an input is missing or broken.

Example:
  tests/judge/judge.py --witness OUT/witness.jsonl --client-log OUT/client.jsonl \\
      --journals OUT/journals --limits OUT/limits.json --purchases OUT/purchases.txt \\
      --campaign spring --json
"""

import argparse
import json
import sys
from collections import Counter

import checks
import journals
import limits as limits_file
import purchases as purchases_file
import witness as witness_file

VIOLATIONS_SHOWN = 20
WELCOME_MS = 20_000
CREATE = witness_file.CREATE


def witness_figures(case, path):
    witness = case.witness
    lockouts = witness.lockouts(case.limits)
    return {
        "calls": len(witness.lines),
        "executed": len(witness.executed()),
        "creates_executed": len(case.creates),
        "rejected_45009": len(witness.rejected(45009)),
        "rejected_45033": len(witness.rejected(45033)),
        "lockout_seconds": sum(end - begin for _, _, begin, end, _ in lockouts)
                           / witness_file.NS_PER_S,
        "peak": {label: peak for label, peak, _ in witness.peaks(case.limits)},
        "duplicate_touches": len(case.duplicates()),
        "lost_touches": len(case.lost()),
        "sha256": witness_file.sha256_of(path),
    }


def campaign_figures(case, in_flight, median_latency_ms):
    ends = Counter(kind for told in case.events.touches.get(case.campaign, {}).values()
                   for kind, _ in told)
    plan = case.ledger.plans.get(case.campaign, {"audience": 0, "calls": 0, "skipped": 0})
    fail_list = sum(len(line["fail_list"]) for line in case.creates)
    rows = case.limits.of(CREATE, "corp") + case.limits.of(CREATE, "ip")
    return {
        "audience": len(case.audience),
        "calls": plan["calls"],
        "touches_planned": plan["audience"] - plan["skipped"],
        "touches_accepted": sum(len(line["recipients"]) for line in case.creates) - fail_list,
        "touches_sent": ends["touch_sent"],
        "touches_failed": ends["touch_failed"],
        "touches_unconfirmed": ends["touch_unconfirmed"],
        "touches_skipped": ends["touch_skipped"],
        "touches_parked": len(case.parked()),
        "makespan_seconds": witness_file.makespan_seconds(case.creates),
        "optimum_seconds": limits_file.optimum_seconds(len(case.creates), rows, in_flight,
                                                       median_latency_ms),
    }


def welcome_figures(witness, events, states):
    requested = sum(state in states for state in events.welcome_codes.values())
    executed = witness.executed("send_welcome_msg")
    ages = [line["age_ms"] for line in executed]
    sent = {line["sha256"] for line in executed}
    expired = {line["sha256"] for line in witness.rejected(41050)} - sent
    return {
        "requested": requested,
        "sent": len(executed),
        "late": sum(age > WELCOME_MS for age in ages) + len(expired),
        "p99_ms": witness_file.percentile(ages, 99),
    }


def tag_figures(witness, wanted):
    """Tags per (member, customer, tag) that should be on, and of them those that are."""
    on = {}
    for line in witness.executed("mark_tag"):
        tags = on.setdefault((line["sender"], line["recipients"][0]), set())
        tags |= set(line.get("add", []))
        tags -= set(line.get("remove", []))
    return {
        "wanted": sum(len(tags) for tags in wanted.values()),
        "written": sum(len(tags & on.get(pair, set())) for pair, tags in wanted.items()),
        "unwanted": sum(len(tags - wanted.get(pair, set())) for pair, tags in on.items()),
    }


def tagged_as_rules_say(wanted, purchases):
    """Customers of the raw file whose wanted tags differ from those of the demo's rules."""
    expected = purchases.tags()
    by_customer = {}
    for (_, customer), tags in wanted.items():
        if customer in purchases.customers:
            by_customer.setdefault(customer, set()).update(tags)
    names = set(expected) | {name for name, tags in by_customer.items() if tags}
    return [f"{name} has the tags {sorted(by_customer.get(name, set()))}, "
            f"the rules say {sorted(expected.get(name, set()))}"
            for name in sorted(names)
            if by_customer.get(name, set()) != expected.get(name, set())]


def check(violations):
    return {"ok": not violations, "count": len(violations),
            "violations": violations[:VIOLATIONS_SHOWN]}


def judge(options):
    purchases = purchases_file.read(options.purchases)
    witness = witness_file.read(options.witness)
    with open(options.client_log, encoding="utf-8") as file:
        client_log = [json.loads(text) for text in file if text.strip()]
    events = journals.read_events(options.journals)
    case = checks.Case(witness, client_log, journals.read_ledger(options.journals), events,
                       limits_file.read(options.limits), options.campaign,
                       purchases.audience(options.orders_min))
    wanted = journals.read_tag_wishes(options.journals)
    found = {name: check(function(case)) for name, function in checks.INVARIANTS.items()}
    found["tags-follow-rules"] = check(tagged_as_rules_say(wanted, purchases))
    return {
        "valid": all(each["ok"] for each in found.values()),
        "checks": found,
        "data": {"customers": len(purchases.customers), "purchases": purchases.lines,
                 "tagged_customers": len(purchases.tags())},
        "segments": purchases.segment_counts(),
        "witness": witness_figures(case, options.witness),
        "campaign": campaign_figures(case, limits_file.in_flight_of(options.limits, CREATE),
                                     options.median_latency_ms),
        "doubts": case.ledger.doubts(),
        "tags": tag_figures(witness, wanted),
        "welcome": welcome_figures(witness, events,
                                   journals.read_welcome_states(options.journals)),
    }


def print_for_people(verdict):
    for name, each in verdict["checks"].items():
        print(f"{name:18} {'holds' if each['ok'] else 'VIOLATED ' + str(each['count']) + ' times'}")
        for violation in each["violations"]:
            print(f"    {violation}")
    for part in ("witness", "campaign", "doubts", "tags", "welcome"):
        for name, value in verdict[part].items():
            if isinstance(value, float):
                value = f"{value:.3f}"
            print(f"{part + '.' + name:32} {value}")
    print("VALID" if verdict["valid"] else "INVALID")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--witness", required=True, help="the simulator's witness log")
    parser.add_argument("--client-log", required=True, help="what the client asked and was told")
    parser.add_argument("--journals", required=True, help="folder of `tidegate journal export`")
    parser.add_argument("--limits", required=True, help="the limits file of the run")
    parser.add_argument("--purchases", required=True, help="the raw file that was imported")
    parser.add_argument("--campaign", required=True, help="campaign id")
    parser.add_argument("--orders-min", type=int, default=3,
                        help="its audience: customers with at least so many orders (default 3)")
    parser.add_argument("--median-latency-ms", type=float, default=20,
                        help="median latency of the simulator, for the optimum (default 20)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(arguments)
    try:
        verdict = judge(options)
    except (OSError, ValueError, KeyError, IndexError, StopIteration) as error:
        print(f"judge: cannot read the inputs: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(verdict))
    else:
        print_for_people(verdict)
    return 0 if verdict["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
