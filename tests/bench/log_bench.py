#!/usr/bin/env python3
"""How fast the logs are, beside the bare libraries below them, and how fast the product is on them.

append     appends of 1, 10 and 100 records of 300 bytes to one partition, one at a time and 64 at
           a time, on the embedded log and on Kafka (one broker on loopback, started here). In the
           same run, in turn: bare RocksDB and a bare librdkafka loop. ratio = ours / bare,
           records/s; it should be 0.7 (with --quick 0.5). CPU is that of the measuring process.
pipeline   events/s from BatchPublishEvents through profiles until a segment counts them all.
welcome    from the callback to send_welcome_msg at the simulated WeCom, beside 1,000 purchases/s;
           p99 should be 250 ms on the embedded log, 500 ms on Kafka.

Every figure is taken in rounds: of appends the median is printed, with the smallest and the
largest, of welcomes the percentiles of all rounds together.
Exit code 0: all targets are met. 1: one is missed, or something failed; the text says which.
2: wrong flags. Where no Kafka is to be had its rows are left out, and one SKIPPED line says why.

Examples:
  ./dev bench log                      about 4 minutes
  ./dev bench log --json --seed 7
  ./dev bench log --quick              short, for checks; its figures are rough
  ./dev bench log --only append
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import paths
from jars import KafkaError, KafkaUnavailable
from report import commit, machine, say, spread

WELCOME_P99_MS_MAX = {"embedded": 250, "kafka": 500}
LOAD_SHARE_MIN = 0.95
PARTS = ("append", "pipeline", "welcome")
FULL = {"ratio_min": 0.7, "rounds": 17, "seconds": 0.1, "customers": 25_000, "orders": 4,
        "welcome": {"rounds": 3, "seconds": 15, "per_second": 40, "load_per_second": 1_000}}
# Rough figures: enough to see that something broke.
QUICK = {"ratio_min": 0.5, "rounds": 4, "seconds": 0.05, "customers": 5_000, "orders": 2,
         "welcome": {"rounds": 1, "seconds": 3, "per_second": 40, "load_per_second": 1_000}}


class BenchError(Exception):
    """A measurement could not be made."""


def measure_appends(options, sizes, folder):
    """What append_bench prints; and why there is no Kafka, or None."""
    command = [os.path.join(options.build, "tests", "bench", "append_bench"),
               "--dir", os.path.join(folder, "embedded"), "--rounds", str(sizes["rounds"]),
               "--seconds", str(sizes["seconds"]), "--floor", str(sizes["ratio_min"]),
               "--seed", str(options.seed)]
    cluster, skipped = None, None
    try:
        from cluster import Cluster
        cluster = Cluster.start(os.path.join(folder, "kafka"), 1)
        command += ["--kafka", cluster.bootstrap_servers]
    except KafkaUnavailable as error:
        skipped = str(error)
    try:
        say("measuring appends")
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False)
    finally:
        if cluster:
            cluster.stop(grace_seconds=0)
    if done.returncode != 0:
        raise BenchError(f"append_bench ended with exit code {done.returncode}: "
                         + done.stderr.strip()[-500:])
    return json.loads(done.stdout), skipped


def measure_product(options, sizes, folder, kafka):
    """{"pipeline": ..., "welcome": ...} of one deployment."""
    from processes import DemoError
    from product import Product
    os.makedirs(folder)
    product = Product(folder, options.build, options.seed, kafka, say)
    found = {}
    try:
        product.start()
        if "pipeline" in options.only:
            found["pipeline"] = product.pipeline(sizes["customers"], sizes["orders"])
        if "welcome" in options.only:
            found["welcome"] = product.welcome(**sizes["welcome"])
            missed = found["welcome"]["p99_ms"] > WELCOME_P99_MS_MAX["kafka" if kafka
                                                                     else "embedded"]
            if missed or not options.quick:
                found["welcome"]["stages"] = product.stages()
    except DemoError as error:
        raise BenchError(str(error)) from error
    finally:
        product.close()
    return found


def failures(result, ratio_min=FULL["ratio_min"]):
    """Sentences; empty = every target is met."""
    found = []
    for row in result.get("append", []):
        ratio = row["ratio"]["median"]
        if ratio < ratio_min:
            found.append(f"append {row['log']}, {row['batch']} records, {row['outstanding']} at a "
                         f"time: {ratio:.2f} of {row['bare']['name']}, wanted {ratio_min}")
    for log, figures in result.get("pipeline", {}).items():
        if (figures["count"], figures["count_over"]) != (figures["count_expected"], 0):
            found.append(f"pipeline {log}: {figures['count']} customers counted instead of "
                         f"{figures['count_expected']}, {figures['count_over']} have too many "
                         "orders")
    for log, figures in result.get("welcome", {}).items():
        if figures["count"] != figures["asked"]:
            found.append(f"welcome {log}: {figures['count']} of {figures['asked']} were sent")
        if figures["load_per_second_min"] < LOAD_SHARE_MIN * figures["load_per_second"]:
            found.append(f"welcome {log}: only {figures['load_per_second_min']:.0f} purchases/s "
                         f"were taken beside, wanted {figures['load_per_second']}")
        if figures["p99_ms"] > WELCOME_P99_MS_MAX[log]:
            found.append(f"welcome {log}: p99 {figures['p99_ms']:.0f} ms, wanted "
                         f"{WELCOME_P99_MS_MAX[log]} ms")
    return found


def for_people(result):
    """Lines of text."""
    on = result["machine"]
    lines = [f"{on['cpus']} CPUs ({on['cpu']}), {on['memory_gb']} GB, load {on['load_before']:.1f} "
             f"before, {on['load_after']:.1f} after; commit {result['commit']}, "
             f"seed {result['seed']}, {result['seconds']:.0f} s"]
    if result.get("append"):
        lines += ["", f"{'append':9}{'batch':>6}{'at once':>8}  {'records/s':>32}  {'p50 ms':>7}"
                      f"{'p99 ms':>8}  {'read back p50, p99':>19}  {'bare records/s':>32}  "
                      f"{'CPU us a record':>15}  ratio"]
    for row in result.get("append", []):
        back = "-"
        if "readback_p50_ms" in row:
            back = (f"{row['readback_p50_ms']['median']:.2f}, "
                    f"{row['readback_p99_ms']['median']:.2f}")
        cpu = f"{row['cpu_us']['median']:.1f}, {row['bare']['cpu_us']['median']:.1f}"
        lines.append(f"{row['log']:9}{row['batch']:6}{row['outstanding']:8}  "
                     f"{spread(row['records_s'], 0):>32}  {row['p50_ms']['median']:7.2f}"
                     f"{row['p99_ms']['median']:8.2f}  {back:>19}  "
                     f"{spread(row['bare']['records_s'], 0):>32}  {cpu:>15}  "
                     f"{spread(row['ratio'], 2)}")
    if "transactional" in result:
        row = result["transactional"]
        lines.append(f"for the record: transactions of {row['batch']} records with bare "
                     f"librdkafka: {spread(row['records_s'], 0)} records/s, "
                     f"p50 {row['p50_ms']['median']:.1f}, p99 {row['p99_ms']['median']:.1f} ms")
    if result.get("pipeline") or result.get("welcome"):
        lines.append("")
    for log, figures in result.get("pipeline", {}).items():
        lines.append(f"pipeline {log:9} {figures['events_s']:,.0f} events/s: {figures['events']:,} "
                     f"in {figures['seconds']:.2f} s; published after "
                     f"{figures['publish_seconds']:.2f} s")
    for log, figures in result.get("welcome", {}).items():
        lines.append(f"welcome  {log:9} p50 {figures['p50_ms']:.0f} ms, p99 "
                     f"{figures['p99_ms']:.0f} ms "
                     f"({figures['p99_ms_min']:.0f}..{figures['p99_ms_max']:.0f}), "
                     f"{figures['count']} of {figures['asked']} sent")
        lines += [f"    {stage['p50_ms']:7.2f} p50 {stage['p99_ms']:8.2f} p99 "
                  f"{stage['max_ms']:8.2f} max  {stage['stage']}"
                  for stage in figures.get("stages", [])]
    if result.get("skipped"):
        lines.append(f"SKIPPED Kafka: {result['skipped']}")
    lines += [f"MISSED   {text}" for text in result["failures"]]
    lines.append("All targets are met." if not result["failures"]
                 else f"{len(result['failures'])} targets are missed.")
    return "\n".join(lines)


def run(options, folder):
    began = time.monotonic()
    sizes = QUICK if options.quick else FULL
    result = {"machine": machine(), "commit": commit(), "seed": options.seed,
              "quick": options.quick}
    skipped = None
    if "append" in options.only:
        figures, skipped = measure_appends(options, sizes, os.path.join(folder, "append"))
        result |= figures
    for log in ("embedded", "kafka"):
        if options.only == ["append"] or (log == "kafka" and skipped):
            continue
        from deployment import NoKafka
        say(f"starting the product: {log}")
        try:
            figures = measure_product(options, sizes, os.path.join(folder, log), log == "kafka")
        except NoKafka as error:
            skipped = str(error)
            continue
        for part, figure in figures.items():
            result.setdefault(part, {})[log] = figure
    if skipped:
        result["skipped"] = skipped
    result["machine"]["load_after"] = os.getloadavg()[0]
    result["seconds"] = round(time.monotonic() - began, 1)
    result["failures"] = failures(result, sizes["ratio_min"])
    return result


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench log", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true",
                        help="one JSON object on standard output, all else on standard error")
    parser.add_argument("--quick", action="store_true", help="short and rough")
    parser.add_argument("--seed", type=int, help="of records and simulator (random if absent)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
    parser.add_argument("--out", metavar="DIR", help="keep all files here (a new or empty folder)")
    parser.add_argument("--build", metavar="DIR",
                        default=os.path.join(paths.REPOSITORY, "build", "dev"),
                        help="where the programs were built (default build/dev)")
    options = parser.parse_args(arguments)
    options.build = os.path.abspath(options.build)
    options.only = [part for part in PARTS if part in (options.only or PARTS)]
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 31)
    elif options.seed < 0:
        parser.error("--seed must not be negative")
    if options.out and os.path.isdir(options.out) and os.listdir(options.out):
        parser.error(f"--out {options.out} is not empty")
    for program in ("tests/bench/append_bench", "tests/bench/publish_load", "bin/tidegate",
                    "bin/wecom_simulator"):
        if not os.access(os.path.join(options.build, program), os.X_OK):
            parser.error(f"{options.build}/{program} is missing: run ./dev bench log, which "
                         "builds it")
    return options


def main(arguments=None):
    options = parse(arguments)
    folder = os.path.abspath(options.out) if options.out else tempfile.mkdtemp(
        prefix="tidegate-bench-")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        result = run(options, folder)
    except KeyboardInterrupt:
        return 130
    except (BenchError, KafkaError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        if not options.out:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(result))
        for text in result["failures"]:
            say(f"MISSED {text}")
        if "skipped" in result:
            say(f"SKIPPED Kafka: {result['skipped']}")
    else:
        print(for_people(result))
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
