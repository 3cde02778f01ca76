"""Messages of a corp's app to its members: each reaches its member once though answers are lost and
the process is killed, and what is too much for a member waits instead of being dropped by WeCom. The
simulator's witness tells who got what."""

import collections
import os
import sys
import time
import unittest

from product import CORP, LIMITS, ProductTest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

from grpc_caller import Api, Caller  # noqa: E402

ENDS = ("TOUCH_STATE_SENT", "TOUCH_STATE_FAILED", "TOUCH_STATE_SKIPPED")
SECONDS = 60
FAULTS = ("EXEC_THEN_CLOSE", "EXEC_THEN_RST", "EXEC_THEN_5XX", "EXEC_THEN_-1", "EXEC_THEN_GARBAGE",
          "DROP_THEN_CLOSE", "EXEC_THEN_TIMEOUT")
# WeCom's minute, shortened: 30 messages to one member.
WINDOW_MS = 3000


class AppMessagesTest(ProductTest):
    members = 500
    customers = 1

    @classmethod
    def setUpClass(cls):
        LIMITS["app_messages"] = {"per_member": [{"amount": 30, "window_ms": WINDOW_MS},
                                                 {"amount": 1000, "window_ms": 100 * WINDOW_MS}]}
        try:
            super().setUpClass()
        finally:
            del LIMITS["app_messages"]
        cls.api = Api()
        cls.caller = Caller(cls.api)
        cls.addClassCleanup(cls.caller.close)

    def call(self, method, **fields):
        return self.caller.call(self.server.ports["grpc"], self.api.method(method), corp=CORP,
                                **fields)

    def send(self, messages, contents):
        contents = [{"content": content} for content in contents]
        answer = self.call("BatchSend", contents=contents, messages=messages)
        if answer.code == "UNAVAILABLE":  # the connection of before a kill
            answer = self.call("BatchSend", contents=contents, messages=messages)
        return answer.response

    def touch(self, key):
        touch = self.call("GetTouch", key=key).response.touch
        enum = touch.DESCRIPTOR.fields_by_name["state"].enum_type
        return enum.values_by_number[touch.state].name, touch.reason, touch

    def await_ends(self, keys):
        deadline = time.monotonic() + SECONDS
        for key in keys:
            while self.touch(key)[0] not in ENDS:
                self.assertLess(time.monotonic(), deadline, f"{key} is {self.touch(key)}")
                time.sleep(0.02)

    def sends(self):
        return [line for line in self.witness() if line["api"] == "message_send"]

    def delivered(self, keys):
        """How often each key's member got the call of that key."""
        calls = collections.defaultdict(collections.Counter)
        for line in self.sends():
            calls[line["marker"]].update(line["delivered"])
        touches = {key: self.touch(key)[2] for key in keys}
        return {key: calls[touch.call_id[:16]][touch.member] for key, touch in touches.items()}

    def test_who_is_no_member_fails_and_the_others_are_sent(self):
        answer = self.send([{"key": "one:0", "member": "m0"}, {"key": "one:1", "member": "Nobody"},
                            {"key": "one:2", "member": "m2", "content": 1}],
                           [{"text": "Hello"}, {"text": "Look", "link_title": "Shop",
                                                "link_url": "https://shop.example/a"}])
        self.assertEqual((answer.acknowledged, len(answer.faults)), (3, 0))
        self.await_ends(["one:0", "one:1", "one:2"])
        self.assertEqual([self.touch(f"one:{n}")[:2] for n in range(3)],
                         [("TOUCH_STATE_SENT", ""), ("TOUCH_STATE_FAILED", "fail_list"),
                          ("TOUCH_STATE_SENT", "")])
        self.assertEqual(self.delivered(["one:0", "one:1", "one:2"]),
                         {"one:0": 1, "one:1": 0, "one:2": 1})

    def test_a_message_is_for_a_customer_or_for_a_member(self):
        answer = self.send([
            {"key": "wrong:0", "member": "m0", "customer": "wm0", "sender": "m0"},
            {"key": "wrong:1", "member": "m0|m1"}, {"key": "wrong:2", "member": "@all"},
            {"key": "wrong:3", "customer": "wm0", "sender": "m0"},
            {"key": "wrong:4", "member": "m0", "content": 1}], [{"text": "x"}, {"text": "x" * 2049}])
        self.assertEqual(answer.acknowledged, 0)
        self.assertEqual([fault.field for fault in answer.faults], [
            "messages[0].customer", "messages[1].member", "messages[2].member",
            "messages[3].content.link_title", "messages[4].content.text"])

    def test_the_command_line_writes_to_members(self):
        self.ask("message", "send", "--member", "m7", "--member", "m8", "--content", "By hand",
                 "--key-prefix", "hand")
        self.await_ends(["hand:m7", "hand:m8"])
        self.assertEqual(self.delivered(["hand:m7", "hand:m8"]), {"hand:m7": 1, "hand:m8": 1})
        self.tidegate("message", "send", "--corp", CORP, "--member", "m7", "--sender", "m8",
                      "--customer", "wm0", "--content", "x", code=2)

    def test_500_members_get_each_message_once_though_answers_are_lost_and_the_process_is_killed(self):
        keys = []
        for round_, kind in enumerate(FAULTS):
            self.simulator.post("/control/faults", {"api": "message_send", "kind": kind, "next": 1})
            new = [f"kill:{round_}:{number}" for number in range(self.members)]
            messages = [{"key": key, "member": f"m{number}", "content": number % 3}
                        for number, key in enumerate(new)]
            contents = [{"text": f"Round {round_}, {part}"} for part in range(3)]
            self.send(messages, contents)
            keys += new
            time.sleep(0.9 + 0.1 * round_)  # about when the calls leave
            self.server.kill()
            self.restart()
            answer = self.send(messages, contents)
            self.assertEqual((answer.acknowledged, len(answer.repeats)),
                             (self.members, self.members))
        self.await_ends(keys)
        self.assertEqual({self.touch(key)[0] for key in keys}, {"TOUCH_STATE_SENT"})
        self.assertEqual(self.delivered(keys), dict.fromkeys(keys, 1))
        lost = [line for line in self.sends() if line["fault"]]
        self.assertEqual({line["fault"] for line in lost}, set(FAULTS))
        repeats = collections.Counter(line["marker"] for line in self.sends()
                                      if line["verdict"] == "executed")
        self.assertGreater(max(repeats.values()), 1, "nothing was repeated")

    def test_of_100_messages_to_one_member_in_a_minute_none_is_dropped(self):
        keys = [f"much:{number}" for number in range(100)]
        begin = time.time_ns()
        self.send([{"key": key, "member": "m1", "content": number}
                   for number, key in enumerate(keys)],
                  [{"text": f"Number {number}"} for number in range(100)])
        self.await_ends(keys)
        self.assertEqual({self.touch(key)[0] for key in keys}, {"TOUCH_STATE_SENT"})
        self.assertEqual(self.delivered(keys), dict.fromkeys(keys, 1), "delivered = sent")
        sends = [line for line in self.sends() if line["t_wall"] >= begin]
        self.assertEqual([line for line in sends if line["over_frequency"]], [])
        # It took the windows that it must: 30 in each.
        span_ms = (sends[-1]["t_raw_ns"] - sends[0]["t_raw_ns"]) / 1e6
        self.assertGreaterEqual(span_ms, 3 * WINDOW_MS)


if __name__ == "__main__":
    unittest.main()
