"""A process that starts while the broker that led its topic is dead and no other leads yet.

Its clients hear of the dead leader first, from brokers that do not know better yet: it must find
the next one by itself. Prints how long each start took and how long nobody led.
"""

import os
import shutil
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

import settings  # noqa: E402
from deployment import ManyProcesses  # noqa: E402  (it makes tests/kafka importable)
from processes import Processes  # noqa: E402

import leaders  # noqa: E402
import needs_kafka  # noqa: E402

BUILD = os.path.dirname(os.environ["TIDEGATE_BIN"])
NODES = 3
START_SECONDS = 60  # far beyond what a start takes: a hang is meant
POLL_SECONDS = 0.02
# The topic whose leader a start asks: ingestion has no journal, but reads the definitions.
ASKED = (("ingestion", "tidegate.definitions"), ("dispatch", "tidegate.ledger"))


class LeaderMissingTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="tidegate-leader-")
        self.addCleanup(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        self.processes = Processes(self.folder)
        self.addCleanup(self.processes.kill_all)
        files = settings.write(self.folder, settings.Secrets())
        self.many = ManyProcesses(self.processes, self.folder, BUILD, files, "127.0.0.1:9", NODES,
                                  replicas=1)
        self.addCleanup(self.many.close)
        self.many.start()

    def test_a_start_finds_the_next_leader(self):
        for service, topic in ASKED:
            with self.subTest(service):
                self.start_without_leader(service, topic)

    def start_without_leader(self, service, topic):
        cluster = self.many.cluster
        replica, = self.many.of(service)
        self.wait_for(lambda: leaders.in_sync(cluster.bootstrap_servers))
        self.assertEqual(replica.terminate(), 0)
        dead = leaders.leader(cluster.bootstrap_servers, topic, 0)
        cluster.kill(dead)
        killed = time.monotonic()
        replica.launch()
        self.wait_for(lambda: leaders.leader(cluster.bootstrap_servers, topic, 0)
                      not in (dead, None))
        led = time.monotonic()
        replica.await_ports(START_SECONDS)
        print(f"{service}: ready {time.monotonic() - killed:.1f} s after the leader of {topic} was "
              f"killed, {time.monotonic() - led:.1f} s after another one led", file=sys.stderr)
        cluster.restart(dead)

    def wait_for(self, condition):
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    needs_kafka.main(leaders.client_library)
