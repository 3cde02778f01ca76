"""The judge of journals on a small run made by hand: the good run is valid, and each planted
fault is found by its check. One test hands the run to a real Kafka (one SKIPPED line where there is
none).
Run: python3 -m unittest discover -s tests/judge -p '*_test.py'"""

import base64
import contextlib
import copy
import hashlib
import io
import json
import os
import sys
import tempfile
import time
import unittest
import uuid

import journals
import kafka_checks
import kafka_journals
import kafka_judge
import witness
from kafka_journals import MESSAGES, NS_PER_MS, KafkaRecord, Processes, Schema

HERE = os.path.dirname(os.path.abspath(__file__))
CORP = "wwtest"
BEGIN_MS = 1_790_000_000_000
SOURCE = "shop"


def setUpModule():
    global SCHEMA
    try:
        SCHEMA = Schema()
    except kafka_journals.Unavailable as missing:
        print(f"SKIPPED kafka_judge_test: {missing}")
        raise unittest.SkipTest(str(missing)) from None


def ns(at_ms):
    return (BEGIN_MS + at_ms) * NS_PER_MS


def base64_of(data):
    return base64.b64encode(data).decode()


def iso(at_ms):
    seconds, ms = divmod(BEGIN_MS + at_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03d}+00:00"


class Row:
    """What stands on Kafka: header and value as proto JSON, or as bytes to break them."""

    def __init__(self, at_ms, key, header, value):
        self.at_ms, self.key, self.header, self.value = at_ms, key, header, value

    def header_bytes(self):
        if isinstance(self.header, bytes):
            return self.header
        return SCHEMA.header_bytes(self.header) if self.header else b""

    def value_bytes(self, topic):
        if isinstance(self.value, bytes):
            return self.value
        return SCHEMA.value_bytes(topic, self.value)


class Memory:
    """A source of the rows, as if they were read from Kafka."""

    def __init__(self, topics):
        self._topics = topics

    def read(self, topic, consume):
        for offset, row in enumerate(self._topics[topic]):
            consume(0, KafkaRecord(SCHEMA, topic, offset, row.key.encode(), BEGIN_MS + row.at_ms,
                                   (row.header_bytes(), row.value_bytes(topic))))
        return [0]


class Story:
    """A good run of four journals' partitions 0. Two events of one customer are tagged; dispatch
    makes a create (executed) and a tag write (refused by WeCom). Then dispatch 0 is stopped,
    another process takes over at 500, and the woken one appends two records that are void.
    """

    def __init__(self):
        self.topics = {topic: [] for topic in MESSAGES}
        self.witness, self.logs = [], {}
        self.client = [{"t": 1.0, "op": "publish_events", "request_id": "", "ids": ["e1", "e2"],
                        "result": "ok"},
                       {"t": 2.0, "op": "publish_events", "request_id": "", "ids": ["lost"],
                        "result": "info"}]
        self.processes = [self.process(1, "start", "tagging", 11),
                          self.process(2, "start", "segmentation", 12),
                          self.process(3, "start", "dispatch", 13),
                          self.process(200, "stop", "dispatch", 13),
                          self.process(400, "start", "dispatch", 14),
                          self.process(600, "continue", "dispatch", 13),
                          self.process(700, "exit", "dispatch", 13)]
        self.tag()
        self.fence("memberships", 1, 12, 12)
        self.dispatch()

    def process(self, at_ms, event, service, pid):
        return {"t_ns": ns(at_ms), "event": event, "service": service, "replica": 0, "pid": pid}

    def add(self, topic, at_ms, value, key="", **header):
        self.topics[topic].append(Row(at_ms, key, header, value))
        return self.topics[topic][-1]

    def fence(self, topic, epoch, at_ms, pid):
        row = self.add(topic, at_ms, {}, kind="RECORD_KIND_FENCE", epoch=epoch, fence={
            "owner": f"vm/{pid}/4711", "wall_time_ns": str(ns(at_ms))})
        self.live(topic, epoch, pid)
        return row

    def live(self, topic, epoch, pid):
        service = {"profiles": "tagging", "memberships": "segmentation", "ledger": "dispatch"}
        self.log(f"{service[topic]}-0-{pid}.log", event="partition_live", time=iso(0),
                 journal=f"tidegate.{topic}/0", epoch=str(epoch))

    def log(self, name, **line):
        self.logs.setdefault(name, ["not JSON"]).append(json.dumps(line))

    def decide(self, topic, epoch, seq, at_ms, value, key="", kind="DECISION", **header):
        return self.add(topic, at_ms, value, key, kind="RECORD_KIND_" + kind, epoch=epoch, seq=seq,
                        decided_time_ns=str(ns(at_ms)), **header)

    def tag(self):
        self.event("e1", 15)
        self.event("e2", 20)
        self.event("e1", 25)  # a repeat: dropped by tagging
        self.fence("profiles", 1, 10, 11)
        self.profile(1, 16, 1, ["e1"])
        self.profile(2, 21, 2, ["e1", "e2"])
        self.decide("profiles", 1, 3, 30, {}, kind="COVER", covers=[self.cover(3)])
        for out_seq in (1, 2, 2):
            self.add("commands", 31, {"corp": CORP, "profile_version": str(out_seq)}, "pair",
                     source={"journal": "tidegate.profiles/0", "out_seq": str(out_seq)})
        self.decide("profiles", 1, 4, 32, {}, kind="OUTBOX_MARK",
                    outbox_marks=[{"target": "tidegate.commands/0", "out_seq": "2"}])

    def event(self, event_id, at_ms):
        return self.add("events", at_ms, {
            "corp": CORP, "customer": "c1", "source": SOURCE, "event_id": event_id,
            "kind": "order_paid", "order": {"order_id": event_id}}, f"{CORP}/c1")

    def cover(self, position):
        return {"input": "tidegate.events/0", "position": str(position)}

    def profile(self, seq, at_ms, position, event_ids):
        seen = [base64_of(hashlib.sha256(f"{SOURCE}\0{each}".encode()).digest()[:16])
                for each in event_ids]
        self.decide("profiles", 1, seq, at_ms, {"profile": {
            "corp": CORP, "customer": "c1", "version": str(seq), "seen_events": seen}},
            f"{CORP}/c1", covers=[self.cover(position)])

    def dispatch(self):
        self.fence("ledger", 1, 50, 13)
        self.attempt(1, 1, 100, "add_msg_template", "one", "m1")
        self.call(101, "add_msg_template", "one", "m1", msgid="msg1")
        self.decide("ledger", 1, 2, 105, self.accepted("one"))
        self.attempt(1, 3, 110, "mark_tag", "two")
        self.call(111, "mark_tag", "two", verdict="rejected", errcode=45009)
        self.fence("ledger", 2, 500, 14)
        self.attempt(2, 4, 510, "mark_tag", "two")
        self.call(520, "mark_tag", "two")
        self.attempt(1, 4, 610, "send_welcome_msg", "late")
        self.decide("ledger", 1, 5, 611, self.accepted("late"))

    def accepted(self, body):
        return {"outcome": {"call_id": body, "attempt": 1, "msgid": "msg1",
                            "outcome_class": "OUTCOME_CLASS_ACCEPTED"}}

    def attempt(self, epoch, seq, at_ms, api, body, marker=""):
        return self.decide("ledger", epoch, seq, at_ms, {"attempt": {
            "call_id": body, "attempt": 1, "api": api, "marker": marker,
            "target": {"campaign_call": {"corp": CORP, "campaign": "spring"}},
            "request_sha256": base64_of(hashlib.sha256(body.encode()).digest())}})

    def call(self, at_ms, api, body, marker="", **more):
        self.witness.append({
            "seq": len(self.witness) + 1, "t_raw_ns": 0, "t_wall": ns(at_ms), "corp": CORP,
            "api": api, "sha256": hashlib.sha256(body.encode()).hexdigest(), "marker": marker,
            "verdict": "executed", "errcode": 0, "msgid": "", **more})

    def judge(self, source=None):
        with tempfile.TemporaryDirectory() as folder:
            self.write_logs(folder)
            run = kafka_checks.Run(kafka_judge.acknowledged_events([folder + "/client.jsonl"]))
            run.read(source or Memory(self.topics))
            return kafka_judge.verdict(run, witness.read(folder + "/witness.jsonl"), Processes(
                folder + "/processes.jsonl", folder + "/logs"), True)

    def write_logs(self, folder):
        """Everything but the journals, as the harness leaves it."""
        for name in ("witness", "client", "processes"):
            with open(f"{folder}/{name}.jsonl", "w", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in getattr(self, name))
        os.mkdir(folder + "/logs")
        for name, lines in self.logs.items():
            with open(f"{folder}/logs/{name}", "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")

    def write_export(self, folder):
        """The journals as the embedded log's export."""
        os.mkdir(folder + "/journals")
        for topic, rows in self.topics.items():
            with open(f"{folder}/journals/tidegate.{topic}-0.jsonl", "w",
                      encoding="utf-8") as file:
                for offset, row in enumerate(rows):
                    file.write(json.dumps({"offset": offset, "key": row.key, "header": row.header,
                                           "value": row.value}) + "\n")


class PlantedTest(unittest.TestCase):
    def setUp(self):
        self.story = Story()
        self.ledger = self.story.topics["ledger"]
        self.profiles = self.story.topics["profiles"]

    def assert_valid(self):
        verdict = self.story.judge()
        self.assertTrue(verdict["valid"], verdict["violations"])
        return verdict

    def assert_found(self, check, *texts):
        """Exactly this check is violated, and its evidence says so."""
        verdict = self.story.judge()
        self.assertFalse(verdict["valid"])
        told = "\n".join(f"{each['check']} {each['journal']} {each['offset']} {each['what']}"
                         for each in verdict["violations"])
        self.assertIn(check, verdict["violation_counts"], told)
        for text in texts:
            self.assertIn(text, told)
        return verdict


class GoodRunTest(PlantedTest):
    def test_figures(self):
        verdict = self.assert_valid()
        self.assertEqual([(each["partition"], each["records"], each["void"], each["fences"])
                          for each in verdict["journal"]],
                         [("tidegate.profiles/0", 4, 0, 1), ("tidegate.memberships/0", 0, 0, 1),
                          ("tidegate.ledger/0", 4, 2, 2)])
        self.assertEqual(verdict["skipped"], [])
        self.assertEqual((verdict["events_acknowledged"], verdict["calls_executed"]), (2, 2))
        self.assertEqual(verdict["fences"], {"explained": 4, "unexplained": 0})
        self.assertEqual(verdict["stops"], [{
            "service": "dispatch", "replica": 0, "pid": 13, "stopped_ns": ns(200),
            "continued_ns": ns(600), "calls_after_wake": 0, "counted_calls_after_wake": 0,
            "void_records_after_wake": 2}])

    def test_sha256_is_over_seq_key_and_value_of_what_counts(self):
        expected = hashlib.sha256()
        for row in self.profiles[1:]:
            value = row.value_bytes("profiles")
            expected.update(row.header["seq"].to_bytes(8, "big") + len(row.key).to_bytes(4, "big")
                            + row.key.encode() + len(value).to_bytes(4, "big") + value)
        self.assertEqual(self.story.judge()["journal"][0]["sha256"], expected.hexdigest())

    def test_export_says_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            self.story.write_logs(folder)
            self.story.write_export(folder)
            verdict = kafka_judge.judge(
                journals=folder + "/journals", witness=folder + "/witness.jsonl",
                client_logs=[folder + "/client.jsonl"], processes=folder + "/processes.jsonl",
                logs=folder + "/logs")
        self.assertTrue(verdict["valid"], verdict["violations"])
        self.assertEqual(verdict["journal"], self.story.judge()["journal"])

    def test_records_look_like_those_of_the_export(self):
        records = []
        Memory(self.story.topics).read("ledger", lambda _, record: records.append(record))
        found = list(journals.counted(records))
        self.assertEqual([record["offset"] for record in found], [0, 1, 2, 3, 4, 5])
        ledger = journals.Ledger()
        journals._fold_ledger(ledger, found)
        self.assertEqual(ledger.attempts["one", 1].outcome, "ACCEPTED")
        self.assertEqual(records[1]["timestamp_ms"], BEGIN_MS + 100)


class ValidityTest(PlantedTest):
    def test_dropped_record(self):
        del self.profiles[2]
        self.assert_found("K-1", "tidegate.profiles/0 2 seq 3 of epoch 1 follows 1",
                          "a record was lost")

    def test_dropped_record_before_another_owner_who_was_not_needed(self):
        self.story.processes = [each for each in self.story.processes if each["event"] != "stop"]
        self.story.processes[-1]["t_ns"] = ns(800)
        del self.ledger[1]
        self.assert_found("K-1", "vm/13/4711 was not ended before: a record was lost")

    def test_gap_of_a_failed_append_is_explained_by_the_owners_own_fence(self):
        self.story.decide("profiles", 1, 6, 40, {}, kind="COVER")
        self.story.fence("profiles", 2, 42, 11)
        self.story.log("tagging-0-11.log", event="append_failed", time=iso(41),
                       journal="tidegate.profiles/0")
        self.assertEqual(self.assert_valid()["journal"][0]["void"], 1)

    def test_gap_of_a_killed_owner_is_explained(self):
        self.story.decide("profiles", 1, 6, 40, {}, kind="COVER")
        self.story.processes += [self.story.process(41, "kill", "tagging", 11),
                                 self.story.process(43, "start", "tagging", 15)]
        self.story.fence("profiles", 2, 44, 15)
        self.assert_valid()

    def test_counted_after_a_gap(self):
        self.story.decide("profiles", 1, 6, 40, {}, kind="COVER")
        self.story.decide("profiles", 1, 5, 41, {}, kind="COVER")
        self.story.fence("profiles", 2, 42, 11)
        self.assert_found("K-1", "seq 5 counts after the gap at offset 5")

    def test_gap_of_more_than_a_batch(self):
        self.story.decide("profiles", 1, 4 + kafka_checks.BATCH_RECORDS_MAX + 1, 40, {},
                          kind="COVER")
        self.story.fence("profiles", 2, 42, 11)
        self.assert_found("K-1", "for more than one batch")

    def test_exact_repeat_is_harmless_and_another_content_is_not(self):
        self.profiles.append(copy.deepcopy(self.profiles[2]))
        self.assertEqual(self.assert_valid()["journal"][0]["void"], 1)
        self.profiles[-1].key = "other"
        self.assert_found("K-1", "seq 2 of epoch 1 comes again with another content")

    def test_another_cover_under_the_same_seq(self):
        self.profiles.append(copy.deepcopy(self.profiles[3]))
        self.assert_valid()
        self.profiles[-1].header["covers"] = [self.story.cover(4)]
        self.assert_found("K-1", "seq 3 of epoch 1 comes again with another content")

    def test_nothing_counts_before_the_first_fence(self):
        self.story.topics["memberships"].insert(0, Row(5, "", {
            "kind": "RECORD_KIND_COVER", "seq": 1}, {}))
        verdict = self.assert_found("K-1", "tidegate.memberships/0 0 epoch 0 was begun by no fence")
        self.assertEqual(verdict["journal"][1]["records"], 0)

    def test_seq_from_before_its_fence(self):
        self.story.attempt(2, 2, 530, "mark_tag", "two")
        self.assert_found("K-1", "seq 2 of epoch 2 is from before its fence")

    def test_epoch_without_fence(self):
        self.story.decide("profiles", 2, 5, 40, {}, kind="COVER")
        self.assert_found("K-1", "tidegate.profiles/0 5 epoch 2 was begun by no fence")

    def test_dropped_fence(self):
        self.profiles[0].header["epoch"] = 2
        self.assert_found("K-1", "the fence of epoch 2 follows epoch 0")

    def test_fence_that_lost_is_void(self):
        self.story.fence("ledger", 2, 505, 15)
        self.story.logs.pop("dispatch-0-15.log")
        self.assertEqual(self.assert_valid()["journal"][2]["void"], 3)

    def test_unreadable_bytes_do_not_count(self):
        self.profiles.append(Row(40, "x", b"\xff\xff", {}))
        self.profiles.append(Row(41, "x", {}, b"\xff"))
        self.assertEqual(self.assert_valid()["journal"][0]["void"], 2)

    def test_unreadable_value_of_a_record_that_would_count(self):
        self.profiles[4].value = b"\xff"
        self.assert_found("K-1", "seq 4 has a value that cannot be decoded")

    def test_cover_of_another_input_goes_back(self):
        for seq, position in ((5, 9), (6, 8)):
            self.story.decide("profiles", 1, seq, 40, {}, kind="COVER", covers=[
                {"input": "tidegate.definitions/0", "position": str(position)}])
        self.assert_found("K-1", "the cover of tidegate.definitions/0 goes back: position from 9")


class EventTest(PlantedTest):
    def test_acknowledged_event_is_not_there(self):
        self.story.client[0]["ids"].append("e3")
        self.assert_found("K-2", "event e3 was acknowledged and is not on tidegate.events")

    def test_acknowledged_event_is_not_covered(self):
        self.story.client[0]["ids"].append("e3")
        self.story.event("e3", 40)
        self.assert_found("K-2", "tidegate.events/0 3 event e3 was acknowledged and is covered by "
                          "no counted record")

    def test_profile_has_not_seen_the_event(self):
        self.profiles[2].value["profile"]["seen_events"].pop()
        self.assert_found("K-2", "event e2 is covered but the profile of wwtest/c1 at "
                          "tidegate.profiles/0 offset 2 has seen it 0 times")

    def test_profile_has_taken_the_event_twice(self):
        seen = self.profiles[2].value["profile"]["seen_events"]
        seen.append(seen[-1])
        self.assert_found("K-2", "event e2 is covered but the profile of wwtest/c1 at "
                          "tidegate.profiles/0 offset 2 has seen it 2 times")

    def test_covers_go_back(self):
        self.profiles[3].header["covers"] = [self.story.cover(1)]
        self.assert_found("K-2", "position from 2 to 1")

    def test_what_is_no_event_needs_a_dead_letter(self):
        self.story.topics["events"].append(Row(40, "k", {}, b"\xff"))
        self.assert_valid()  # not read yet
        cover = [self.story.cover(4)]
        row = self.story.decide("profiles", 1, 5, 41, {}, covers=cover)
        self.assert_found("K-2", "tidegate.events/0 3 not an event, was read, and is no dead")
        row.value = {"dead_letter": {"input": "tidegate.events/0", "position": "3"}}
        self.assert_valid()


class CallTest(PlantedTest):
    def test_repeated_executed_call(self):
        self.story.call(103, "add_msg_template", "one", "m1")
        self.assert_found("K-3", "add_msg_template with body", "executed 2 times",
                          "has no attempt of its own")

    def test_repeated_tag_write_needs_an_attempt_of_its_own(self):
        self.story.call(530, "mark_tag", "two")
        self.assert_found("K-5", "witness 4 mark_tag", "has no attempt of its own")
        self.story.call(540, "mark_tag", "two")
        self.assert_found("K-3", "witness 5 mark_tag", "has no attempt of its own")

    def test_attempt_appended_after_the_call(self):
        self.story.witness[0]["t_wall"] = ns(100)
        self.assert_valid()  # in the same millisecond
        self.story.witness[0]["t_wall"] -= 1
        self.assert_found("K-3", "tidegate.ledger/0 1 the attempt of add_msg_template",
                          "was appended 1 ns after the call")

    def test_executed_call_without_attempt(self):
        self.story.call(530, "add_msg_template", "nobody", "m9")
        self.assert_found("K-3", "witness 4 add_msg_template")

    def test_token_calls_have_no_attempt(self):
        self.story.call(1, "gettoken", "")
        self.assert_valid()

    def test_refused_call_released_though_its_attempt_is_void(self):
        self.story.call(615, "send_welcome_msg", "late", verdict="rejected", errcode=41050)
        verdict = self.assert_found("K-5", "tidegate.ledger/0 6 the attempt of send_welcome_msg",
                                    "is void", "(pid 13) made this call after it woke")
        self.assertEqual(verdict["stops"][0]["calls_after_wake"], 1)
        self.assertNotIn("K-3", verdict["violation_counts"])

    def test_late_call_of_a_counted_attempt_is_told_and_no_fault(self):
        self.story.attempt(1, 4, 190, "send_welcome_msg", "slow")
        self.ledger.insert(4, self.ledger.pop())
        for row in self.ledger[6:7]:
            row.header["seq"] = 5
        self.story.call(650, "send_welcome_msg", "slow")
        self.assertEqual(self.assert_valid()["stops"][0]["counted_calls_after_wake"], 1)

    def test_executed_call_released_though_its_attempt_is_void(self):
        self.story.call(615, "send_welcome_msg", "late")
        verdict = self.assert_found("K-3", "is void")
        self.assertIn("K-5", verdict["violation_counts"])


class FenceTest(PlantedTest):
    def test_fence_of_a_process_that_nobody_started(self):
        del self.story.processes[4]
        verdict = self.assert_found("K-4", "tidegate.ledger/0 4 the fence of epoch 2 by "
                                    "vm/14/4711: no start of pid 14 before it")
        self.assertEqual(verdict["fences"], {"explained": 3, "unexplained": 1})

    def test_further_fence_needs_a_failed_append_before_it(self):
        self.story.fence("profiles", 2, 40, 11)
        self.assert_found("K-4", "it is no. 2 of this process, and 0 append_failed lines")
        self.story.log("tagging-0-11.log", event="append_failed", time=iso(39),
                       journal="tidegate.profiles/0")
        self.assert_valid()
        self.story.fence("profiles", 3, 41, 11)
        self.assert_found("K-4", "it is no. 3 of this process, and 1 append_failed lines")

    def test_failed_append_after_the_fence_or_of_another_journal_explains_nothing(self):
        self.story.fence("profiles", 2, 40, 11)
        for at_ms, topic in ((41, "profiles"), (39, "memberships")):
            self.story.log("tagging-0-11.log", event="append_failed", time=iso(at_ms),
                           journal=f"tidegate.{topic}/0")
        self.assert_found("K-4", "0 append_failed lines")

    def test_fence_in_a_journal_of_another(self):
        self.story.processes[1]["service"] = "dispatch"
        self.assert_found("K-4", "dispatch 0 does not own this partition")

    def test_partition_of_another_replica(self):
        self.story.processes[0]["replicas"] = 2
        self.story.processes[0]["replica"] = 1
        self.assert_found("K-4", "tagging 1 does not own this partition")

    def test_live_without_fence(self):
        self.story.live("profiles", 2, 11)
        self.assert_found("K-4", "pid 11 was live in epoch 2 and has no winning fence of it")


class OutboxTest(PlantedTest):
    def test_gap(self):
        del self.story.topics["commands"][0]
        self.assert_found("outbox", "tidegate.commands/0 0 out_seq 2 of tidegate.profiles/0 "
                          "follows 0")

    def test_repeat_with_another_content(self):
        self.story.topics["commands"][2].value["customer"] = "c2"
        self.assert_found("outbox", "tidegate.commands/0 2 out_seq 2 of tidegate.profiles/0 comes "
                          "again with another content")

    def test_acknowledged_and_not_there(self):
        del self.story.topics["commands"][1:]
        self.assert_found("outbox", "was acknowledged out_seq 2 and only 1 are there")


class CommandLineTest(unittest.TestCase):
    def main(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = kafka_judge.main(arguments)
        return code, out.getvalue(), err.getvalue()

    def test_exit_codes(self):
        with tempfile.TemporaryDirectory() as folder:
            story = Story()
            story.write_logs(folder)
            story.write_export(folder)
            good = ["--journals", folder + "/journals", "--witness", folder + "/witness.jsonl",
                    "--client-log", folder + "/client.jsonl"]
            code, out, _ = self.main(*good)
            self.assertEqual(code, 0, out)
            self.assertIn("skipped, for want of input: K-4\nVALID", out)
            story.call(530, "add_msg_template", "nobody", "m9")
            with open(folder + "/witness.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(story.witness[-1]) + "\n")
            code, out, _ = self.main(*good, "--json")
            self.assertEqual((code, json.loads(out)["violation_counts"]), (1, {"K-3": 1}))
            code, _, err = self.main(*good, "--processes", folder + "/nothing")
            self.assertEqual(code, 2)
            self.assertIn("cannot read the inputs", err)
            os.mkdir(folder + "/empty")
            self.assertEqual(self.main("--journals", folder + "/empty")[0], 2)

    def test_nobody_answers(self):
        try:
            kafka_journals.debian_module("confluent_kafka", "python3-confluent-kafka")
        except kafka_journals.Unavailable as missing:
            self.skipTest(str(missing))
        kafka_journals.ANSWER_SECONDS, before = 1, kafka_journals.ANSWER_SECONDS
        try:
            code, _, err = self.main("--bootstrap", "127.0.0.1:9")
        finally:
            kafka_journals.ANSWER_SECONDS = before
        self.assertEqual(code, 2)
        self.assertIn("127.0.0.1:9 does not answer", err)


class RealKafkaTest(unittest.TestCase):
    """The good run on a broker, and the same calls as if they had come before their attempts."""

    BIG = 10_000_000

    def setUp(self):
        sys.path.insert(0, os.path.join(HERE, "..", "kafka"))
        self.addCleanup(sys.path.pop, 0)
        import cluster
        try:
            self.kafka = kafka_journals.debian_module("confluent_kafka", "python3-confluent-kafka")
            self.admin = kafka_journals.debian_module("confluent_kafka.admin", "")
            self.bootstrap = os.environ.get("TIDEGATE_TEST_KAFKA") or self.start(cluster)
        except (kafka_journals.Unavailable, cluster.KafkaUnavailable) as missing:
            print(f"SKIPPED kafka_judge_test.RealKafkaTest: {missing}")
            self.skipTest(str(missing))
        self.prefix = f"judge-{uuid.uuid4().hex[:8]}."

    def start(self, cluster):
        folder = tempfile.TemporaryDirectory(prefix="tidegate-judge-")
        self.addCleanup(folder.cleanup)
        started = cluster.Cluster.start(folder.name, 1)
        self.addCleanup(started.stop, 0)
        return started.bootstrap_servers

    def make_topics(self):
        admin = self.admin.AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        made = admin.create_topics([self.admin.NewTopic(
            self.prefix + topic, 2 if topic in ("events", "profiles") else 1, 1, config={
                "message.timestamp.type": "LogAppendTime", "max.message.bytes": "12000000"})
            for topic in MESSAGES])
        for future in made.values():
            future.result(60)

    def produce(self, topics):
        """In order of the rows' times over all topics, one acknowledged after the other."""
        failed = []
        producer = self.kafka.Producer({
            "bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 0, "log_level": 0,
            "enable.idempotence": True, "message.max.bytes": 12_000_000})
        for topic, rows in topics.items():
            for row in rows:
                header = row.header_bytes()
                producer.produce(
                    self.prefix + topic, row.value_bytes(topic), row.key, partition=0,
                    headers=[("tidegate", header)] if header else None,
                    on_delivery=lambda error, _: failed.append(error) if error else None)
        self.assertEqual(producer.flush(60), 0)
        self.assertEqual(failed, [])

    def judge(self, story):
        with tempfile.TemporaryDirectory() as folder:
            story.write_logs(folder)
            return kafka_judge.judge(
                self.bootstrap, topic_prefix=self.prefix, witness=folder + "/witness.jsonl",
                client_logs=[folder + "/client.jsonl"], deadline_seconds=60)

    def test_run_on_a_real_broker(self):
        story = Story()
        story.add("dead-letters", 40, {"input": "x", "value": base64_of(os.urandom(self.BIG))})
        story.add("profiles", 41, {}).header = b"\xff\xff"
        self.make_topics()
        before_ns = time.time_ns()
        self.produce(story.topics)
        after_ns = time.time_ns()

        for line in story.witness:
            line["t_wall"] = after_ns
        verdict = self.judge(story)
        self.assertTrue(verdict["valid"], verdict["violations"])
        self.assertEqual([(each["partition"], each["records"], each["void"], each["fences"])
                          for each in verdict["journal"]],
                         [("tidegate.profiles/0", 4, 1, 1), ("tidegate.profiles/1", 0, 0, 0),
                          ("tidegate.memberships/0", 0, 0, 1), ("tidegate.ledger/0", 4, 2, 2)])
        self.assertEqual([each["sha256"] for each in verdict["journal"] if each["records"]],
                         [each["sha256"] for each in story.judge()["journal"] if each["records"]])

        records = []
        source = kafka_journals.KafkaSource(self.bootstrap, SCHEMA, self.prefix, 60)
        with contextlib.closing(source):
            source.read("dead-letters", lambda _, record: records.append(record))
        self.assertEqual(len(base64.b64decode(records[0]["value"]["value"])), self.BIG)

        for line in story.witness:
            line["t_wall"] = before_ns - 2 * NS_PER_MS
        self.assertEqual(self.judge(story)["violation_counts"], {"K-3": 2, "K-5": 1})


if __name__ == "__main__":
    unittest.main()
