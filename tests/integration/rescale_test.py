"""The number of replicas of a service changes one by one while a campaign runs: for a while processes
disagree about it, fence each other, and start again with the new number, as pods do. Nothing is lost
or repeated. Real processes on a real Kafka."""

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


class RescaleTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="tidegate-rescale-")
        self.addCleanup(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        self.run_ = ShortRun(self.folder, BUILD, seed=17)
        self.addCleanup(lambda: self.run_.__exit__(None, None, None))

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
        claims = ports.claim_free(2)
        addresses = {listener: f"127.0.0.1:{ports.number(claim)}"
                     for listener, claim in zip(("grpc", "admin"), claims)}
        for claim in claims:
            claim.close()
        self.add_peer(service, addresses["grpc"])
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

    def start(self, service, ordinal, addresses):
        run = self.run_
        replica = Replica(run._processes, self.folder, BUILD, service, ordinal, MORE, addresses,
                          run.deployment.process_log)
        replica.launch()
        replica.await_ports(START_SECONDS)
        run.deployment.replicas.append(replica)

    def add_peer(self, service, address):
        path = os.path.join(self.folder, "tidegate.yaml")
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {service}: ["))
        lines[at] = f'{lines[at].removesuffix("]")}, "{address}"]'
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    needs_kafka.main()
