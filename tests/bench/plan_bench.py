#!/usr/bin/env python3
"""What planning costs: recipients a second from a frozen audience to packed calls with their ids.

One thread, by its own processor time; an audience of --recipients in memory: all of one member, of 1,000 members and of 30,000, with
one content and with three; without a receive quota, and with one of which something is known for
every customer. Beside it, in the same rounds, a loop that only copies the customers' ids
into one buffer; the ratio says how much of that speed is left.
Target: 5,000,000 recipients a second with up to 1,000 members, by the median of the rounds. With
30,000 members and three contents a call has some eleven recipients, and making the call is what costs.
Exit code 0: the target is met. 1: it is missed; the text says where. 2: wrong flags.

Examples:
  ./dev bench plan
  ./dev bench plan --json --recipients 10000000
"""

import argparse
import json
import os
import platform
import subprocess
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECIPIENTS_PER_SECOND_MIN = 5_000_000
MEMBERS_OF_TARGET_MAX = 1_000


def measure(options):
    program = os.path.join(options.build, "tests", "bench", "plan_bench")
    done = subprocess.run([program, "--seed", str(options.seed), "--rounds", str(options.rounds),
                           "--recipients", str(options.recipients)],
                          stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def failures(result):
    """Sentences; empty = the target is met."""
    for row in result["rows"]:
        if row["owners"] > MEMBERS_OF_TARGET_MAX:
            continue
        for name, how in (("plan_s", ""), ("quota_s", ", with a quota")):
            if row[name]["median"] < RECIPIENTS_PER_SECOND_MIN:
                yield (f"{row['owners']:,} members, {row['variants']} contents{how}: "
                       f"{row[name]['median']:,.0f} recipients a second, "
                       f"wanted {RECIPIENTS_PER_SECOND_MIN:,}")


def table(result):
    lines = [f"{'members':>9}{'contents':>10}{'calls':>9}{'recipients/s':>14}{'min':>13}{'max':>13}"
             f"{'with quota':>13}{'copied/s':>13}{'ratio':>8}"]
    for row in result["rows"]:
        plan = row["plan_s"]
        lines.append(f"{row['owners']:9,}{row['variants']:10}{row['calls']:9,}"
                     f"{plan['median']:14,.0f}{plan['min']:13,.0f}{plan['max']:13,.0f}"
                     f"{row['quota_s']['median']:13,.0f}{row['copy_s']['median']:13,.0f}{row['ratio']['median']:8.3f}")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="./dev bench plan", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(REPOSITORY, "build", "dev"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.recipients < 1000:
        parser.error("--rounds is above 0, --recipients at least 1000")
    result = measure(options)
    result["machine"] = {"cores": os.cpu_count(), "machine": platform.machine()}
    print(json.dumps(result) if options.json else table(result))
    missed = list(failures(result))
    for sentence in missed:
        print(f"bench: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
