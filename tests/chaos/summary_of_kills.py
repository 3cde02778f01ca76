"""Sums rounds up: one object for machines, a table for people, and whether the run is VALID.

A run is valid if it did what it claims: every crash point of the plan was met, every fault fired,
every black hole swallowed something, and there was load. Of an invalid run zeros say nothing.
"""

import datetime
import os
import platform
import statistics
from collections import Counter

from chaos_run import claimed_faults

# While processes are killed; what a run without kills makes is told in docs/proofs.md.
CALLS_PER_SECOND_MIN = 10
SUMS = ("duplicates", "lost", "above_limits")
DOUBTS = ("opened", "accepted", "not_executed", "parked")


def added(counters):
    total = Counter()
    for counter in counters:
        total.update(counter)
    return dict(sorted(total.items()))


def assemble(proven, options, rounds):
    verdicts = [each["verdict"] for each in rounds]
    kills = [kill for each in rounds for kill in each["kills"]]
    holes = [hole for each in rounds for hole in each["holes"]]
    restarts = [kill["restart_ms"] for kill in kills if kill["restart_ms"] is not None]
    seconds = sum(each["seconds"] for each in rounds)
    calls = sum(each["calls"] for each in rounds)
    result = {
        **proven,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "seed": options.seed, "rounds": len(rounds),
        "log": "kafka" if options.kafka else "embedded",
        "kills": {"count": len(kills), **Counter(kill["kind"] for kill in kills)},
        "points": {point: {"planned": planned, "met": met} for point, planned, met in points(rounds)},
        "holes": {"count": len(holes), "held": sum(hole["held"] for hole in holes),
                  "healed_after_death": sum(hole["dead"] for hole in holes),
                  "taken_back": sum(each["taken_back"] for each in rounds),
                  "delivered_late": sum(each["delivered_late"] for each in rounds)},
        "faults": {api: added(verdict["faults"].get(api, {}) for verdict in verdicts)
                   for api in sorted({api for verdict in verdicts for api in verdict["faults"]})},
        "campaigns": sum(verdict["campaigns"] for verdict in verdicts),
        "touches": sum(verdict["touches"] for verdict in verdicts),
        "creates_executed": sum(verdict["creates_executed"] for verdict in verdicts),
        "welcomes": added(verdict["welcomes"] for verdict in verdicts),
        "callbacks_given_up": sum(each["callbacks_given_up"] for each in rounds),
        "doubts": {name: sum(verdict["doubts"][name] for verdict in verdicts) for name in DOUBTS},
        "doubts_by_cause": doubts_by_cause(verdicts),
        **{name: sum(verdict[name] for verdict in verdicts) for name in SUMS},
        "restart_ms": {"median": round(statistics.median(restarts), 1),
                       "max": round(max(restarts), 1)} if restarts else {},
        "seconds": round(seconds, 1),
        "calls_per_second": round(calls / max(seconds, 0.001), 1),
        "settle_seconds_max": round(max(each["settle_seconds"] for each in rounds), 1),
        "checks": {name: all(verdict["checks"][name]["ok"] for verdict in verdicts)
                   for name in verdicts[0]["checks"]},
        "journal_checks": added(each["journals"]["violation_counts"] for each in rounds),
    }
    result["invalid"] = invalid(result, options, rounds)
    result["valid"] = not result["invalid"]
    result["failures"] = failures(result, rounds)
    return result


def points(rounds):
    planned = Counter(kill.point for each in rounds for kill in each["planned"] if kill.point)
    met = Counter(added(each["points"] for each in rounds))
    return [(point, planned[point], met[point]) for point in sorted(planned, key=by_number)]


def by_number(point):
    return point[0], int(point[1:])


def doubts_by_cause(verdicts):
    causes = sorted({cause for verdict in verdicts for cause in verdict["doubts"]["by_cause"]})
    return {cause: added(verdict["doubts"]["by_cause"].get(cause, {}) for verdict in verdicts)
            for cause in causes}


def invalid(result, options, rounds):
    """Why the run proves nothing; empty = valid."""
    found = [f"{point} was planned {each['planned']} times and met {each['met']} times"
             for point, each in result["points"].items() if each["met"] < each["planned"]]
    if result["kills"]["count"] != options.kills:
        found.append(f"{result['kills']['count']} kills instead of {options.kills}")
    found += [f"{kind} of {api} never fired" for api, kind in claimed_faults()
              if not result["faults"].get(api, {}).get(kind)]
    holes = result["holes"]
    if holes["held"] < holes["count"]:
        found.append(f"{holes['count'] - holes['held']} black holes swallowed nothing")
    if result["calls_per_second"] < CALLS_PER_SECOND_MIN:
        found.append(f"{result['calls_per_second']} calls a second, less than "
                     f"{CALLS_PER_SECOND_MIN}")
    found += [f"seed {each['seed']}: the judge of journals skipped {name}" for each in rounds
              for name in each["journals"]["skipped"] if name in ("K-2", "K-3")]
    return found


def failures(result, rounds):
    found = [f"{name} is {result[name]}, not 0" for name in SUMS if result[name]]
    if result["doubts"]["parked"]:
        found.append(f"{result['doubts']['parked']} doubts are parked")
    for each in rounds:
        found += [f"seed {each['seed']}: {name}: {text}"
                  for name, check in each["verdict"]["checks"].items()
                  for text in check["violations"][:3]]
        found += [f"seed {each['seed']}: {violation['check']}: {violation['journal']} offset "
                  f"{violation['offset']}: {violation['what']}"
                  for violation in each["journals"]["violations"][:5]]
        if any(each["exit_codes"].values()):
            found.append(f"seed {each['seed']}: exit codes after SIGTERM: {each['exit_codes']}")
    return found


def for_people(result):
    """Lines of text."""
    kills, holes = result["kills"], result["holes"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in kills.items() if kind != "count")
    lines = [
        f"commit {result['commit']}{'' if result['clean'] else ' with changes'}, seed "
        f"{result['seed']}, {result['date']}",
        f"{result['machine']['cores']} cores, {result['machine']['system']}; {result['log']} log",
        "",
        f"kills      {kills['count']} ({kinds}) in {result['seconds']:.0f} s, {result['rounds']} "
        f"rounds; back after {result['restart_ms']['median']:.0f} ms (median), "
        f"{result['restart_ms']['max']:.0f} ms (longest)",
        "points     " + ", ".join(f"{point} {each['met']}"
                                  for point, each in result["points"].items()),
        f"holes      {holes['count']}, {holes['held']} with a call in them, "
        f"{holes['healed_after_death']} healed after the kill; {holes['taken_back']} requests taken "
        f"back by a reset, {holes['delivered_late']} delivered after their caller's end",
        f"load       {result['calls_per_second']} calls a second; {result['campaigns']} campaigns, "
        f"{result['touches']:,} touches, {result['creates_executed']:,} creates executed, "
        f"{result['welcomes']['sent']} of {result['welcomes']['requested']} welcomes, "
        f"{result['callbacks_given_up']} callbacks given up after three deliveries",
    ]
    for api, kinds in result["faults"].items():
        lines.append(f"faults     {api}: " + ", ".join(f"{kind} {count}"
                                                       for kind, count in kinds.items()))
    lines += ["", f"{'what became of it at WeCom':28}{'doubts':>8}{'accepted':>10}"
              f"{'not executed':>14}{'parked':>8}"]
    for cause, counts in [*result["doubts_by_cause"].items(), ("all", result["doubts"])]:
        lines.append(f"{cause:28}{counts.get('opened', 0):8}{counts.get('accepted', 0):10}"
                     f"{counts.get('not_executed', 0):14}{counts.get('parked', 0):8}")
    lines += ["", f"settled in {result['settle_seconds_max']} s after the last kill at most",
              "checks     " + ", ".join(f"{name} {'holds' if ok else 'VIOLATED'}"
                                        for name, ok in result["checks"].items()),
              f"found      {result['duplicates']} duplicates, {result['lost']} lost, "
              f"{result['above_limits']} calls above a limit"]
    lines += [f"FAILED     {text}" for text in result["failures"]]
    lines += [f"INVALID    {text}" for text in result["invalid"]]
    lines.append("VALID" if result["valid"] else "INVALID")
    return lines
