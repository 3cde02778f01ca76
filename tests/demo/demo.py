#!/usr/bin/env python3
"""The whole way of a message on one machine: from the first callback to the last confirmed message.

Starts the simulated WeCom and `tidegate serve` on free ports, imports customers and purchases,
welcomes and tags customers, sends a campaign paced by limits that bind, and lets the judge say what
was true.
Exit code 0: all is as it should be. 1: an expectation failed. 2: wrong flags. 77: SKIPPED, since no
Kafka is to be had.

Examples:
  ./dev demo
  ./dev demo --window fixed --seed 7
  ./dev demo --kill 20 --seed 7 --json
  ./dev demo --kafka --nodes 3 --replicas 2
  ./dev demo --out out          keep all logs, so that every figure can be computed again
  ./dev demo --keep             leave everything running to try commands by hand
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

import cdnow
import kafka_kill_runs
import kill_runs
import settings
import summary
from client import Client
from deployment import SERVICES, ManyProcesses, NoKafka, OneProcess
from processes import DemoError, Processes, Service
from settling import settle
from simulator import Simulator

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WATCHDOG_SECONDS = 300
# On Kafka, perhaps with many kills.
LONG_WATCHDOG_SECONDS = 590
# The rules ask for the day: do not begin just before it changes.
MIDNIGHT_SECONDS = 20
SETTLE_POLL_SECONDS = 0.5
# How long the client goes on trying while the server is away.
WAIT_SECONDS = 60


class Demo:
    def __init__(self, options, folder):
        self._options = options
        self._folder = folder
        self._began = time.monotonic()
        self._processes = Processes(folder)
        self._patience = LONG_WATCHDOG_SECONDS if options.kafka else WATCHDOG_SECONDS
        self._watchdog = threading.Timer(self._patience, self._give_up)
        self._watchdog.daemon = True
        self._watchdog.start()
        self._killer = None
        self._deployment = None
        self._binary = os.path.join(options.build, "bin", "tidegate")

    def close(self):
        self._watchdog.cancel()
        self._processes.kill_all()
        if self._deployment:
            self._deployment.close()

    def run(self):
        """The whole demo: what --json prints, or None with --keep."""
        source = cdnow.locate(REPOSITORY, self._folder)
        self._say(f"data: {source.purchases:,} purchases of {source.customers:,} customers "
                  f"({source.name}); seed {self._options.seed}, {self._options.window} windows; "
                  f"files in {self._folder}")
        if cdnow.seconds_to_midnight() < MIDNIGHT_SECONDS:
            self._say("the corp's day ends in a moment: waiting for the next one")
            time.sleep(cdnow.seconds_to_midnight() + 1)
        self._start(source)
        self._define()
        self._simulator.post("/control/add_customers", {
            "corp_id": settings.CORP, "customers": settings.added_customers(cdnow.owner_of),
            "per_second": settings.ADDED_PER_SECOND})
        today = cdnow.corp_day()
        ingest = self._import(source, today)
        if self._options.kill or self._options.kill_brokers or self._options.stop:
            self._start_kills()
        segments = [self._count(expression, today) for expression in settings.SEGMENTS]
        plan = self._create()
        report = self._send()
        settle(self._client, self._simulator, settings.CORP, SETTLE_POLL_SECONDS)
        self._say("all tags are written, all welcomes sent, all callbacks delivered")
        run = {
            "seed": self._options.seed, "window_kind": self._options.window,
            "kill": self._options.kill, "kill_brokers": self._options.kill_brokers,
            "stop": self._options.stop, "kafka": self._options.kafka, "folder": self._folder,
            "added": settings.ADDED,
            "data": {"source": source.name, "customers": source.customers,
                     "purchases": source.purchases},
            "ingest": ingest, "segments": segments, "plan": plan, "report": report,
            "kills": self._killer.kills if self._killer else [],
            "broker_kills": getattr(self._killer, "broker_kills", []),
            "stops": getattr(self._killer, "stops", []),
            "callbacks_exhausted": self._simulator.status()["callbacks"]["exhausted"],
            "exit_codes": {},
        }
        self._save("truth.json", self._simulator.get(f"/control/truth?corp={settings.CORP}"))
        if not self._options.keep:
            run["exit_codes"] = self._deployment.terminate()
            run["exit_codes"]["wecom_simulator"] = self._wecom.terminate()
        self._deployment.export(self._client, self._path("journals"))
        verdict = self._judge(source)
        journals = self._deployment.judge_journals(self._folder)
        self._save("journals-verdict.json", journals)
        run["seconds"] = round(time.monotonic() - self._began, 1)
        result = summary.assemble(run, verdict, journals, self._deployment.describe())
        self._save("result.json", result)
        return result

    def leave_running(self):
        """Forgets the processes and says how to use and end them."""
        self._watchdog.cancel()
        grpc = self._deployment.grpc
        tidegate = f"{os.path.relpath(self._binary)} --grpc {grpc}"
        corp = f"--corp {settings.CORP}"
        return "\n".join([
            f"grpc {grpc}, callback {self._deployment.callback}, "
            f"admin {self._deployment.admin}, WeCom {self._wecom.ports['address']}; try:",
            f"  {tidegate} campaign report {corp} --id {settings.CAMPAIGN}",
            f'  {tidegate} segment count \'tag("vip") and tag("loyal")\' {corp}',
            f"  {tidegate} quota list {corp}",
            f"  {tidegate} doubt list {corp}",
            f"  curl -s http://{self._deployment.admin}/metrics",
            "to end them: " + "; ".join([
                f"kill {' '.join(map(str, self._deployment.pids()))} {self._wecom.pid}",
                *self._deployment.end_commands(), f"rm -r {self._folder}"]),
        ])

    def why(self, error):
        """What went wrong first: a server that did not come back makes every call fail."""
        first = self._killer.error if self._killer else None
        return error if first in (None, error) else f"{first}\nthen: {error}"

    def _start(self, source):
        keys = settings.Secrets()
        files = settings.write(self._folder, keys)
        self._wecom = Service(self._processes, self._folder, "wecom_simulator", [
            os.path.join(self._options.build, "bin", "wecom_simulator"),
            "--seed", str(self._options.seed), "--window", self._options.window,
            "--limits", files.limits, "--witness", self._path("witness.jsonl")])
        self._wecom.start(["--address", "127.0.0.1:0"])
        self._simulator = Simulator(self._wecom.ports["address"])
        self._customers = cdnow.customers_of(source)
        self._simulator.post("/control/seed", {
            "corp_id": settings.CORP,
            "apps": [{"agent_id": settings.AGENT, "secret": keys.secret, "token": keys.token,
                      "aes_key": keys.aes_key}],
            "members": [f"m{number:03d}" for number in range(cdnow.MEMBERS)],
            "tags": settings.tags(),
            "customers": [{"external_userid": customer, "member": owner}
                          for customer, owner in self._customers]})
        self._deployment = self._deploy(files)
        took_ms = self._deployment.start()
        self._simulator.post("/control/callback_url", {
            "corp_id": settings.CORP, "agent_id": settings.AGENT,
            "callback_url": f"http://{self._deployment.callback}/callback/"
                            f"{settings.CORP}/{settings.AGENT}"})
        self._client = Client(self._processes, self._binary, self._deployment.grpc,
                              self._path("client.jsonl"), WAIT_SECONDS)
        self._say(f"started in {took_ms:.0f} ms: {self._deployment.grpc}")

    def _deploy(self, files):
        arguments = (self._processes, self._folder, self._options.build, files,
                     self._wecom.ports["address"])
        if not self._options.kafka:
            return OneProcess(*arguments)
        self._say(f"starting Kafka, {self._options.nodes} nodes")
        return ManyProcesses(*arguments, self._options.nodes, self._options.replicas,
                             stay=self._options.keep)

    def _define(self):
        for channel in settings.CHANNELS:
            self._client.ask("channel", "add", "--corp", settings.CORP, "--id", channel,
                             "--state", channel, "--tag", settings.channel_tag(channel),
                             "--welcome", f"Welcome! You came by our {channel}.")
        for tag, condition in settings.RULES:
            self._client.ask("rule", "add", "--corp", settings.CORP, "--id", tag,
                             "--when", condition, "--on", "order_paid", "--tag", tag)
        self._say(f"{len(settings.CHANNELS)} channels and {len(settings.RULES)} rules defined")

    def _import(self, source, today):
        cdnow.write_customers_csv(self._customers, self._path("customers.csv"))
        shift = (today - source.last_day).days
        answers = [
            self._client.work("import", "customers", self._path("customers.csv"),
                              "--corp", settings.CORP),
            self._client.work("import", "purchases", source.path, "--corp", settings.CORP,
                              "--format", "cdnow", "--shift-days", str(shift))]
        events = sum(answer["published"] for answer in answers)
        seconds = sum(answer["seconds"] for answer in answers)
        self._say(f"imported {events:,} events in {seconds:.1f} s")
        return {"events": events, "seconds": round(seconds, 3),
                "events_per_second": round(events / max(seconds, 0.001), 1)}

    def _start_kills(self):
        kill_runs.set_faults(self._simulator)
        if self._options.kafka:
            self._killer = kafka_kill_runs.KafkaKiller(self._deployment, self._simulator,
                                                       self._options, self._began, self._say)
            self._killer.start()
            return
        server = self._deployment.server
        self._killer = kill_runs.Killer(server, self._deployment.addresses(), self._simulator,
                                        self._options.kill, self._options.seed, self._began,
                                        self._say)
        self._killer.start()

    def _count(self, expression, today):
        answer = self._client.ask("segment", "count", expression, "--corp", settings.CORP,
                                  "--as-of", today.isoformat())
        self._say(f"segment {expression}: {answer['count']:,}")
        return {"expression": expression, "count": answer["count"], "took_ms": answer["took_ms"]}

    def _create(self):
        arguments = ["campaign", "create", "--corp", settings.CORP, "--id", settings.CAMPAIGN,
                     "--audience", settings.AUDIENCE]
        for variant in settings.VARIANTS:
            arguments += ["--variant", variant]
        answer = self._client.ask(*arguments, "--validate-only")
        plan = answer.get("plan", answer)
        self._client.ask(*arguments)
        self._say(f"plan: {plan['calls']} calls to {plan['audience']:,} customers, "
                  f"{plan['forecast_seconds']:.1f} s by the limits")
        return {name: plan.get(name, {} if name == "skipped_by_reason" else 0)
                for name in ("audience", "skipped_by_reason", "calls", "forecast_seconds")}

    def _send(self):
        which = ["--corp", settings.CORP, "--id", settings.CAMPAIGN]
        self._client.ask("campaign", "launch", *which)
        self._say("launched")
        self._client.work("campaign", "watch", *which, "--timeout", str(self._patience))
        if self._killer:
            self._killer.tell_campaign_over()
            self._killer.join()
            if self._killer.error:
                raise self._killer.error
        return self._client.ask("campaign", "report", *which)

    def _judge(self, source):
        code, out, err = self._processes.run([
            sys.executable, os.path.join(REPOSITORY, "tests", "judge", "judge.py"), "--json",
            "--witness", self._path("witness.jsonl"), "--client-log", self._path("client.jsonl"),
            "--journals", self._path("journals"), "--limits", self._path("limits.json"),
            "--purchases", source.path, "--campaign", settings.CAMPAIGN])
        if code not in (0, 1):
            raise DemoError(err.strip())
        verdict = json.loads(out)
        self._save("verdict.json", verdict)
        return verdict

    def _say(self, text):
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", file=sys.stderr, flush=True)

    def _save(self, name, value):
        with open(self._path(name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)

    def _path(self, name):
        return os.path.join(self._folder, name)

    def _give_up(self):
        self._say(f"not done after {self._patience} s: given up; logs in {self._folder}")
        self._processes.kill_all()
        os._exit(1)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true",
                        help="one JSON object on standard output, all else on standard error")
    parser.add_argument("--seed", type=int, help="all chance comes from it (random if absent)")
    parser.add_argument("--window", choices=("fixed", "sliding"), default="sliding",
                        help="how the simulated WeCom counts calls (default sliding)")
    parser.add_argument("--kill", type=int, default=0, metavar="N",
                        help="kill `tidegate serve`, or the services' processes with --kafka, N "
                             "times while they work (default 0)")
    parser.add_argument("--kafka", action="store_true",
                        help="every service in processes of its own on a real Kafka, started here")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1,
                        help="brokers of that Kafka (default 1)")
    parser.add_argument("--replicas", type=int, default=2, metavar="R",
                        help="processes of each service with --kafka (default 2)")
    parser.add_argument("--kill-brokers", type=int, default=0, metavar="N",
                        help="with --kafka --nodes 3: kill the broker that leads the ledger N times")
    parser.add_argument("--stop", type=int, default=0, metavar="N",
                        help="with --kafka: stop a process for 8 s, N times, while another one "
                             "takes its place")
    parser.add_argument("--out", metavar="DIR", help="keep all logs here (a new or empty folder)")
    parser.add_argument("--keep", action="store_true",
                        help="leave all running and say what to try")
    parser.add_argument("--build", metavar="DIR", default=os.path.join(REPOSITORY, "build", "dev"),
                        help="where the programs were built (default build/dev)")
    options = parser.parse_args(arguments)
    if options.kill < 0:
        parser.error("--kill must not be negative")
    if options.kill_brokers and options.nodes != 3:
        parser.error("--kill-brokers needs --kafka --nodes 3: one of three can be missing")
    if (options.kill_brokers or options.stop or options.nodes != 1) and not options.kafka:
        parser.error("--nodes, --kill-brokers and --stop need --kafka")
    if options.replicas < 1:
        parser.error("--replicas must be at least 1")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 31)
    elif options.seed < 0:
        parser.error("--seed must not be negative")
    if options.out and os.path.isdir(options.out) and os.listdir(options.out):
        parser.error(f"--out {options.out} is not empty")
    options.build = os.path.abspath(options.build)
    services = [f"tidegate-{service}" for service in SERVICES] if options.kafka else []
    for name in ("tidegate", "wecom_simulator", *services):
        if not os.access(os.path.join(options.build, "bin", name), os.X_OK):
            parser.error(f"{options.build}/bin/{name} is missing: run `./dev build` first")
    return options


def main(arguments=None):
    options = parse(arguments)
    if options.out:
        folder = os.path.abspath(options.out)
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o700)
    else:
        folder = tempfile.mkdtemp(prefix="tidegate-demo-")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    demo = Demo(options, folder)
    left_running = False
    try:
        result = demo.run()
        if options.keep:
            left_running = True
    except KeyboardInterrupt:
        print(f"interrupted; logs in {folder}", file=sys.stderr)
        return 130
    except NoKafka as error:
        print(f"SKIPPED demo --kafka: {error}")
        demo.close()
        if not options.out:
            shutil.rmtree(folder)
        return 77
    except DemoError as error:
        print(f"demo: {demo.why(error)}\nlogs in {folder}", file=sys.stderr)
        return 1
    finally:
        if not left_running:
            demo.close()
    if options.json:
        print(json.dumps(result))
    else:
        print(summary.for_people(result))
    if options.keep:
        print(demo.leave_running(), file=sys.stderr if options.json else sys.stdout)
    elif result["failures"] or options.out:
        print(f"logs in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
