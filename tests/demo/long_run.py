#!/usr/bin/env python3
"""The long form of the kill runs on Kafka: many runs of the demo, each with another seed, summed up.

Every run must be as it should be: one failure ends it all with exit code 1, and its logs are kept.
The result names commit, seeds, date and machine; commit it with the tree that it was made from.

Examples:
  ./dev prove kills                                   10 runs: 1,000 kills, 100 leaders, 40 stops
  ./dev prove kills --runs 2 --seed 500 --out two.json
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import Counter

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEMO = os.path.join(REPOSITORY, "tests", "demo", "demo.py")
SUMS = ("opened", "accepted", "not_executed", "parked")
ZEROS = ("rejected_45009", "rejected_45033", "lockout_seconds", "duplicate_touches", "lost_touches")


def git(*arguments):
    return subprocess.run(["git", "-C", REPOSITORY, *arguments], check=True, capture_output=True,
                          text=True).stdout.strip()


def run_once(options, seed):
    """The run's result; ends the program if it failed. The demo's own watchdog bounds it."""
    folder = tempfile.mkdtemp(prefix=f"tidegate-kills-{seed}-")
    done = subprocess.run(
        [sys.executable, DEMO, "--build", options.build, "--kafka", "--nodes", "3",
         "--replicas", "2", "--kill", str(options.kill), "--kill-brokers",
         str(options.kill_brokers), "--stop", str(options.stop), "--seed", str(seed), "--json",
         "--out", folder],
        stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 77:
        print(done.stdout.strip())
        sys.exit(77)
    if done.returncode:
        failures = json.loads(done.stdout)["failures"] if done.stdout.strip() else []
        sys.exit(f"seed {seed} failed: {failures}; logs in {folder}")
    subprocess.run(["rm", "-r", folder], check=True)
    return json.loads(done.stdout)


def tree():
    """What is proven, before it takes its time."""
    return {"commit": git("rev-parse", "HEAD"), "clean": not git("status", "--porcelain")}


def summed(proven, results):
    kills = [kill for result in results for kill in result["kills"]]
    brokers = [kill for result in results for kill in result["broker_kills"]]
    stops = [stop for result in results for stop in result["stops"]]
    restarts = sorted(kill["restart_ms"] for kill in kills)
    outages = [kill["outage_ms"] for kill in brokers]
    return {
        **proven,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(),
                    "kafka": results[0]["kafka"]["version"], "nodes": 3},
        "seeds": [result["seed"] for result in results],
        "seconds": round(sum(result["seconds"] for result in results), 1),
        "kills": {"count": len(kills), **Counter(kill["service"] for kill in kills)},
        "restart_ms": {"median": round(statistics.median(restarts), 1),
                       "p99": restarts[len(restarts) * 99 // 100 - 1], "max": restarts[-1]},
        "broker_kills": {"count": len(brokers), "outage_ms_median": statistics.median(outages),
                         "outage_ms_max": max(outages)} if brokers else {"count": 0},
        "stops": {"count": len(stops), **{
            name: sum(stop[name] for stop in stops)
            for name in ("calls_after_wake", "void_records_after_wake")}},
        "doubts": {name: sum(result["doubts"][name] for result in results) for name in SUMS},
        "witness": {"calls": sum(result["witness"]["calls"] for result in results),
                    **{name: sum(result["witness"][name] for result in results)
                       for name in ZEROS}},
        "events": sum(result["ingest"]["events"] for result in results),
        "journal": {name: sum(row[name] for result in results for row in result["journal"])
                    for name in ("records", "void", "fences")},
        "invariants": sorted({name for result in results
                              for name, holds in result["invariants"].items() if holds}),
        "failures": [],
    }


def main():
    parser = argparse.ArgumentParser(prog="./dev prove kills", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; then one more each")
    parser.add_argument("--kill", type=int, default=100, help="processes killed per run")
    parser.add_argument("--kill-brokers", type=int, default=10, help="leaders killed per run")
    parser.add_argument("--stop", type=int, default=4, help="processes stopped per run")
    parser.add_argument("--out", metavar="FILE", help="write the result here too")
    parser.add_argument("--build", default=os.path.join(REPOSITORY, "build", "dev"))
    options = parser.parse_args()
    proven, results = tree(), []
    for seed in range(options.seed, options.seed + options.runs):
        results.append(run_once(options, seed))
        print(f"run {len(results)} of {options.runs}, seed {seed}: good after "
              f"{results[-1]['seconds']:.0f} s", file=sys.stderr, flush=True)
    text = json.dumps(summed(proven, results), indent=1)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
