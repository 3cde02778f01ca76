"""Tests of tests/kafka: the parts that need no Kafka, and one walk with a real one."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import broker
import cluster
import jars
import leaders
import ports
from broker import Broker
from cluster import Cluster

HERE = os.path.dirname(os.path.abspath(__file__))


class TemporaryFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tidegate-kafka-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)


def settings(node, nodes):
    lines = broker.properties(node, nodes).splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


class PropertiesTest(unittest.TestCase):
    def nodes(self, count):
        return [Broker(i, 20000 + i, 21000 + i, f"/k/node-{i}") for i in range(1, count + 1)]

    def test_three_nodes_keep_three_copies_and_need_two(self):
        nodes = self.nodes(3)
        found = settings(nodes[1], nodes)
        expected = {
            "node.id": "2",
            "log.dirs": "/k/node-2/data",
            "listeners": "PLAINTEXT://127.0.0.1:20002,CONTROLLER://127.0.0.1:21002",
            "advertised.listeners": "PLAINTEXT://127.0.0.1:20002",
            "controller.quorum.voters": "1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003",
            "default.replication.factor": "3", "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2"}
        self.assertEqual({key: found.get(key) for key in expected}, expected)

    def test_one_node_waits_for_no_other(self):
        nodes = self.nodes(1)
        found = settings(nodes[0], nodes)
        for key in ("default.replication.factor", "min.insync.replicas",
                    "offsets.topic.replication.factor", "transaction.state.log.replication.factor",
                    "transaction.state.log.min.isr"):
            self.assertEqual(found[key], "1", key)

    def test_nothing_is_created_or_elected_behind_our_back(self):
        nodes = self.nodes(1)
        found = settings(nodes[0], nodes)
        self.assertEqual(found["unclean.leader.election.enable"], "false")
        self.assertEqual(found["auto.create.topics.enable"], "false")
        self.assertEqual(found["log.message.timestamp.type"], "LogAppendTime")
        self.assertNotIn("message.max.bytes", found)  # the default takes 1,000,000 and headers

    def test_cluster_ids_are_random_and_no_flags(self):
        ids = {cluster.new_cluster_id() for _ in range(500)}
        self.assertEqual(len(ids), 500)
        for text in ids:
            self.assertRegex(text, r"^[A-Za-z0-9_][A-Za-z0-9_-]{21}$")


class PortsTest(unittest.TestCase):
    def test_ports_lie_below_the_range_of_outgoing_connections(self):
        for name, text, highest in (("usual", "32768\t60999\n", 32767),
                                    ("low", "20000 60000", 19999),
                                    ("high", "49152 65535", 32767),
                                    ("no room below", "1024 65535", 32767)):
            with self.subTest(name):
                found = ports.candidates(text)
                self.assertEqual((found[0], found[-1]), (10000, highest))

    def test_a_claimed_port_is_not_chosen_again(self):
        first = ports.claim_free(1)[0]
        with first:
            offers = iter([ports.number(first)] * 5 + list(range(15000, 16000)))
            second = ports.claim_free(1, choose=lambda _: next(offers))[0]
            with second:
                self.assertNotEqual(ports.number(first), ports.number(second))

    def test_a_broker_can_listen_on_its_claimed_port(self):
        with ports.claim_free(1)[0] as claim:
            # create_server sets SO_REUSEADDR, as Java does.
            with socket.create_server(("127.0.0.1", ports.number(claim))) as server:
                socket.create_connection(server.getsockname(), timeout=5).close()

    def test_a_port_that_somebody_listens_on_cannot_be_claimed(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with self.assertRaisesRegex(jars.KafkaError, f"port {port} is taken .* wipe"):
                ports.claim_again(port)
            with mock.patch.object(ports, "TRIES", 3), self.assertRaisesRegex(
                    jars.KafkaError, "no 1 free ports"):
                ports.claim_free(1, choose=lambda _: port)


class JarsTest(TemporaryFolder):
    WANTED = {"a.jar": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}

    def test_the_right_jars_pass(self):
        self.write("a.jar", "a")
        jars.verify(self.folder, self.WANTED)

    def test_a_wrong_jar_is_named_with_both_checksums_and_the_next_step(self):
        self.write("a.jar", "b")
        with self.assertRaises(jars.KafkaError) as caught:
            jars.verify(self.folder, self.WANTED)
        self.assertNotIsInstance(caught.exception, jars.KafkaUnavailable)
        for part in ("a.jar", "wanted " + self.WANTED["a.jar"], "found 3e23e8160039594a33894f65",
                     "rm -r " + self.folder):
            self.assertIn(part, str(caught.exception))

    def test_a_jar_too_few_or_too_many_is_named(self):
        with self.assertRaisesRegex(jars.KafkaError, "a.jar is missing"):
            jars.verify(self.folder, self.WANTED)
        self.write("a.jar", "a")
        self.write("b.jar", "b")
        with self.assertRaisesRegex(jars.KafkaError, "b.jar .* is not listed"):
            jars.verify(self.folder, self.WANTED)

    def test_the_checksums_in_the_tree_are_those_of_the_version_in_the_pom(self):
        wanted = jars.wanted_checksums()
        self.assertIn(f"kafka_2.13-{jars.version()}.jar", wanted)
        for name, checksum in wanted.items():
            self.assertRegex(checksum, "^[0-9a-f]{64}$", name)

    def test_mavens_first_error_is_shown_without_colours_and_with_its_cause(self):
        output = "\x1b[0m\n[\x1b[1;31mERROR\x1b[m] " + "x" * 300 + ": no route -> [Help 1]\nmore"
        self.assertRegex(jars.first_error(output), r"^\.\.\.x{100,}: no route$")


class UnavailableTest(TemporaryFolder):
    """The command line with programs of our own in PATH."""

    def run_start(self):
        """(exit code, standard error) of a start with no jars and only our programs."""
        script = ("import sys, jars, cluster\n"
                  f"jars.FOLDER = {self.path('kafka')!r}\n"
                  f"sys.exit(cluster.main(['start', '--dir', {self.path('cluster')!r}]))\n")
        done = subprocess.run([sys.executable, "-c", script], cwd=HERE, capture_output=True,
                              text=True, timeout=60, env={"PATH": self.folder})
        self.assertEqual(done.stdout, "")
        return done.returncode, done.stderr

    def test_without_java_it_is_skipped_in_one_line(self):
        self.assertEqual(self.run_start(), (
            69, "SKIPPED kafka: java is missing; apt-get install openjdk-17-jre-headless\n"))

    def test_without_maven_it_is_skipped_in_one_line(self):
        self.write("java", "#!/bin/sh\n", 0o755)
        self.assertEqual(self.run_start(), (
            69, "SKIPPED kafka: mvn is missing; apt-get install maven\n"))

    def test_without_a_registry_it_is_skipped_in_one_line(self):
        self.write("java", "#!/bin/sh\n", 0o755)
        self.write("mvn", "#!/bin/sh\necho '[ERROR] no route'\necho more\nexit 1\n", 0o755)
        code, error = self.run_start()
        self.assertEqual(code, 69)
        self.assertRegex(error, r"^SKIPPED kafka: Maven could not fetch Kafka \S+ \(no route\); "
                                r"check .*\n$")

    def test_a_wrong_jar_is_an_error_and_no_skip(self):
        self.write("java", "#!/bin/sh\n", 0o755)
        self.write("mvn", "#!/bin/sh\nfor a; do case $a in -DoutputDirectory=*) "
                          "d=${a#*=};; esac; done\n/bin/mkdir -p $d\n", 0o755)
        code, error = self.run_start()
        self.assertEqual(code, 1)
        self.assertIn("is missing in " + self.path("kafka", "lib.fetched"), error)
        self.assertFalse(os.path.exists(self.path("kafka", "lib")))


class StateTest(TemporaryFolder):
    def cluster(self, pid):
        made = Cluster(self.folder, jars.version(), "A" * 22,
                       [Broker(1, 20001, 21001, self.path("node-1"), pid)])
        os.makedirs(self.path("node-1"))
        self.write("node-1/server.properties", "")
        made._save()
        return made

    def test_what_is_saved_is_read_again(self):
        made = self.cluster(pid=None)
        read = Cluster.attach(self.folder)
        self.assertEqual(read.as_json(), made.as_json())
        self.assertEqual(read.bootstrap_servers, "127.0.0.1:20001")

    def test_no_state_is_no_cluster_and_a_damaged_one_an_error(self):
        self.assertIsNone(Cluster.attach(self.folder))
        self.write("cluster.json", "{}")
        with self.assertRaisesRegex(jars.KafkaError, "damaged"):
            Cluster.attach(self.folder)

    def test_another_process_with_the_same_pid_is_never_signalled(self):
        with subprocess.Popen(["sleep", "60"]) as other:
            self.addCleanup(other.kill)
            made = self.cluster(other.pid)
            self.assertEqual(made.nodes[0].state, "dead")
            self.assertEqual(made.stop(), [])
            self.assertIsNone(other.poll())
            other.kill()

    def test_a_process_that_names_the_properties_is_stopped_even_if_it_is_paused(self):
        properties = self.path("node-1", "server.properties")
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)",
                               properties]) as ours:
            self.addCleanup(ours.kill)
            made = self.cluster(ours.pid)
            self.assertTrue(made.nodes[0].wait_state("running", 10))
            made.pause(1)
            self.assertEqual(made.nodes[0].state, "paused")
            self.assertEqual(made.stop(grace_seconds=30), [])
            self.assertEqual(ours.wait(1), -signal.SIGTERM)
            self.assertEqual(made.nodes[0].state, "dead")

    def test_wiping_leaves_what_is_not_the_clusters(self):
        self.write("mine.txt", "")
        self.cluster(pid=None).stop(wipe=True)
        self.assertEqual(os.listdir(self.folder), ["mine.txt"])

    def test_another_number_of_nodes_is_refused(self):
        self.cluster(pid=None)
        with self.assertRaisesRegex(jars.KafkaError, "of 1, not 3: stop --wipe"):
            Cluster._existing_or_new(self.folder, 3)

    def test_status_says_which_nodes_live(self):
        self.cluster(pid=None)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = cluster.command_status(cluster.parse(["status", "--dir", self.folder, "--json"]))
        self.assertEqual(code, 1)
        self.assertEqual([node["state"] for node in json.loads(output.getvalue())["nodes"]],
                         ["dead"])


class LeadersTest(unittest.TestCase):
    def topics(self, *partitions):
        made = [mock.Mock(id=i, leader=leader, replicas=[1, 2, 3], isrs=isrs)
                for i, (leader, isrs) in enumerate(partitions)]
        topic = mock.Mock(topic="t", error=None, partitions={each.id: each for each in made})
        return mock.patch.object(leaders, "_metadata",
                                 return_value=mock.Mock(topics={"t": topic}))

    def test_a_copy_behind_or_no_leader_is_not_in_sync(self):
        for name, partitions, expected in (
                ("all well", [(1, [3, 2, 1]), (2, [1, 2, 3])], []),
                ("a copy is behind", [(1, [1, 2, 3]), (2, [1, 2])], [("t", 1)]),
                ("no leader", [(-1, [1, 2, 3])], [("t", 0)])):
            with self.subTest(name), self.topics(*partitions):
                self.assertEqual(leaders.behind("b"), expected)
                self.assertEqual(leaders.in_sync("b"), not expected)

    def test_the_leader_is_named_and_none_while_there_is_none(self):
        with self.topics((2, [1, 2, 3]), (-1, [1])):
            self.assertEqual(leaders.leader("b", "t", 0), 2)
            self.assertIsNone(leaders.leader("b", "t", 1))
            with self.assertRaisesRegex(jars.KafkaError, "has no topic other"):
                leaders.leader("b", "other", 0)


class RealClusterTest(TemporaryFolder):
    """About 18 s: one node, because what three add is only time."""

    @classmethod
    def setUpClass(cls):
        try:
            jars.ready()
        except jars.KafkaUnavailable as unavailable:
            print(f"SKIPPED kafka cluster: {unavailable.reason}", flush=True)
            raise unittest.SkipTest(unavailable.reason) from None

    def start(self):
        return Cluster.start(self.path("cluster"), nodes=1)

    def test_a_node_is_killed_restarted_and_paused_with_the_same_port(self):
        with self.start() as kafka:
            node = kafka.nodes[0]
            first = (node.pid, node.port)
            socket.create_connection(("127.0.0.1", node.port), timeout=5).close()
            with self.assertRaisesRegex(jars.KafkaError, "run already"):
                Cluster.start(self.path("cluster"))
            kafka.kill(1)
            self.assertEqual(node.state, "dead")
            kafka.restart(1)
            self.assertNotEqual(node.pid, first[0])
            self.assertEqual(node.port, first[1])
            kafka.pause(1)
            self.assertEqual(Cluster.attach(self.path("cluster")).nodes[0].state, "paused")
            kafka.resume(1)
            self.assertEqual(node.state, "running")
        self.assertEqual(node.state, "dead")
        with self.assertRaisesRegex(jars.KafkaError, "stopped"):
            kafka.restart(1)

    def test_the_node_ends_with_a_harness_that_is_killed(self):
        self.start().stop(grace_seconds=0)
        harness = subprocess.Popen(
            [sys.executable, "-c", "import sys, cluster\n"
             "cluster.Cluster.start(sys.argv[1])\nprint('ready', flush=True)\n"
             "sys.stdin.read()", self.path("cluster")],
            cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with harness:
            self.addCleanup(harness.kill)
            self.assertEqual(harness.stdout.readline(), "ready\n")
            node = Cluster.attach(self.path("cluster")).nodes[0]
            self.assertEqual(node.state, "running")
            harness.kill()
        self.assertTrue(node.wait_ended(10))


if __name__ == "__main__":
    unittest.main()
