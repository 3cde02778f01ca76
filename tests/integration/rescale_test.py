"""The number of replicas of a service changes one by one while a campaign runs: for a while processes
disagree about it, fence each other, and start again with the new number, as pods do. Nothing is lost
or repeated. Real processes on a real Kafka. The number is written down, or found by names, which
then stand in a hosts file that only this test and its processes see.
"""

import ctypes
import json
import os
import shutil
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

from deployment import EXIT_FENCED, Replica  # noqa: E402  (it makes tests/kafka importable)
from short_run import REPLICAS, ShortRun  # noqa: E402

import needs_kafka  # noqa: E402
import ports  # noqa: E402

BUILD = os.path.dirname(os.environ["TIDEGATE_BIN"])
MORE = REPLICAS + 1
START_SECONDS = 60
END_SECONDS = 30
SETTLE_MS = 1000
HOSTS = "/etc/hosts"
CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC = 0x20000, 0x1000, 1 << 18, 0x4000


class PrivateHosts:
    """Names of 127.0.0.1 for this process and those that it starts. OSError where the machine does
    not allow that."""

    def __init__(self, folder):
        self._path = os.path.join(folder, "hosts")
        with open(HOSTS, encoding="utf-8") as file:
            self._usual = file.read()
        self.set([])
        libc = ctypes.CDLL(None, use_errno=True)
        for done in (lambda: libc.unshare(CLONE_NEWNS),
                     lambda: libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None),
                     lambda: libc.mount(self._path.encode(), HOSTS.encode(), None, MS_BIND, None)):
            if done() != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def set(self, names):
        # In place: the mount is of this very file.
        with open(self._path, "w", encoding="utf-8") as file:
            file.write(self._usual + "".join(f"\n127.0.0.1 {name}" for name in names) + "\n")


class RescaleTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="tidegate-rescale-")
        self.addCleanup(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        self.run_ = ShortRun(self.folder, BUILD, seed=17)
        self.addCleanup(lambda: self.run_.__exit__(None, None, None))
        self.counted = []  # (log, what it must say) of each process

    def test_a_change_one_by_one_loses_and_repeats_nothing(self):
        run = self.run_
        run.start()
        run.prepare()
        run.launch()
        ended = []
        for service in ("tagging", "segmentation"):
            run.await_creates(run.creates() + 3)
            ended += self.rescale(service)
        # It asks segmentation, whose addresses are others now.
        for replica in run.deployment.of("dispatch"):
            self.assertEqual(replica.terminate(), 0)
            replica.start_again(START_SECONDS)
        report = run.finish()
        self.assertGreater(report["touches_sent"], 0)
        codes = run.end()
        self.assertEqual(set(codes.values()), {0}, codes)
        verdict = run.judge()
        self.assertTrue(verdict["valid"], verdict)
        # Whoever still owned by the old number was fenced, or ended in order before that.
        self.assertLessEqual(set(ended), {0, EXIT_FENCED})
        self.assertIn(EXIT_FENCED, ended)
        print(f"from {REPLICAS} to {MORE} replicas: exit codes {ended}, {report['calls']} calls, "
              f"{sum(journal['fences'] for journal in verdict['journal'])} fences",
              file=sys.stderr)

    def rescale(self, service):
        """One replica more; the exit codes of the old ones."""
        deployment = self.run_.deployment
        addresses = self.free_addresses()
        self.set_peers(service, [*(deployment.address(service, ordinal, "grpc")
                                   for ordinal in range(REPLICAS)), addresses["grpc"]])
        old = deployment.of(service)
        codes = []
        self.start(service, REPLICAS, addresses)
        for replica in reversed(old):
            # Its new pod starts when the old one has ended, by itself or by SIGTERM.
            code = replica.terminate()
            codes.append(code)
            deployment.replicas.remove(replica)
            own = {listener: deployment.address(service, replica.replica, listener)
                   for listener in ("grpc", "admin")}
            self.start(service, replica.replica, own)
        return codes

    def free_addresses(self):
        claims = ports.claim_free(2)
        addresses = {listener: f"127.0.0.1:{ports.number(claim)}"
                     for listener, claim in zip(("grpc", "admin"), claims)}
        for claim in claims:
            claim.close()
        return addresses

    def start(self, service, ordinal, addresses, count=MORE, told=None):
        """`told` as the number of replicas, by default the count, it must run with the count."""
        run = self.run_
        replica = Replica(run._processes, self.folder, BUILD, service, ordinal, told or count,
                          addresses, run.deployment.process_log)
        replica.replicas = count
        replica.launch()
        replica.await_ports(START_SECONDS)
        run.deployment.replicas.append(replica)
        self.counted.append((replica.log_path, f"is ready, replica {ordinal}/{count}\n"))
        return replica

    def set_peers(self, service, addresses, *more):
        path = os.path.join(self.folder, "tidegate.yaml")
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {service}: ["))
        lines[at:at + 1] = [f"  {service}: {json.dumps(addresses)}", *more]
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def test_replicas_count_themselves_by_their_names(self):
        try:
            hosts = PrivateHosts(self.folder)
        except OSError as error:
            self.skipTest(f"no hosts file of its own: {error}")
        run = self.run_
        run.start()
        run.prepare()
        names = [f"tagging-{ordinal}.pods" for ordinal in range(MORE)]
        addresses = [{listener: run.deployment.address("tagging", ordinal, listener)
                      for listener in ("grpc", "admin")} for ordinal in range(REPLICAS)]
        addresses.append(self.free_addresses())
        self.set_peers("tagging", [f"{name}:{each['grpc'].split(':')[1]}"
                                   for name, each in zip(names, addresses)],
                       f"  settle_ms: {SETTLE_MS}")

        def start(ordinal, count):
            return self.start("tagging", ordinal, addresses[ordinal], count, f"1-{MORE}")

        def end(replica):
            """Without being told to; its exit code."""
            run.deployment.replicas.remove(replica)
            return replica.await_exit(replica.process, END_SECONDS)

        hosts.set(names[:REPLICAS])
        for replica in run.deployment.of("tagging"):
            run.deployment.replicas.remove(replica)
            self.assertEqual(replica.terminate(), 0)
        two = [start(ordinal, REPLICAS) for ordinal in range(REPLICAS)]
        run.launch()
        run.await_creates(run.creates() + 3)
        hosts.set(names)
        last = start(REPLICAS, MORE)
        rising = [end(replica) for replica in two]
        three = [start(ordinal, MORE) for ordinal in range(REPLICAS)]
        # Who is told by name alone: nobody fences when a replica goes.
        hosts.set(names[:REPLICAS])
        self.assertEqual(last.terminate(), 0)
        run.deployment.replicas.remove(last)
        self.assertEqual([end(replica) for replica in three], [0] * REPLICAS)
        for ordinal in range(REPLICAS):
            start(ordinal, REPLICAS)
        report = run.finish()
        self.assertGreater(report["touches_sent"], 0)
        codes = run.end()
        self.assertEqual(set(codes.values()), {0}, codes)
        verdict = run.judge()
        self.assertTrue(verdict["valid"], verdict)
        self.assertLessEqual(set(rising), {0, EXIT_FENCED})
        for log, text in self.counted:
            with open(log, encoding="utf-8") as file:
                self.assertIn(text, file.read())
        print(f"from {REPLICAS} to {MORE} replicas and back: exit codes {rising}, "
              f"{report['calls']} calls", file=sys.stderr)


if __name__ == "__main__":
    needs_kafka.main()
