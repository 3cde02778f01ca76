#!/usr/bin/env python3
"""What a decision of the token buckets costs, beside Redis on the same machine in the same run, and
what a timer of the scheduler costs.

ours    may one more call leave, by eight conditions (minute and hour of its corp, of its address and
        of its member, calls in flight, lockout), all or nothing; every call is of another corp, at
        random, of 1,000, 100,000 and 1,000,000 corps. Beside it the return of its tokens.
redis   one Lua script that asks four counters and adds to all or none; one client over a Unix
        socket, one question at a time, and 32 in a row
timers  the timing wheel beside a std::set of times, with 1,000, 100,000 and 1,000,000 that wait up to
        a minute, or up to an hour for the slots in which tokens return, in CPU time: one that fires
        and is set anew; one whose time is replaced; the question that takes longest, the wheel's
        while a slot that has all of them goes down. Not judged
Targets: 20 ns up to 100,000 corps, 40 ns at 1,000,000; 64 bytes idle, 1,024 active.
Exit code 0: all targets are met. 1: one is missed; the text says which. 2: wrong flags. Where
redis-tools is not to be had its rows are left out, and one SKIPPED line says so.

Examples:
  ./dev bench buckets
  ./dev bench buckets --json --seed 7
"""

import argparse
import csv
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DECIDE_NS_MAX = ((1_000, 20), (100_000, 20), (1_000_000, 40))
BYTES_MAX = {"idle": 64, "active": 1024}
# All or nothing over the windows of now: KEYS are counters, ARGV[i] their limits, ARGV[5] the window.
SCRIPT = """\
for i = 1, 4 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[i]) then return 0 end
end
for i = 1, 4 do
  if redis.call('INCR', KEYS[i]) == 1 then redis.call('PEXPIRE', KEYS[i], ARGV[5]) end
end
return 1
"""
REDIS_CORPS = 100_000
REDIS_QUESTIONS = 100_000
# Debian's redis-tools has the server under the name of a checker; it looks at its own name.
REDIS_BINARY = "redis-check-rdb"
PATIENCE_SECONDS = 10


def measure(program, options):
    program = os.path.join(options.build, "tests", "bench", program)
    done = subprocess.run([program, "--seed", str(options.seed), "--rounds", str(options.rounds)],
                          stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


class Redis:
    """A server of its own without persistence, on a socket in a folder."""

    def __init__(self, folder):
        self.socket = os.path.join(folder, "redis.sock")
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "",
             "--appendonly", "no", "--dir", folder],
            executable=shutil.which(REDIS_BINARY), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(self.socket) == 0:
                    return
            time.sleep(0.05)
        self.close()
        raise RuntimeError("the Redis server does not listen")

    def close(self):
        self._process.kill()
        self._process.wait()

    def cli(self, *arguments):
        return subprocess.run(["redis-cli", "-s", self.socket, *arguments], check=True,
                              stdout=subprocess.PIPE, text=True).stdout.strip()


def measure_redis():
    with tempfile.TemporaryDirectory() as folder:
        server = Redis(folder)
        try:
            version = next(line.partition(":")[2] for line in server.cli("INFO", "server").split()
                           if line.startswith("redis_version"))
            script = server.cli("SCRIPT", "LOAD", SCRIPT)
            rows = {name: ask_redis(server, script, in_a_row)
                    for name, in_a_row in (("one_at_a_time", 1), ("32_in_a_row", 32))}
            return {"version": version, "buckets": 4, "corps": REDIS_CORPS, "decide_ns": rows}
        finally:
            server.close()


def ask_redis(server, script, in_a_row):
    limits = ["1000000000"] * 4 + ["60000"]
    keys = ["corp:__rand_int__:m", "corp:__rand_int__:h", "address:m", "address:h"]
    said = subprocess.run(
        ["redis-benchmark", "-s", server.socket, "-n", str(REDIS_QUESTIONS), "-c", "1",
         "-P", str(in_a_row), "-r", str(REDIS_CORPS), "--csv", "EVALSHA", script, "4", *keys,
         *limits], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    row = list(csv.DictReader(said.splitlines()))[-1]
    return round(1e9 / float(row["rps"]))


def failures(result):
    """Sentences; empty = every target is met."""
    targets = dict(DECIDE_NS_MAX)
    for row in result["rows"]:
        most = targets.get(row["corps"])
        if most and row["decide_ns"]["median"] > most:
            yield (f"{row['corps']:,} corps: {row['decide_ns']['median']:.1f} ns a decision, "
                   f"wanted {most}")
        if row["refused"]:
            yield f"{row['corps']:,} corps: {row['refused']} decisions were refusals"
    for name, most in BYTES_MAX.items():
        if result["bytes"][name] > most:
            yield f"{result['bytes'][name]} bytes {name}, wanted {most}"


def table(result):
    lines = [f"{'corps':>10}{'decide ns':>11}{'min':>7}{'max':>7}{'return ns':>11}{'active':>12}"]
    for row in result["rows"]:
        decide = row["decide_ns"]
        lines.append(f"{row['corps']:10,}{decide['median']:11.1f}{decide['min']:7.1f}"
                     f"{decide['max']:7.1f}{row['complete_ns']['median']:11.1f}{row['active']:12,}")
    lines.append(f"bytes of a bucket: {result['bytes']['idle']} idle, "
                 f"{result['bytes']['active']} active")
    if redis := result.get("redis"):
        figures = redis["decide_ns"]
        lines.append(f"Redis {redis['version']}, one Lua script over {redis['buckets']} buckets: "
                     f"{figures['one_at_a_time']:,} ns one at a time, "
                     f"{figures['32_in_a_row']:,} ns 32 in a row")
    lines.append("")
    lines.append(f"{'timers':>10}  {'waits':<12}{'wheel ns':>9}{'min':>6}{'max':>6}"
                 f"{'set ns':>8}{'min':>6}{'max':>6}{'replace':>9}{'set':>7}"
                 f"{'longest us':>12}{'set':>9}")
    for row in result["timers"]:
        wheel, tree = row["wheel"], row["set"]
        lines.append(
            f"{row['timers']:10,}  {row['waits']:<12}"
            f"{wheel['fire_ns']['median']:9.0f}{wheel['fire_ns']['min']:6.0f}"
            f"{wheel['fire_ns']['max']:6.0f}{tree['fire_ns']['median']:8.0f}"
            f"{tree['fire_ns']['min']:6.0f}{tree['fire_ns']['max']:6.0f}"
            f"{wheel['replace_ns']['median']:9.0f}{tree['replace_ns']['median']:7.0f}"
            f"{wheel['longest_ns']['median'] / 1000:12,.1f}"
            f"{tree['longest_ns']['median'] / 1000:9,.1f}")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="./dev bench buckets", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(REPOSITORY, "build", "dev"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    result = measure("bucket_bench", options)
    result["timers"] = measure("timer_bench", options)["rows"]
    result["machine"] = {"cores": os.cpu_count(), "machine": platform.machine()}
    if all(map(shutil.which, (REDIS_BINARY, "redis-cli", "redis-benchmark"))):
        result["redis"] = measure_redis()
    else:
        print("SKIPPED redis: redis-tools is missing; install it", file=sys.stderr)
    print(json.dumps(result) if options.json else table(result))
    missed = list(failures(result))
    for sentence in missed:
        print(f"bench: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
