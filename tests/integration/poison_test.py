"""Poison on every topic of real processes on a real Kafka: garbage in headers and values, events of
an unknown corp, records of 10 MB. What belongs to tagging becomes a dead letter with its reason and
position, everything else is skipped and told in the log; no process ends, and every partition goes
on."""

import glob
import json
import os
import shutil
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

import settings  # noqa: E402
from deployment import PARTITIONS  # noqa: E402  (it makes tests/kafka and tests/judge importable)
from short_run import REPLICAS, ShortRun, customer, member  # noqa: E402

import needs_kafka  # noqa: E402
import kafka_journals  # noqa: E402

BUILD = os.path.dirname(os.environ["TIDEGATE_BIN"])
GARBAGE = b"\xff\xff\xfe poison"
LARGE = 10_000_000
ANSWER_SECONDS = 30


class PoisonTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="tidegate-poison-")
        run = ShortRun(self.folder, BUILD, seed=13)
        self.run_ = run.__enter__()
        self.addCleanup(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        self.addCleanup(lambda: run.__exit__(None, None, None))

    def test_no_record_stops_a_partition(self):
        run = self.run_
        run.start()
        self.kafka = kafka_journals.debian_module("confluent_kafka", "python3-confluent-kafka")
        self.bootstrap = run.deployment.cluster.bootstrap_servers
        self.schema = kafka_journals.Schema()
        # The product checks its topics when it starts, so they get their settings back.
        usual = self.allow_records("events", LARGE + 1_000_000)
        sent = self.put_poison()
        self.assertNotEqual(self.allow_records("events", usual), usual)

        # Everything works as if nothing had been: imports, rules, a campaign.
        run.prepare()
        run.launch()
        report = run.finish()
        self.assertEqual(report["touches_parked"], 0)
        self.assertGreater(report["touches_sent"], 0)
        for replica in run.deployment.replicas:
            self.assertIsNone(replica.process.poll(), replica.log_path)
        # A restart meets all of it again.
        for service in ("tagging", "dispatch", "segmentation"):
            for replica in run.deployment.of(service):
                self.assertEqual(replica.terminate(), 0, service)
                replica.start_again(60)
        self.check_dead_letters(sent)
        self.check_logs(sent)
        codes = run.deployment.terminate()
        self.assertEqual(set(codes.values()), {0}, codes)
        verdict = run.judge()
        self.assertEqual(verdict["violations"], [])
        void = {row["partition"]: row["void"] for row in verdict["journal"]}
        for topic, partition, _ in sent["journals"]:
            self.assertGreaterEqual(void[f"tidegate.{topic}/{partition}"], 3)
        print(f"{sum(map(len, sent.values()))} poison records: {len(sent['events'])} dead letters, "
              f"{report['calls']} calls made behind them", file=sys.stderr)

    # ---- Putting it there ----

    def allow_records(self, topic, bytes_max):
        """Sets max.message.bytes, and nothing else; returns what it was."""
        admin = kafka_journals.debian_module("confluent_kafka.admin", "python3-confluent-kafka")
        client = admin.AdminClient({"bootstrap.servers": self.bootstrap})

        def resource(**more):
            return admin.ConfigResource(admin.ConfigResource.Type.TOPIC, "tidegate." + topic,
                                        **more)

        found, = [future.result(ANSWER_SECONDS)
                  for future in client.describe_configs([resource()]).values()]
        now = {entry.name: entry.value for entry in found.values()
               if entry.source == admin.ConfigSource.DYNAMIC_TOPIC_CONFIG.value}
        for future in client.alter_configs([resource(
                set_config={**now, "max.message.bytes": str(bytes_max)})]).values():
            future.result(ANSWER_SECONDS)
        return int(now["max.message.bytes"])

    def put_poison(self):
        """{group: [(topic, partition, offset) + more]}."""
        producer = self.kafka.Producer({
            "bootstrap.servers": self.bootstrap, "message.max.bytes": LARGE + 1_000_000,
            "queue.buffering.max.kbytes": 1_000_000})
        sent = {"events": [], "folded": [], "definitions": [], "journals": []}

        def put(group, topic, partition, value, header=None, *more):
            def note(error, message):
                self.assertIsNone(error)
                sent[group].append((topic, partition, message.offset(), *more))
            producer.produce("tidegate." + topic, value, b"poison", partition,
                             headers=[] if header is None else [("tidegate", header)],
                             on_delivery=note)
            producer.poll(0)

        def event(**more):
            return self.schema.value_bytes("events", {
                "corp": settings.CORP, "customer": customer(0), "source": "poison",
                "event_id": "poison", "kind": "order_paid",
                "order": {"order_id": "poison", "amount_fen": 1}, **more})

        command = self.schema.value_bytes("commands", {
            "corp": settings.CORP, "member": member(0), "customer": customer(0),
            "mark_tag": {"add": ["vip"]}})
        for partition in range(PARTITIONS):
            put("events", "events", partition, GARBAGE, None, "not a CustomerEvent", GARBAGE)
            put("events", "events", partition, event(corp_revision=99), GARBAGE,
                "header", event(corp_revision=99))
            put("events", "events", partition, event(corp="wwnobody", corp_revision=99), None,
                "unknown corp", event(corp="wwnobody", corp_revision=99))
            large = event(order={"order_id": "o" * LARGE, "amount_fen": 1})
            put("events", "events", partition, large, None, "first 100000 of", large[:100_000])
            for topic in ("profiles", "memberships"):
                put("journals", topic, partition, GARBAGE, None)
                put("journals", topic, partition, GARBAGE, GARBAGE)
                put("journals", topic, partition, b"", None)
        for lane in range(REPLICAS):
            put("folded", "commands", lane, GARBAGE, None)
            put("folded", "commands", lane, command, GARBAGE)
            put("folded", "commands", lane, command, None)
            put("folded", "audiences", lane, GARBAGE, None)
            put("folded", "audiences", lane, GARBAGE, GARBAGE)
            put("folded", "audiences", lane, b"", None)
            put("journals", "ledger", lane, GARBAGE, None)
            put("journals", "ledger", lane, GARBAGE, GARBAGE)
            put("journals", "ledger", lane, b"", None)
        put("definitions", "definitions", 0, GARBAGE, None)
        put("definitions", "definitions", 0, GARBAGE, GARBAGE)
        self.assertEqual(producer.flush(ANSWER_SECONDS), 0)
        return sent

    # ---- What became of it ----

    def check_dead_letters(self, sent):
        found = {}

        def take(partition, record):
            dead = record["value"]
            at = dead.get("input"), int(dead.get("position", 0))
            self.assertNotIn(at, found, "told once")
            self.assertEqual(at[0], f"tidegate.events/{partition}")
            found[at] = dead

        self.read("dead-letters", take)
        self.assertEqual(sorted(found), sorted((f"tidegate.events/{partition}", offset)
                                               for _, partition, offset, *_ in sent["events"]))
        for _, partition, offset, reason, value in sent["events"]:
            dead = found[f"tidegate.events/{partition}", offset]
            self.assertIn(reason, dead["reason"])
            self.assertEqual(self.schema.value_bytes("dead-letters", dead).count(value), 1)

    def check_logs(self, sent):
        told = set()
        for path in glob.glob(os.path.join(self.folder, "logs", "*.log")):
            with open(path, encoding="utf-8") as file:
                for text in file:
                    if not text.startswith("{"):
                        continue
                    line = json.loads(text)
                    self.assertNotIn(line["event"], ("partition_failed", "exit_failed",
                                                     "exit_fenced"), text)
                    if line["event"] == "record_skipped":
                        told.add((line["input"], int(line["offset"])))
        for topic, partition, offset in sent["folded"]:
            self.assertIn((f"tidegate.{topic}/{partition}", offset), told)

    def read(self, topic, consume):
        source = kafka_journals.KafkaSource(self.bootstrap, self.schema)
        try:
            source.read(topic, consume)
        finally:
            source.close()


if __name__ == "__main__":
    needs_kafka.main(
        also=lambda: kafka_journals.debian_module("confluent_kafka", "python3-confluent-kafka"),
        missing=(kafka_journals.Unavailable,))
