"""The judge on small runs made by hand: each invariant holds on the good run and is broken by one
planted fault. Run: python3 -m unittest discover -s tests/judge -p '*_test.py'"""

import base64
import copy
import hashlib
import json
import os
import tempfile
import unittest

import journals
import judge
import limits
import purchases
import witness

SECOND = 1_000_000_000
CORP = "wwtest"
CDNOW = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                     "../../../shared/data/cdnow/CDNOW_master.txt")


def customer(number):
    return "wm" + str(number).zfill(30)


class Run:
    """A good run: customers 1..4 bought three times, customer 5 once; two creates of two customers,
    the second one in doubt once and found not executed; one welcome; the tag "active" for all five.
    """

    def __init__(self):
        self.purchases = [" customer_id  date number_of_cds  dollar_value"]
        for number in (1, 2, 3, 4):
            self.purchases += [f" {number:05d} 19980630  1   10.00"] * 3
        self.purchases.append(" 00005 19980630  1   10.00")
        self.limits = {"limits": [{"api": "add_msg_template", "scope": "corp", "amount": 2,
                                   "window_ms": 5000, "lockout_ms": 5000}],
                       "in_flight": [{"api": "add_msg_template", "amount": 4}]}
        self.client = [{"t": 1.0, "op": "launch_campaign", "request_id": "r", "ids": ["spring"],
                        "result": "ok"}]
        self.witness = []
        self.ledger = [self.fence(1)]
        self.events, self.commands = [], []
        self.definitions = [self.record({
            "corp": CORP, "definitions": [{"id": "c1", "channel": {
                "state": "shop", "tags": ["shop"], "welcome_text": "hello"}}]})]
        self.add_campaign()
        self.add_tags_and_welcome()

    def record(self, value, **header):
        return {"offset": 0, "key": "", "header": header, "value": value}

    def fence(self, epoch):
        return self.record({}, kind="RECORD_KIND_FENCE", epoch=str(epoch))

    def decide(self, value, epoch=1):
        seq = 1 + sum("seq" in each["header"] for each in self.ledger)
        self.ledger.append(self.record(value, kind="RECORD_KIND_DECISION", epoch=str(epoch),
                                       seq=str(seq)))

    def attempt(self, batch, number, at_s):
        self.decide({"attempt": {
            "call_id": f"call{batch}", "attempt": number, "api": "add_msg_template",
            "target": {"campaign_call": {"corp": CORP, "campaign": "spring", "batch": batch}},
            "request_sha256": base64.b64encode(self.sha(batch)).decode(), "marker": f"m{batch}",
            "stamp": {"raw_ns": str(at_s * SECOND)}}})

    def outcome(self, batch, number, outcome_class, **more):
        self.decide({"outcome": {"call_id": f"call{batch}", "attempt": number,
                                 "outcome_class": "OUTCOME_CLASS_" + outcome_class, **more}})

    def settled(self, batch, number, settlement, **more):
        self.decide({"settled": {"call_id": f"call{batch}", "attempt": number,
                                 "settlement": "SETTLEMENT_" + settlement, **more}})

    def sha(self, batch):
        return hashlib.sha256(b"body%d" % batch).digest()

    def call(self, api, at_s, **more):
        line = {"seq": len(self.witness) + 1, "t_raw_ns": int(at_s * SECOND), "t_wall": 0,
                "corp": CORP, "api": api, "ip": "127.0.0.1", "sha256": "", "recipients": [],
                "sender": "m001", "marker": "", "verdict": "executed", "errcode": 0, "msgid": "",
                "fail_list": [], "fault": "", **more}
        self.witness.append(line)
        return line

    def create(self, batch, at_s, customers, msgid, **more):
        return self.call("add_msg_template", at_s, sha256=self.sha(batch).hex(),
                         marker=f"m{batch}", recipients=customers, msgid=msgid, **more)

    def add_campaign(self):
        self.decide({"planned": {"corp": CORP, "campaign": "spring", "audience": "4", "calls": 2}})
        self.attempt(0, 1, 10)
        self.create(0, 11, [customer(1), customer(2)], "msg0")
        self.outcome(0, 1, "ACCEPTED", msgid="msg0")
        self.attempt(1, 1, 12)
        self.outcome(1, 1, "DOUBT")
        self.settled(1, 1, "NOT_EXECUTED")
        self.attempt(1, 2, 20)
        self.create(1, 21, [customer(3), customer(4)], "msg1", fail_list=[customer(4)])
        self.outcome(1, 2, "ACCEPTED", msgid="msg1")
        for number in (1, 2, 3, 4):
            kind = "touch_failed" if number == 4 else "touch_sent"
            self.touch(number, kind)

    def touch(self, number, kind, reason=""):
        self.events.append(self.record({
            "corp": CORP, "source": "dispatch", "event_id": f"t{number}{kind}", "kind": kind,
            "customer": customer(number), "touch": {"campaign": "spring", "reason": reason}}))

    def add_tags_and_welcome(self):
        for number in range(1, 6):
            self.wish(number, 1, ["active"])
            self.call("mark_tag", 5, recipients=[customer(number)], add=["active"], remove=[])
        self.events.append(self.record({
            "corp": CORP, "source": "wecom", "event_id": "f1", "kind": "follow_added",
            "customer": "wm9", "follow": {"member": "m001", "state": "shop",
                                          "welcome_code": "code"}}))
        self.call("send_welcome_msg", 6, sha256="aa", recipients=["wm9"], age_ms=150)

    def wish(self, number, version, add, remove=()):
        out_seq = 1 + len(self.commands)
        self.commands.append(self.record(
            {"corp": CORP, "member": "m001", "customer": customer(number),
             "profile_version": str(version), "mark_tag": {"add": add, "remove": list(remove)}},
            source={"journal": "tidegate.profiles/0", "out_seq": str(out_seq)}))

    def write(self, folder):
        """As a run leaves its files."""
        def path(name):
            return os.path.join(folder, name)

        def write_lines(name, lines):
            with open(path(name), "w", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)

        os.mkdir(path("journals"))
        for topic in ("ledger", "events", "commands", "definitions"):
            numbered = [{**record, "offset": offset}
                        for offset, record in enumerate(getattr(self, topic))]
            write_lines(f"journals/tidegate.{topic}-0.jsonl", numbered)
        write_lines("witness.jsonl", self.witness)
        write_lines("client.jsonl", self.client)
        with open(path("limits.json"), "w", encoding="utf-8") as file:
            json.dump(self.limits, file)
        with open(path("purchases.txt"), "w", encoding="ascii", newline="") as file:
            file.write("\r\n".join(self.purchases) + "\r\n")

    def judge(self):
        with tempfile.TemporaryDirectory() as folder:
            self.write(folder)
            parser_options = type("Options", (), dict(
                witness=os.path.join(folder, "witness.jsonl"),
                client_log=os.path.join(folder, "client.jsonl"),
                journals=os.path.join(folder, "journals"),
                limits=os.path.join(folder, "limits.json"),
                purchases=os.path.join(folder, "purchases.txt"), campaign="spring",
                orders_min=3, median_latency_ms=20))
            return judge.judge(parser_options)


class JudgeTest(unittest.TestCase):
    def setUp(self):
        self.run_ = Run()

    def judge(self):
        return self.run_.judge()

    def assert_violated(self, name, text):
        verdict = self.judge()
        self.assertFalse(verdict["valid"])
        self.assertFalse(verdict["checks"][name]["ok"], verdict["checks"])
        self.assertIn(text, "\n".join(verdict["checks"][name]["violations"]))
        return verdict

    def test_good_run_is_valid(self):
        verdict = self.judge()
        self.assertTrue(verdict["valid"], verdict["checks"])

    def test_figures_of_good_run(self):
        verdict = self.judge()
        seen = verdict["witness"]
        self.assertEqual((seen["calls"], seen["executed"], seen["creates_executed"]), (8, 8, 2))
        self.assertEqual((seen["duplicate_touches"], seen["lost_touches"]), (0, 0))
        self.assertEqual(seen["peak"]["add_msg_template corp 2/5000ms"], 1)
        campaign = verdict["campaign"]
        self.assertEqual(campaign["calls"], 2)
        self.assertEqual(campaign["touches_planned"], 4)
        self.assertEqual(campaign["touches_accepted"], 3)
        self.assertEqual((campaign["touches_sent"], campaign["touches_failed"]), (3, 1))
        self.assertEqual(campaign["makespan_seconds"], 10.0)
        self.assertEqual(campaign["optimum_seconds"], 0.01)
        self.assertEqual(verdict["doubts"],
                         {"opened": 1, "accepted": 0, "not_executed": 1, "parked": 0})
        self.assertEqual(verdict["tags"], {"wanted": 5, "written": 5, "unwanted": 0})
        self.assertEqual(verdict["welcome"],
                         {"requested": 1, "sent": 1, "late": 0, "p99_ms": 150})

    def test_call_executed_twice_breaks_one(self):
        self.run_.create(0, 12, [customer(1), customer(2)], "msg9")
        verdict = self.assert_violated("I-1", "executed 2 times")
        self.assertEqual(verdict["witness"]["duplicate_touches"], 2)

    def test_repeated_tag_call_is_no_violation(self):
        self.run_.witness.append({**copy.deepcopy(self.run_.witness[2]), "seq": 99})
        self.assertTrue(self.judge()["checks"]["I-1"]["ok"])

    def test_customer_in_two_creates_breaks_two(self):
        self.run_.witness[1]["recipients"].append(customer(1))
        self.assert_violated("I-2", f"{customer(1)} is in 2 executed creates")

    def test_lost_customer_breaks_three(self):
        self.run_.witness[1]["recipients"].remove(customer(3))
        verdict = self.assert_violated("I-3", f"{customer(3)} has 0 ends: lost")
        self.assertEqual(verdict["witness"]["lost_touches"], 1)

    def test_customer_outside_audience_breaks_three(self):
        self.run_.witness[1]["recipients"].append(customer(5))
        self.assert_violated("I-3", f"{customer(5)} was reached but is not in the audience")

    def test_second_outcome_event_breaks_three(self):
        self.run_.touch(1, "touch_unconfirmed")
        self.assert_violated("I-3", f"{customer(1)} has 2 outcome events")

    def test_skipped_with_reason_is_not_lost(self):
        self.run_.witness[1]["recipients"].remove(customer(3))
        self.run_.events = [each for each in self.run_.events
                            if each["value"]["event_id"] != "t3touch_sent"]
        self.run_.touch(3, "touch_skipped", "no_sender")
        verdict = self.judge()
        self.assertTrue(verdict["valid"], verdict["checks"])

    def test_refused_with_a_code_that_the_witness_answered_is_not_lost(self):
        self.run_.witness[1].update(verdict="rejected", errcode=40096, msgid="")
        outcome = self.run_.ledger[-1]["value"]["outcome"]
        outcome.update(outcome_class="OUTCOME_CLASS_REFUSED", errcode=40096, msgid="")
        verdict = self.judge()
        self.assertTrue(verdict["valid"], verdict["checks"])
        outcome["errcode"] = 40097
        self.assert_violated("I-3", "has 0 ends")

    def test_execution_nobody_launched_breaks_three(self):
        self.run_.client[0]["result"] = "fail"
        self.assert_violated("I-3", "never launched")

    def test_accepted_without_execution_breaks_six(self):
        self.run_.witness[1]["verdict"] = "dropped"
        self.assert_violated("I-6", "accepted as \"msg1\" but not executed")

    def test_other_msgid_breaks_six(self):
        self.run_.witness[1]["msgid"] = "msg7"
        self.assert_violated("I-6", "executed as msg7 but not accepted")

    def test_executed_but_left_in_doubt_breaks_six(self):
        self.run_.ledger[-1]["value"]["outcome"]["outcome_class"] = "OUTCOME_CLASS_DOUBT"
        self.assert_violated("I-6", "executed as msg1 but not accepted")

    def test_not_executed_yet_executed_breaks_six(self):
        self.run_.create(1, 13, [customer(3), customer(4)], "msg8")
        self.assert_violated("I-6", "attempt 1 of call call1 called not executed but executed")

    def test_execution_without_attempt_breaks_six(self):
        self.run_.create(7, 13, [customer(3)], "msg8")
        self.assert_violated("I-6", "without an attempt in the ledger")

    def test_attempt_of_a_zombie_does_not_count(self):
        self.run_.ledger.insert(1, self.run_.fence(2))  # all of epoch 1 is void now
        self.assert_violated("I-6", "without an attempt in the ledger")

    def test_one_call_above_the_limit_breaks_nine(self):
        for at_s in (40, 41, 44.9):
            self.run_.call("add_msg_template", at_s, verdict="rejected", errcode=40058)
        self.assert_violated("I-9", "add_msg_template corp 2/5000ms: 3 calls in one window")

    def test_calls_inside_a_lockout_break_nine(self):
        for at_s in (40, 41):
            self.run_.call("add_msg_template", at_s, verdict="rejected", errcode=40058)
        for at_s in (42, 43, 44):
            self.run_.call("add_msg_template", at_s, verdict="rejected", errcode=45009)
        verdict = self.assert_violated("I-9", "2 calls inside a lockout")
        self.assertEqual(verdict["witness"]["rejected_45009"], 3)
        self.assertEqual(verdict["witness"]["lockout_seconds"], 5.0)

    def test_missing_tag_is_wanted_and_not_written(self):
        self.run_.wish(1, 2, ["vip"])
        verdict = self.judge()
        self.assertEqual(verdict["tags"], {"wanted": 6, "written": 5, "unwanted": 0})
        self.assertFalse(verdict["checks"]["tags-follow-rules"]["ok"])

    def test_repeated_wish_of_an_outbox_is_taken_once(self):
        self.run_.wish(1, 2, [], ["active"])
        self.run_.wish(1, 3, ["active"])
        self.run_.commands.append(copy.deepcopy(self.run_.commands[-2]))
        self.assertEqual(self.judge()["tags"]["wanted"], 5)

    def test_late_welcome_is_counted(self):
        self.run_.call("send_welcome_msg", 7, sha256="bb", verdict="rejected", errcode=41050)
        self.assertEqual(self.judge()["welcome"]["late"], 1)

    def test_attempt_open_at_a_fence_is_a_doubt(self):
        self.run_.ledger = self.run_.ledger[:3] + [self.run_.fence(2)]
        self.assertEqual(self.judge()["doubts"]["opened"], 1)


class CountedTest(unittest.TestCase):
    def seqs(self, *headers):
        records = [{"header": header, "value": {}} for header in headers]
        return [int(record["header"]["seq"]) for record in journals.counted(records)
                if not journals.is_fence(record)]

    def fence(self, epoch):
        return {"kind": "RECORD_KIND_FENCE", "epoch": epoch}

    def test_repeats_gaps_and_zombies_do_not_count(self):
        self.assertEqual(self.seqs(
            {"epoch": 1, "seq": 1}, self.fence(1), {"epoch": 1, "seq": 1}, {"epoch": 1, "seq": 1},
            {"epoch": 1, "seq": 3}, {"epoch": 1, "seq": 2}, self.fence(2), {"epoch": 1, "seq": 3},
            {"epoch": 2, "seq": 3}), [1, 2, 3])

    def test_older_fence_changes_nothing(self):
        self.assertEqual(self.seqs(self.fence(2), self.fence(1), {"epoch": 1, "seq": 1},
                                   {"epoch": 2, "seq": 1}), [1])


class WindowTest(unittest.TestCase):
    def test_call_exactly_one_window_ago_is_outside(self):
        self.assertEqual(witness.most_in_window([0, 5, 10], 5), 1)
        self.assertEqual(witness.most_in_window([0, 4, 8, 9], 5), 2)
        self.assertEqual(witness.most_in_window([1, 2, 3, 9], 5), 3)

    def test_nearest_rank_percentile(self):
        self.assertEqual(witness.percentile(range(1, 101), 99), 99)
        self.assertEqual(witness.percentile([7], 99), 7)
        self.assertEqual(witness.percentile([], 99), 0)


class LimitsTest(unittest.TestCase):
    def test_own_rows_replace_general_rows_of_that_scope(self):
        rows = limits.Limits([{"api": "a", "scope": "corp", "amount": 5, "window_ms": 10}])
        self.assertEqual([row.amount for row in rows.of("a", "corp")], [5])
        self.assertEqual([row.amount for row in rows.of("b", "corp")], [10_000, 150_000])
        self.assertEqual([row.amount for row in rows.of("a", "ip")], [20_000, 600_000])

    def test_a_corps_own_rows_replace_those_of_their_name(self):
        rows = limits.Limits(
            [{"api": "*", "scope": "corp", "amount": 5, "window_ms": 10}],
            {"ww1": {"limits": [{"api": "a", "amount": 3, "calendar": "day"}]},
             "ww2": {"limits": [{"api": "*", "amount": 4, "calendar": "month"}]}})
        self.assertEqual([row.amount for row in rows.of("a", "corp", "ww1")], [3])
        self.assertEqual([row.amount for row in rows.of("b", "corp", "ww1")], [5])
        self.assertEqual([row.amount for row in rows.of("b", "corp", "ww2")], [4])
        self.assertEqual([row.amount for row in rows.of("a", "corp", "ww3")], [5])
        self.assertEqual([row.amount for row in rows.of("a", "ip", "ww1")], [20_000, 600_000])

    def test_a_general_in_flight_limit_binds_what_has_none_of_its_own(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "limits.json")
            for rows, amounts in (([], (0, 0)), ([{"api": "a", "amount": 3}], (3, 0)),
                                  ([{"api": "*", "amount": 7}, {"api": "a", "amount": 3}], (3, 7))):
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({"in_flight": rows}, file)
                self.assertEqual(tuple(limits.in_flight_of(path, api) for api in "ab"), amounts)

    def test_days_of_china_and_people_are_counted(self):
        midnight = 1_772_380_800  # 2026-03-02 in China
        lines = [{"seq": seq, "api": "a", "corp": "ww1", "ip": "", "t_raw_ns": at * 10**9,
                  "t_wall": (midnight + at) * 10**9, "errcode": 0, "verdict": "executed",
                  "recipients": ["p"] * people}
                 for seq, (at, people) in enumerate([(-2, 3), (-1, 4), (0, 5), (3600, 6)])]
        rows = limits.Limits([
            {"api": "a", "scope": "corp", "amount": 9, "calendar": "day", "cost": "person_times"},
            {"api": "a", "scope": "corp", "amount": 9, "window_ms": 2000, "cost": "person_times"},
            {"api": "a", "scope": "corp", "amount": 9, "calendar": "month"}])
        self.assertEqual(witness.Witness(lines).peaks(rows),
                         [("a corp 9 person_times/2000ms", 9, 9),
                          ("a corp 9 person_times/day", 11, 9), ("a corp 9/month", 4, 9)])

    def test_optimum_of_documented_limits(self):
        rows = limits.Limits([]).of("add_msg_template", "corp")
        for calls, seconds in ((10_000, 0), (150_000, 840), (160_000, 3600), (300_000, 4440)):
            self.assertEqual(limits.optimum_seconds(calls, rows, 0, 0), seconds)

    def test_optimum_is_bound_by_concurrency_where_that_is_slower(self):
        self.assertEqual(limits.optimum_seconds(10_000, limits.Limits([]).of("a", "corp"), 5, 80),
                         160)


class PurchasesTest(unittest.TestCase):
    @unittest.skipUnless(os.path.exists(CDNOW), "the CDNOW file is not there")
    def test_counts_of_the_real_file(self):
        found = purchases.read(CDNOW)
        self.assertEqual((len(found.customers), found.lines), (23_570, 69_659))
        self.assertEqual(list(found.segment_counts().values()), [7_583, 6_234, 6_302])
        self.assertEqual(len(found.audience(3)), 7_583)
        self.assertEqual(len(found.tags()), 2_307)


if __name__ == "__main__":
    unittest.main()
