"""The relay against sockets of its own: what a black hole swallows, and when it comes back.
Run: python3 -m unittest discover -s tests/chaos -p '*_test.py'"""

import socket
import unittest

from relay import Relay, reset

SECONDS = 5


class RelayTest(unittest.TestCase):
    def setUp(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(SECONDS)
        self.relay = Relay("127.0.0.1:%d" % self.server.getsockname()[1])
        self.enterContext(self.relay)
        self.addCleanup(self.server.close)

    def connect(self):
        """(the caller's end, the server's end)."""
        host, port = self.relay.address.split(":")
        caller = socket.create_connection((host, int(port)), SECONDS)
        served, _ = self.server.accept()
        served.settimeout(SECONDS)
        self.addCleanup(caller.close)
        self.addCleanup(served.close)
        return caller, served

    def test_passes_both_ways_and_ends_in_order(self):
        caller, served = self.connect()
        caller.sendall(b"question")
        self.assertEqual(served.recv(100), b"question")
        served.sendall(b"answer")
        served.close()
        self.assertEqual(caller.recv(100), b"answer")
        self.assertEqual(caller.recv(100), b"")

    def test_passes_a_reset_on(self):
        caller, served = self.connect()
        caller.sendall(b"question")
        served.recv(100)
        reset(served)
        with self.assertRaises(ConnectionResetError):
            caller.recv(100)

    def test_what_a_caller_that_resets_had_in_the_hole_never_arrives(self):
        caller, served = self.connect()
        self.relay.hold("requests")
        caller.sendall(b"create")
        self.assertTrue(self.relay.await_held(b"create", SECONDS))
        reset(caller)
        with self.assertRaises(ConnectionResetError):
            served.recv(100)
        self.relay.heal()
        self.assertEqual((self.relay.taken_back, self.relay.delivered_late), (1, 0))

    def test_what_a_caller_that_closes_had_in_the_hole_arrives_when_it_heals(self):
        caller, served = self.connect()
        self.relay.hold("requests")
        caller.sendall(b"create")
        self.assertTrue(self.relay.await_held(b"create", SECONDS))
        caller.close()
        served.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            served.recv(100)
        self.relay.heal()
        served.settimeout(SECONDS)
        self.assertEqual(served.recv(100), b"create")
        self.assertEqual(served.recv(100), b"")
        self.assertEqual((self.relay.taken_back, self.relay.delivered_late), (0, 1))

    def test_new_connections_can_be_spared(self):
        caller, _ = self.connect()
        self.relay.hold("requests")
        caller.sendall(b"create")
        self.assertTrue(self.relay.await_held(b"create", SECONDS))
        self.relay.spare_new()
        later, served = self.connect()
        later.sendall(b"list")
        self.assertEqual(served.recv(100), b"list")
        self.assertEqual(self.relay.held(b"create"), 1)

    def test_answers_can_be_swallowed_alone(self):
        caller, served = self.connect()
        self.relay.hold("answers")
        caller.sendall(b"create")
        self.assertEqual(served.recv(100), b"create")
        served.sendall(b"done")
        self.assertTrue(self.relay.await_held(b"done", SECONDS))
        self.relay.heal()
        self.assertEqual(caller.recv(100), b"done")

    def test_refuses_when_nobody_is_there(self):
        self.server.close()
        host, port = self.relay.address.split(":")
        with self.assertRaises(ConnectionResetError):
            with socket.create_connection((host, int(port)), SECONDS) as caller:
                caller.recv(100)


if __name__ == "__main__":
    unittest.main()
