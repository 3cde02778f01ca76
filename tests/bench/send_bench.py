#!/usr/bin/env python3
"""How fast dispatch takes messages in, and how fast it sends; each beside the simplest other way.

touches    messages of an internal service, acknowledged once they are durable: batches of 1,000 and
           of 10,000 over one SendMessages call, and one SendMessage call per message, 256 at a time.
           `tidegate serve` sends nothing meanwhile. After each run it is killed (SIGKILL), started
           again, and must have every acknowledged message once. CPU is that of the server.
calls      calls of mark_tag by `tidegate serve`, the attempt and the outcome of each on its ledger,
           to a sink that answers at once. Beside it the bare HTTP client with the same bodies and
           as many calls in flight, of which 64 are on the wire. Each runs on one core, the sink on
           another, if there is one. ratio = full path / bare: of calls/s, and of calls per second
           of CPU time.
Targets: 300,000 touches/s in batches of 1,000 and 10 times as many as one by one; 25,000 calls/s.
Every figure is the median of rounds that alternate, with the smallest and the largest.
Exit code 0: all targets are met; with --quick: everything was taken, kept and sent once. 1: a
target is missed, or something failed; the text says which. 2: wrong flags.

Examples:
  ./dev bench send                     about 3 minutes
  ./dev bench send --json --seed 7
  ./dev bench send --quick             short, for checks; its figures are rough
  ./dev bench send --only calls
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import urllib.request

import paths
import settings
from client import Client
from processes import DemoError, Processes, Service
from report import commit, machine, say, spread

TOUCHES_S_MIN = 300_000
TIMES_UNARY_MIN = 10
CALLS_S_MIN = 25_000
PARTS = ("touches", "calls")
# Name of the row -> arguments of send_load.
WAYS = {"batches of 1,000": ("stream", "--batch", "1000"),
        "batches of 10,000": ("stream", "--batch", "10000"),
        "one by one": ("unary", "--in-flight", "256")}
MAIN_WAY, UNARY = "batches of 1,000", "one by one"
IN_FLIGHT = (64, 512)
FULL = {"rounds": 5, "touches": 500_000, "unary": 30_000, "calls": 100_000}
# Enough to see that all goes well; not for figures.
QUICK = {"rounds": 1, "touches": 20_000, "unary": 2_000, "calls": 10_000}
FREE = [word for name in ("grpc", "callback", "admin") for word in ("--" + name, "127.0.0.1:0")]
# Windows that never fill.
FAR = {"amount": 1_000_000_000, "window_ms": 60_000, "lockout_ms": 1_000}
PATIENCE_SECONDS = 300
SAMPLE_SECONDS = 0.02
# Of a run of calls, the part whose CPU time is taken: neither start nor end is in it.
SAMPLED = (0.1, 0.9)
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """Of all threads of a process, user and system."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def in_rounds(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


class Bench:
    def __init__(self, folder, options, sizes):
        self._folder, self._options, self._sizes = folder, options, sizes
        self._processes = Processes(folder)
        self._files = settings.write(folder, settings.Secrets())
        cores = sorted(os.sched_getaffinity(0))
        self._own_core, self._sink_core = cores[0], cores[-1]

    def close(self):
        self._processes.kill_all()

    # ---- Touches ----

    def touches(self):
        rows = {way: {"touches_s": [], "cpu_us": []} for way in WAYS}
        for number in range(self._sizes["rounds"]):
            # None of them always goes first.
            for way in sorted(WAYS, reverse=number % 2 == 1):
                touches_s, cpu_us = self._touches_round(way, number)
                rows[way]["touches_s"].append(touches_s)
                rows[way]["cpu_us"].append(cpu_us)
                say(f"touches, round {number + 1} of {self._sizes['rounds']}, {way}: "
                    f"{touches_s:,.0f}/s, {cpu_us:.1f} us of the server's CPU each")
        unary = rows[UNARY]["touches_s"]
        return [{"way": way,
                 "touches": self._sizes["unary" if way == UNARY else "touches"],
                 **{name: in_rounds(values) for name, values in figures.items()},
                 "times_unary": in_rounds([ours / one for ours, one
                                           in zip(figures["touches_s"], unary)])}
                for way, figures in rows.items()]

    def _touches_round(self, way, number):
        messages = self._sizes["unary" if way == UNARY else "touches"]
        data = os.path.join(self._folder, "data")
        run = f"r{number}"
        serve = self._serve(data, self._files.limits, "127.0.0.1:9", ["--set", "send=false"])

        def load(verb, *more):
            return self._run("send_load", verb, "--grpc", serve.ports["grpc"], "--corp",
                             settings.CORP, "--run", run, "--messages", str(messages), "--seed",
                             str(self._options.seed), *more)

        before = cpu_seconds(serve.pid)
        sent = load(*WAYS[way])
        cpu = cpu_seconds(serve.pid) - before
        serve.kill()
        if (sent["acknowledged"], sent["repeats"]) != (messages, 0):
            raise DemoError(f"{way}: {sent} of {messages} messages")
        serve = self._serve(data, self._files.limits, "127.0.0.1:9", ["--set", "send=false"])
        there = load("check")
        if there != {"there": messages, "twice": 0, "unknown": 0}:
            raise DemoError(f"{way}: of {messages} acknowledged messages after a kill: {there}")
        serve.kill()
        shutil.rmtree(data)
        return messages / sent["seconds"], cpu / messages * 1e6

    # ---- Calls ----

    def calls(self):
        rows = {in_flight: {name: [] for name in ("calls_s", "cpu_us", "bare_calls_s",
                                                  "bare_cpu_us", "ratio", "cpu_ratio")}
                for in_flight in IN_FLIGHT}
        for number in range(self._sizes["rounds"]):
            for in_flight, row in rows.items():
                ways = [self._full_path, self._bare]
                figures = {}
                for way in ways if number % 2 == 0 else reversed(ways):
                    figures[way] = way(in_flight)
                (ours_s, ours_us), (bare_s, bare_us) = (figures[way] for way in ways)
                for name, value in (("calls_s", ours_s), ("cpu_us", ours_us),
                                    ("bare_calls_s", bare_s), ("bare_cpu_us", bare_us),
                                    ("ratio", ours_s / bare_s), ("cpu_ratio", bare_us / ours_us)):
                    row[name].append(value)
                say(f"calls, round {number + 1} of {self._sizes['rounds']}, {in_flight} in flight: "
                    f"{ours_s:,.0f}/s, {ours_us:.1f} us CPU each; bare {bare_s:,.0f}/s, "
                    f"{bare_us:.1f} us")
        return [{"in_flight": in_flight, "calls": self._sizes["calls"],
                 **{name: in_rounds(values) for name, values in row.items()}}
                for in_flight, row in rows.items()]

    def _full_path(self, in_flight):
        """(calls/s, microseconds of CPU a call) of `tidegate serve`."""
        data = os.path.join(self._folder, "data")
        self._run("call_load", "fill", "--data-dir", data, "--corp", settings.CORP,
                  "--calls", str(self._sizes["calls"]), "--seed", str(self._options.seed),
                  parse=False)
        sink = self._sink()
        serve = self._serve(data, self._limits(in_flight), sink.ports["address"],
                            pinned=self._own_core)
        figures, cpu_us = self._watch(sink, serve.process)
        client = Client(self._processes, self._program("bin/tidegate"), serve.ports["grpc"],
                        os.path.join(self._folder, "client.jsonl"), 20)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (written := client.ask("writeback", "status", "--corp", settings.CORP)
               ["tags_written"]) < self._sizes["calls"]:
            if time.monotonic() > deadline:
                raise DemoError(f"{written} outcomes of {self._sizes['calls']} are on the ledger")
            time.sleep(SAMPLE_SECONDS)
        serve.kill()
        sink.kill()
        shutil.rmtree(data)
        return figures, cpu_us

    def _bare(self, in_flight):
        """The same of the HTTP client alone."""
        sink = self._sink()
        process = self._processes.start("call_load", [
            *self._pinned(self._own_core), self._program("tests/bench/call_load"), "bare",
            "--url", "http://" + sink.ports["address"], "--calls", str(self._sizes["calls"]),
            "--in-flight", str(in_flight), "--seed", str(self._options.seed)])
        figures, cpu_us = self._watch(sink, process)
        if process.wait(PATIENCE_SECONDS) != 0:
            raise DemoError(f"call_load bare ended with exit code {process.returncode}; see "
                            f"{self._folder}/call_load.log")
        self._processes.forget(process)
        sink.kill()
        return figures, cpu_us

    def _watch(self, sink, process):
        """Until the sink has every call once: (calls/s, microseconds of CPU a call)."""
        want = self._sizes["calls"]
        samples = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with urllib.request.urlopen(f"http://{sink.ports['address']}/figures",
                                        timeout=10) as answer:
                figures = json.load(answer)
            samples.append((figures["calls"], cpu_seconds(process.pid)))
            if figures["calls"] >= want:
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"only {figures['calls']} of {want} calls came")
            time.sleep(SAMPLE_SECONDS)
        if figures["calls"] != want or figures["distinct"] != want:
            raise DemoError(f"{want} calls were to be made, and these came: {figures}")
        middle = [(calls, cpu) for calls, cpu in samples
                  if SAMPLED[0] * want <= calls <= SAMPLED[1] * want]
        # A quick run may have had no two samples in its middle.
        whole = [(0, samples[0][1]), samples[-1]]
        (calls, cpu), *_, (last_calls, last_cpu) = middle if len(middle) >= 2 else whole
        seconds = (figures["last_raw_ns"] - figures["first_raw_ns"]) / 1e9
        return (want - 1) / seconds, (last_cpu - cpu) / (last_calls - calls) * 1e6

    def _limits(self, in_flight):
        path = os.path.join(self._folder, f"limits-{in_flight}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"limits": [{"api": "*", "scope": scope, **FAR} for scope in ("corp", "ip")],
                       "in_flight": [{"api": "mark_tag", "amount": in_flight}],
                       "http_deadline_ms": 60_000}, file)
        return path

    # ---- Programs ----

    def _sink(self):
        sink = Service(self._processes, self._folder, "call_sink", [
            *self._pinned(self._sink_core), self._program("tests/bench/call_sink")])
        sink.start(["--address", "127.0.0.1:0"])
        return sink

    def _serve(self, data, limits, wecom, more=(), pinned=None):
        serve = Service(self._processes, self._folder, "tidegate", [
            *self._pinned(pinned), self._program("bin/tidegate"), "serve", "--data-dir", data,
            "--corps-file", self._files.corps, "--limits", limits, "--wecom-url",
            "http://" + wecom, *more])
        serve.start(FREE, PATIENCE_SECONDS)
        serve.wait_ready(PATIENCE_SECONDS)
        return serve

    def _run(self, program, *arguments, parse=True):
        code, out, err = self._processes.run(
            [self._program("tests/bench/" + program), *arguments])
        if code != 0:
            raise DemoError(f"{program} {arguments[0]} ended with exit code {code}: "
                            + (err.strip() or out.strip())[-500:])
        return json.loads(out) if parse else None

    @staticmethod
    def _pinned(core):
        return [] if core is None else ["taskset", "--cpu-list", str(core)]

    def _program(self, path):
        return os.path.join(self._options.build, path)


def failures(result):
    """Sentences; empty = every target is met."""
    for row in result.get("touches", []):
        if row["way"] != MAIN_WAY:
            continue
        if row["touches_s"]["median"] < TOUCHES_S_MIN:
            yield (f"touches, {MAIN_WAY}: {row['touches_s']['median']:,.0f}/s, wanted "
                   f"{TOUCHES_S_MIN:,}")
        if row["times_unary"]["median"] < TIMES_UNARY_MIN:
            yield (f"touches, {MAIN_WAY}: {row['times_unary']['median']:.1f} times as many as "
                   f"{UNARY}, wanted {TIMES_UNARY_MIN}")
    calls = result.get("calls", [])
    if calls and (best := max(row["calls_s"]["median"] for row in calls)) < CALLS_S_MIN:
        yield f"calls: {best:,.0f}/s, wanted {CALLS_S_MIN:,}"


def for_people(result):
    """Lines of text."""
    on = result["machine"]
    lines = [f"{on['cpus']} CPUs ({on['cpu']}), {on['memory_gb']} GB, load {on['load_before']:.1f} "
             f"before, {on['load_after']:.1f} after; commit {result['commit']}, "
             f"seed {result['seed']}, {result['seconds']:.0f} s"]
    if result.get("touches"):
        lines += ["", f"{'touches':19}{'touches/s':>32}  {'CPU us a touch':>20}  times {UNARY}"]
    for row in result.get("touches", []):
        lines.append(f"{row['way']:19}{spread(row['touches_s'], 0):>32}  "
                     f"{spread(row['cpu_us'], 1):>20}  {spread(row['times_unary'], 1)}")
    if result.get("calls"):
        lines += ["", f"{'calls in flight':19}{'calls/s':>32}  {'CPU us a call':>20}  "
                      f"{'bare calls/s':>32}  {'CPU us a call':>20}  ratio, by CPU time"]
    for row in result.get("calls", []):
        lines.append(f"{row['in_flight']:<19}{spread(row['calls_s'], 0):>32}  "
                     f"{spread(row['cpu_us'], 1):>20}  {spread(row['bare_calls_s'], 0):>32}  "
                     f"{spread(row['bare_cpu_us'], 1):>20}  {spread(row['ratio'], 2)}, "
                     f"{spread(row['cpu_ratio'], 2)}")
    lines += [f"MISSED   {text}" for text in result["failures"]]
    if not result["quick"]:
        lines.append("All targets are met." if not result["failures"]
                     else f"{len(result['failures'])} targets are missed.")
    return "\n".join(lines)


def run(options, folder):
    began = time.monotonic()
    result = {"machine": machine(), "commit": commit(), "seed": options.seed,
              "quick": options.quick}
    bench = Bench(folder, options, QUICK if options.quick else FULL)
    try:
        for part in options.only:
            result[part] = getattr(bench, part)()
    finally:
        bench.close()
    result["machine"]["load_after"] = os.getloadavg()[0]
    result["seconds"] = round(time.monotonic() - began, 1)
    result["failures"] = [] if options.quick else list(failures(result))
    return result


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench send", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true",
                        help="one JSON object on standard output, all else on standard error")
    parser.add_argument("--quick", action="store_true", help="short and rough; judges no target of speed")
    parser.add_argument("--seed", type=int, help="of the customers' ids (random if absent)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
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
    for program in ("tests/bench/send_load", "tests/bench/call_load", "tests/bench/call_sink",
                    "bin/tidegate"):
        if not os.access(os.path.join(options.build, program), os.X_OK):
            parser.error(f"{options.build}/{program} is missing: run ./dev bench send, which "
                         "builds it")
    return options


def main(arguments=None):
    options = parse(arguments)
    folder = tempfile.mkdtemp(prefix="tidegate-bench-")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        result = run(options, folder)
    except KeyboardInterrupt:
        return 130
    except DemoError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(result))
        for text in result["failures"]:
            say(f"MISSED {text}")
    else:
        print(for_people(result))
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
