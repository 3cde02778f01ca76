"""One deployment of the product under load: events through to a segment, and welcomes beside them.

  product = Product(folder, build, seed, kafka=False, say=print)
  try:
      product.start()
      pipeline = product.pipeline(customers=25_000, orders=4)
      welcome = product.welcome(rounds=3, seconds=15, per_second=40, load_per_second=1000)
  finally:
      product.close()
"""

import json
import os
import threading
import time

import paths
import cdnow
import settings
import stages
from client import Client
from deployment import ManyProcesses, OneProcess
from processes import DemoError, Processes, Service
from simulator import Simulator
from witness import percentile

CHANNEL = settings.CHANNELS[0]
LOAD_BATCH = 100
LOAD_AHEAD_SECONDS = 1
WELCOMES_WAIT_SECONDS = 30
COUNT_SECONDS = 300
PUBLISH_BATCH = 500
POLL_SECONDS = 0.2


class Product:
    def __init__(self, folder, build, seed, kafka, say):
        self._folder, self._build, self._seed, self._kafka, self._say = (folder, build, seed, kafka,
                                                                         say)
        self._processes = Processes(folder)
        self._deployment = None
        self._welcome_lines = []
        self._customers = 0

    def start(self):
        keys = settings.Secrets()
        files = settings.write(self._folder, keys)
        wecom = Service(self._processes, self._folder, "wecom_simulator", [
            self._program("bin/wecom_simulator"), "--seed", str(self._seed),
            "--limits", files.limits, "--witness", self._witness_path()])
        wecom.start(["--address", "127.0.0.1:0"])
        self._simulator = Simulator(wecom.ports["address"])
        self._simulator.post("/control/seed", {
            "corp_id": settings.CORP,
            "apps": [{"agent_id": settings.AGENT, "secret": keys.secret, "token": keys.token,
                      "aes_key": keys.aes_key}],
            "members": [f"m{number:03d}" for number in range(cdnow.MEMBERS)],
            "tags": settings.tags(), "customers": []})
        arguments = (self._processes, self._folder, self._build, files, wecom.ports["address"])
        self._deployment = (ManyProcesses(*arguments, 1, 1) if self._kafka
                            else OneProcess(*arguments))
        self._deployment.start()
        self._simulator.post("/control/callback_url", {
            "corp_id": settings.CORP, "agent_id": settings.AGENT,
            "callback_url": f"http://{self._deployment.callback}/callback/"
                            f"{settings.CORP}/{settings.AGENT}"})
        self._client = Client(self._processes, self._program("bin/tidegate"), self._deployment.grpc,
                              os.path.join(self._folder, "client.jsonl"), 60)
        self._client.ask("channel", "add", "--corp", settings.CORP, "--id", CHANNEL, "--state",
                         CHANNEL, "--tag", settings.channel_tag(CHANNEL), "--welcome", "Welcome!")

    def pipeline(self, customers, orders):
        """Every customer gets so many orders. From the first publish until a segment that needs all
        of them is counted right."""
        events = customers * orders
        load = self._load("--per-second", "0", "--events", str(events), "--batch",
                          str(PUBLISH_BATCH), "--customers", str(customers))
        count = self._count(f"orders.count >= {orders}")
        end_raw_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        over = self._count(f"orders.count >= {orders + 1}")
        seconds = (end_raw_ns - load["begin_raw_ns"]) / 1e9
        figures = {"events": events, "seconds": round(seconds, 3),
                   "events_s": round(events / seconds, 1),
                   "publish_seconds": round(load["seconds"], 3),
                   "count": count, "count_expected": customers, "count_over": over}
        self._say(f"{self._name}: {events:,} events in {seconds:.1f} s, "
                  f"{figures['events_s']:,.0f}/s (published after {load['seconds']:.1f} s)")
        return figures

    def welcome(self, rounds, seconds, per_second, load_per_second):
        """Customers come by a channel code while purchases go on; figures of all rounds together."""
        taken, all_ages = [], []
        for number in range(rounds):
            ages, load = self._welcome_round(number, seconds, per_second, load_per_second)
            all_ages += ages
            taken.append({"count": len(ages), "asked": seconds * per_second,
                          "p50_ms": percentile(ages, 50), "p99_ms": percentile(ages, 99),
                          "max_ms": max(ages, default=0),
                          "load_per_second": round(load["published"] / load["seconds"], 1)})
            self._say(f"{self._name}: welcomes {taken[-1]}")
        return {"p50_ms": percentile(all_ages, 50), "p99_ms": percentile(all_ages, 99),
                "p99_ms_min": min(each["p99_ms"] for each in taken),
                "p99_ms_max": max(each["p99_ms"] for each in taken),
                "count": sum(each["count"] for each in taken),
                "asked": sum(each["asked"] for each in taken),
                "load_per_second": load_per_second,
                "load_per_second_min": min(each["load_per_second"] for each in taken),
                "rounds": taken}

    def stages(self):
        """Where the welcomes' time went. Ends the processes."""
        self._deployment.terminate()
        import kafka_journals
        schema = kafka_journals.Schema()
        if self._kafka:
            source = kafka_journals.KafkaSource(self._deployment.cluster.bootstrap_servers, schema)
        else:
            folder = os.path.join(self._folder, "journals")
            self._deployment.export(self._client, folder)
            source = kafka_journals.ExportSource(folder, schema)
        return stages.figures(source.read, self._welcome_lines)

    def close(self):
        self._processes.kill_all()
        if self._deployment:
            self._deployment.close()

    @property
    def _name(self):
        return "kafka" if self._kafka else "embedded"

    def _welcome_round(self, number, seconds, per_second, load_per_second):
        load = {}

        def run_load():
            try:
                load.update(self._load(
                    "--per-second", str(load_per_second), "--batch", str(LOAD_BATCH), "--seconds",
                    str(seconds + 2 * LOAD_AHEAD_SECONDS), "--source", f"load-{number}"))
            except DemoError as error:
                load["error"] = error

        thread = threading.Thread(target=run_load)
        thread.start()
        time.sleep(LOAD_AHEAD_SECONDS)
        first = self._customers
        self._customers += seconds * per_second
        self._simulator.post("/control/add_customers", {
            "corp_id": settings.CORP, "per_second": per_second,
            "customers": [{"external_userid": "wm9" + str(each).zfill(29),
                           "member": cdnow.owner_of(each), "state": CHANNEL}
                          for each in range(first, self._customers)]})
        thread.join()
        if "error" in load:
            raise load["error"]
        deadline = time.monotonic() + WELCOMES_WAIT_SECONDS
        while len(lines := self._welcomes()) < self._customers and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        fresh = lines[len(self._welcome_lines):]
        self._welcome_lines = lines
        return [line["age_ms"] for line in fresh], load

    def _welcomes(self):
        with open(self._witness_path(), encoding="utf-8") as file:
            lines = [json.loads(text) for text in file
                     if text.endswith("\n") and '"send_welcome_msg"' in text]
        return [line for line in lines if line["verdict"] == "executed"]

    def _count(self, expression):
        return self._client.ask("segment", "count", expression, "--corp", settings.CORP,
                                "--timeout", str(COUNT_SECONDS))["count"]

    def _load(self, *arguments):
        code, out, err = self._processes.run([
            self._program("tests/bench/publish_load"), "--grpc", self._deployment.grpc,
            "--corp", settings.CORP, *arguments])
        if code != 0:
            raise DemoError(f"publish_load ended with exit code {code}: {err.strip() or out}")
        return json.loads(out)

    def _program(self, path):
        return os.path.join(self._build, path)

    def _witness_path(self):
        return os.path.join(self._folder, "witness.jsonl")
