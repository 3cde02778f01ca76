#!/usr/bin/env python3
"""Kill runs of dispatch: the real binary sends campaign after campaign to the simulated WeCom, which
executes calls and then closes, resets, is silent or answers nonsense, while the process is killed at
named crash points and at random moments, stopped, cut off from the network and told to end. After
each kill it is started again; at the end a judge of its own counts duplicates, losses and calls above
a limit.
Exit code 0: VALID and all zeros. 1: INVALID, or something was found. 2: wrong flags. 77: SKIPPED, since
no Kafka is to be had.

Examples:
  ./dev chaos dispatch --kills 100
  ./dev chaos dispatch --kills 100 --kafka --seed 7 --json
  ./dev chaos dispatch --kills 10 --out out          keep all logs
  ./dev chaos dispatch --kills 2000 --at-once 3 --record docs/results/chaos-dispatch.txt
                                                     about 20 minutes on 2 cores
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("demo", "judge"):
    sys.path.append(os.path.join(REPOSITORY, "tests", folder))

import dispatch_judge  # noqa: E402
import kill_plan  # noqa: E402
import summary_of_kills as summary  # noqa: E402
from chaos_run import Embedded, OnKafka  # noqa: E402
from deployment import NoKafka  # noqa: E402
from killer import Feeder, Killer  # noqa: E402
from long_run import tree  # noqa: E402
from processes import DemoError  # noqa: E402
from short_run import linked  # noqa: E402

# Each round has its own data, so that no start has to replay more than these kills.
ROUND_KILLS = 100
ORDERS_MIN = 2
# Of one round, beside its kills.
WATCHDOG_SECONDS = 240
WATCHDOG_SECONDS_PER_KILL = 8
CRASHING = {"tidegate": "tidegate-crash-points",
            "tidegate-dispatch": "tidegate-dispatch-crash-points"}


class Chaos:
    def __init__(self, options):
        self._options = options
        self._began = time.monotonic()

    def run(self):
        kills, seed = self._options.kills, self._options.seed
        sizes = [min(ROUND_KILLS, kills - done) for done in range(0, kills, ROUND_KILLS)]
        with concurrent.futures.ThreadPoolExecutor(self._options.at_once) as pool:
            rounds = [pool.submit(self._round, size, seed + i) for i, size in enumerate(sizes)]
            try:
                return [each.result() for each in rounds]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _round(self, kills, seed):
        found = self._run_of(kills, seed)
        verdict = found["verdict"]
        self._say(f"seed {seed}: {verdict['duplicates']} duplicates, {verdict['lost']} lost, "
                  f"{verdict['above_limits']} calls above a limit")
        return found

    def _run_of(self, kills, seed):
        with contextlib.ExitStack() as stack:
            if self._options.out:
                folder = os.path.join(self._options.out, f"seed-{seed}")
                os.makedirs(folder, mode=0o700)
            else:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-chaos-"))
            os.mkdir(os.path.join(folder, "run"), 0o700)
            others = {"tidegate": self._options.binary} if self._options.binary else CRASHING
            build = linked(os.path.join(folder, "build"), self._options.build, others)
            plan = kill_plan.make(kills, seed, self._options.only)
            run_class = OnKafka if self._options.kafka else Embedded
            run = stack.enter_context(run_class(os.path.join(folder, "run"), build, seed, self._quiet,
                                                plan[0]))
            watchdog = threading.Timer(WATCHDOG_SECONDS + WATCHDOG_SECONDS_PER_KILL * kills,
                                       self._give_up, [run])
            watchdog.daemon = True
            watchdog.start()
            stack.callback(watchdog.cancel)
            return self._play(run, plan, seed)

    def _play(self, run, plan, seed):
        run.start()
        run.prepare()
        self._say(f"seed {seed}, {run.log} log, {len(plan)} kills; files in {run.folder}")
        feeder, killer = Feeder(run), Killer(run, plan, seed, self._say)
        feeder.start()
        calls = run.calls()
        seconds = killer.run(feeder)
        calls = run.calls() - calls
        feeder.end()
        run.end_faults()
        settling = time.monotonic()
        run.finish(run.campaigns)
        settled = time.monotonic() - settling
        told, given_up = run.callbacks()
        codes = run.end()
        run.export()
        verdict = dispatch_judge.judge(run.folder, ORDERS_MIN, run.starts, run.terms_ns, told)
        return {"seed": seed, "planned": plan, "kills": killer.kills, "missed": killer.missed,
                "holes": killer.holes, "taken_back": run.relay.taken_back,
                "delivered_late": run.relay.delivered_late, "points": run.points_met(),
                "seconds": seconds, "calls": calls, "settle_seconds": settled,
                "callbacks_given_up": given_up, "exit_codes": codes, "verdict": verdict, "journals": run.judge()}

    def _say(self, text):
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", file=sys.stderr, flush=True)

    def _quiet(self, text):
        pass

    def _give_up(self, run):
        self._say("not done in time: given up; --out keeps the logs")
        run.kill()
        os._exit(1)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev chaos dispatch", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="(default 100)")
    parser.add_argument("--at-once", type=int, default=1, metavar="N",
                        help="so many of its rounds of 100 kills beside each other (default 1)")
    parser.add_argument("--kafka", action="store_true",
                        help="each service in a process of its own on a real Kafka, started here")
    parser.add_argument("--seed", type=int, help="all choices come from it (random if absent)")
    parser.add_argument("--json", action="store_true",
                        help="one JSON object on standard output, all else on standard error")
    parser.add_argument("--out", metavar="DIR", help="a new folder that keeps all logs")
    parser.add_argument("--record", metavar="FILE",
                        help="write the result there too, with commit, seed and date")
    parser.add_argument("--only", choices=("point", *(kind for kind, _ in kill_plan.OTHERS)),
                        help="all kills of this kind")
    parser.add_argument("--binary", metavar="FILE",
                        help="run this in place of `tidegate`; without crash points")
    parser.add_argument("--build", default=os.path.join(REPOSITORY, "build", "dev"),
                        help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.binary and (options.kafka or options.only in (None, "point")):
        parser.error("--binary needs --only random, hole, stop or term, and no --kafka")
    if options.kills < 1:
        parser.error("--kills must be from 1")
    if not 1 <= options.at_once <= 16:
        parser.error("--at-once must be from 1 to 16")
    if options.out and os.path.exists(options.out):
        parser.error(f"--out: {options.out} exists already; name a new folder")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1, 100_000)
    return options


def commit():
    """Of what is proven; outside a repository a test runs all the same."""
    try:
        return tree()
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "clean": False}


def main(arguments=None):
    options = parse(arguments)
    proven = commit()
    try:
        rounds = Chaos(options).run()
    except NoKafka as error:
        print(f"SKIPPED: {error}")
        return 77
    except DemoError as error:
        print(f"chaos: seed {options.seed}: {error}", file=sys.stderr)
        return 1
    result = summary.assemble(proven, options, rounds)
    text = "\n".join(summary.for_people(result))
    if options.record:
        with open(options.record, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(json.dumps(result) if options.json else text)
    return 0 if result["valid"] and not result["failures"] else 1


if __name__ == "__main__":
    sys.exit(main())
