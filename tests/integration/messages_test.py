"""Messages of an internal service over real gRPC: acknowledged, coalesced, watched, cancelled, and
each executed once though the process is killed. The simulator's witness tells what was sent."""

import collections
import os
import sys
import time
import unittest

from product import CORP, ProductTest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

from grpc_caller import Api, Caller, grpc  # noqa: E402

CONTENT = {"content": {"text": "Hello", "link_url": "https://shop.example/a", "link_title": "Shop"}}
ENDS = ("TOUCH_STATE_SENT", "TOUCH_STATE_FAILED", "TOUCH_STATE_UNCONFIRMED", "TOUCH_STATE_SKIPPED")
SECONDS = 30


class MessagesTest(ProductTest):
    customers = 120

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.api = Api()
        cls.caller = Caller(cls.api)
        cls.addClassCleanup(cls.caller.close)

    def call(self, method, **fields):
        return self.caller.call(self.server.ports["grpc"], self.api.method(method), corp=CORP,
                                **fields)

    def send(self, keys, content=CONTENT, **more):
        messages = [self.message(key, number, **more) for number, key in enumerate(keys)]
        answer = self.call("BatchSend", contents=[content], messages=messages)
        if answer.code == "UNAVAILABLE":  # the connection of before a kill
            answer = self.call("BatchSend", contents=[content], messages=messages)
        return answer.response

    def message(self, key, number, **more):
        return {"key": key, "customer": f"wm{number}", "sender": f"m{number % self.members}", **more}

    def touch(self, key):
        return self.call("GetTouch", key=key).response.touch

    def state(self, key):
        touch = self.touch(key)
        enum = touch.DESCRIPTOR.fields_by_name["state"].enum_type
        return enum.values_by_number[touch.state].name, touch.reason

    def await_ends(self, keys):
        deadline = time.monotonic() + SECONDS
        for key in keys:
            while self.state(key)[0] not in ENDS:
                self.assertLess(time.monotonic(), deadline, f"{key} is {self.state(key)}")
                time.sleep(0.02)

    def executed(self, keys):
        """How often each key's customer was in an executed create of its call, whose marker begins
        the call's id."""
        calls = collections.defaultdict(collections.Counter)
        for line in self.creates():
            if line["verdict"] == "executed":
                calls[line["marker"]].update(line["recipients"])
        touches = {key: self.touch(key) for key in keys}
        return {key: calls[touch.call_id[:16]][touch.customer] for key, touch in touches.items()}

    def creates(self):
        return [line for line in self.witness() if line["api"] == "add_msg_template"]

    def test_a_batch_shares_calls_and_every_touch_ends(self):
        keys = [f"batch:{number}" for number in range(40)]
        answer = self.send(keys, {"content": {**CONTENT["content"], "text": "Batch"}})
        self.assertEqual((answer.acknowledged, len(answer.faults)), (40, 0))
        self.await_ends(keys)
        self.assertEqual({self.state(key) for key in keys}, {("TOUCH_STATE_SENT", "")})
        calls = {self.touch(key).call_id for key in keys}
        self.assertEqual(len(calls), self.members, "one call for each sender")
        self.assertEqual(self.executed(keys), dict.fromkeys(keys, 1))

    def test_a_repeat_changes_nothing_and_another_message_of_its_key_is_refused(self):
        keys = ["again:0", "again:1"]
        content = {"content": {**CONTENT["content"], "text": "Again"}}
        self.assertEqual(list(self.send(keys, content).repeats), [])
        answer = self.send(keys + ["again:2"], content)
        self.assertEqual((answer.acknowledged, list(answer.repeats)), (3, [0, 1]))
        answer = self.send(keys)  # with other content
        self.assertEqual(answer.acknowledged, 0)
        self.assertEqual([(fault.index, fault.code, fault.field) for fault in answer.faults],
                         [(0, 6, "messages[0].key"), (1, 6, "messages[1].key")])
        self.await_ends(keys + ["again:2"])
        self.assertEqual(set(self.executed(keys + ["again:2"]).values()), {1})

    def test_what_is_wrong_with_one_keeps_back_no_other(self):
        answer = self.call("BatchSend", contents=[CONTENT, {"content": {"text": "x"}}], messages=[
            self.message("good:0", 0), self.message("no key!", 1),
            {"key": "good:1", "customer": "", "sender": "m1"}, self.message("good:2", 2, content=7),
            self.message("good:3", 3, content=1),
            self.message("good:4", 4, message_class="MESSAGE_CLASS_URGENT"),
            self.message("good:5", 5, deadline="2001-01-01T00:00:00Z")]).response
        self.assertEqual(answer.acknowledged, 1)
        self.assertEqual([fault.field for fault in answer.faults], [
            "messages[1].key", "messages[2].customer", "messages[3].content",
            "messages[4].content.link_title", "messages[5].deadline", "messages[6].deadline"])
        one = self.call("SendMessage", content=CONTENT, message={"key": "?", "customer": "wm1"})
        self.assertEqual((one.code, one.reason), ("INVALID_ARGUMENT", "INVALID_FIELD"))
        self.assertEqual(self.call("BatchSend", contents=[CONTENT]).code, "INVALID_ARGUMENT")

    def test_fields_are_filled_in(self):
        template = {"template": True, "content": {**CONTENT["content"], "text": "Dear {{name}}!"}}
        answer = self.call("BatchSend", contents=[template], messages=[
            self.message("dear:0", 0, fields={"name": "Li"}),
            self.message("dear:1", 1, fields={"name": "Wang"}),
            self.message("dear:2", 2)]).response
        self.assertEqual([fault.message for fault in answer.faults],
                         ['lacks "name", which the content names'])
        self.await_ends(["dear:0", "dear:1"])
        self.assertEqual(self.executed(["dear:0", "dear:1"]), {"dear:0": 1, "dear:1": 1})

    def test_one_that_waits_can_be_cancelled_and_no_other(self):
        self.send(["cancel:0"], {"content": {**CONTENT["content"], "text": "Cancelled"}})
        cancelled = self.call("CancelTouch", key="cancel:0")
        self.assertEqual(cancelled.code, "OK", cancelled)
        self.assertEqual(self.state("cancel:0"), ("TOUCH_STATE_SKIPPED", "cancelled"))
        self.send(["cancel:1"])
        self.await_ends(["cancel:1"])
        late = self.call("CancelTouch", key="cancel:1")
        self.assertEqual((late.code, late.reason), ("FAILED_PRECONDITION", "TOUCH_NOT_CANCELLED"))
        unknown = self.call("CancelTouch", key="cancel:2")
        self.assertEqual((unknown.code, unknown.reason), ("NOT_FOUND", "TOUCH_NOT_FOUND"))
        self.assertEqual(self.touch("cancel:0").call_id, "")

    def test_all_states_are_watched_in_order_and_listed(self):
        keys = [f"watch:{number}" for number in range(6)]
        self.send(keys, {"content": {**CONTENT["content"], "text": "Watched"}})
        states = collections.defaultdict(list)
        request = self.api.request(self.api.method("WatchTouches"),
                                   {"corp": CORP, "key_prefix": "watch:"})
        channel = grpc.insecure_channel(self.server.ports["grpc"])
        self.addCleanup(channel.close)
        method = self.api.method("WatchTouches")
        watch = channel.unary_stream(method.path, method.request.SerializeToString,
                                     method.response.FromString)(request, timeout=SECONDS)
        numbers = []
        for told in watch:
            for change in told.changes:
                numbers.append(change.number)
                enum = change.DESCRIPTOR.fields_by_name["state"].enum_type
                states[change.key].append(enum.values_by_number[change.state].name)
            if len(states) == 6 and all(seen[-1] in ENDS for seen in states.values()):
                watch.cancel()
                break
        self.assertEqual(numbers, sorted(set(numbers)))
        for key in keys:
            self.assertEqual(states[key], ["TOUCH_STATE_QUEUED", "TOUCH_STATE_SENDING",
                                           "TOUCH_STATE_ACCEPTED", "TOUCH_STATE_SENT"])
        listed, token = [], ""
        while True:
            page = self.call("ListTouches", page_size=7, page_token=token).response
            listed += [touch.key for touch in page.touches]
            token = page.next_page_token
            if not token:
                break
        self.assertEqual([key for key in listed if key.startswith("watch:")], keys)
        self.assertEqual(len(listed), len(set(listed)))

    def stream(self, batches):
        """The answers to batches, each (text, messages), sent without waiting."""
        method = self.api.method("SendMessages")
        requests = [self.api.request(method, {
            "corp": CORP, "batch": str(number), "messages": messages,
            "contents": [{"content": {**CONTENT["content"], "text": text}}]})
            for number, (text, messages) in enumerate(batches)]
        channel = grpc.insecure_channel(self.server.ports["grpc"])
        self.addCleanup(channel.close)
        call = channel.stream_stream(method.path, method.request.SerializeToString,
                                     method.response.FromString)
        return list(call(iter(requests), timeout=SECONDS))

    def test_of_two_messages_that_race_for_a_key_one_is_refused(self):
        rounds = 20
        answers = self.stream([(text, [self.message(f"race:{n}", 1)])
                               for n in range(rounds) for text in ("First", "Second")])
        self.assertEqual([answer.acknowledged for answer in answers], [1, 0] * rounds)
        self.assertEqual({(fault.code, fault.field) for answer in answers
                          for fault in answer.faults}, {(6, "messages[0].key")})

    def test_a_stream_answers_each_batch_in_order(self):
        answers = self.stream([
            ("Streamed", [self.message(f"stream:{batch}:{n}", n) for n in range(100)])
            for batch in range(20)])
        self.assertEqual([(answer.batch, answer.acknowledged) for answer in answers],
                         [(batch, 100) for batch in range(20)])
        keys = [f"stream:{batch}:{n}" for batch in range(20) for n in range(100)]
        self.await_ends(keys)
        self.assertEqual(self.executed(keys), dict.fromkeys(keys, 1))

    def test_a_kill_neither_loses_nor_repeats_an_acknowledged_message(self):
        content = {"content": {**CONTENT["content"], "text": "Killed"}}
        keys = []
        for round_ in range(3):
            new = [f"kill:{round_}:{number}" for number in range(60)]
            self.simulator.post("/control/faults", {"api": "add_msg_template",
                                                    "kind": "EXEC_THEN_CLOSE", "next": 2})
            self.send(new, content)
            keys += new
            time.sleep(0.15 * round_)
            self.server.kill()
            self.restart()
            answer = self.send(new, content)
            self.assertEqual((answer.acknowledged, len(answer.repeats)), (60, 60))
        self.await_ends(keys)
        self.assertEqual(self.executed(keys), dict.fromkeys(keys, 1))
        marked = [line["marker"] for line in self.creates() if line["verdict"] == "executed"]
        self.assertEqual(len(marked), len(set(marked)), "no call was executed twice")


if __name__ == "__main__":
    unittest.main()
