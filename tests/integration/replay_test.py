"""A full replay from the beginning of all journals, with sending off, gives the state that was: the
same hash for every partition, and not one call. Real processes on a real Kafka."""

import os
import shutil
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

import lanes  # noqa: E402
import settings  # noqa: E402
from deployment import PARTITIONS, STATEFUL  # noqa: E402  (it makes tests/kafka importable)
from short_run import REPLICAS, ShortRun, customer  # noqa: E402

import needs_kafka  # noqa: E402

BUILD = os.path.dirname(os.environ["TIDEGATE_BIN"])
PATIENCE_SECONDS = 20
# Both hashes are of this moment: what returns by time alone (tokens) is then told alike.
AHEAD_SECONDS = 120
WATCH_FOR_CALLS_SECONDS = 3


def state_hashes(replicas, at_raw_ns):
    """{journal: hash} of all processes."""
    found = {}
    for replica in replicas:
        url = f"http://{replica.ports['admin']}/statehash?at_raw_ns={at_raw_ns}"
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            found.update(line.split(" ") for line in answer.read().decode().splitlines())
    return found


class ReplayTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="tidegate-replay-")
        run = ShortRun(self.folder, BUILD, seed=11)
        self.run_ = run.__enter__()
        self.addCleanup(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        self.addCleanup(lambda: run.__exit__(None, None, None))

    def test_gives_the_same_state_and_no_call(self):
        run = self.run_
        run.start()
        run.prepare()
        run.launch()
        # Doubts, held tokens and lost attempts are state, too.
        for service in STATEFUL:
            run.await_creates(run.creates() + 10)
            killed = run.lane_owner() if service == "dispatch" else run.deployment.of(service)[0]
            killed.kill()
            killed.start_again(60)
        report = run.finish()
        self.assertGreater(report["touches_sent"], 0)
        stateful = [replica for service in STATEFUL for replica in run.deployment.of(service)]
        at_raw_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) + AHEAD_SECONDS * 10**9
        before = self.steady_hashes(stateful, at_raw_ns)
        self.assertEqual(len(before), 2 * PARTITIONS + REPLICAS, before)
        self.assertEqual(len(set(before.values())), len(before), "no two states are alike")
        codes = run.deployment.terminate()
        self.assertEqual(set(codes.values()), {0}, codes)
        calls = run.calls()
        self.assertGreater(run.creates(), 0)

        for replica in run.deployment.replicas:
            # The settings' last word is the flag's.
            replica._arguments += ["--set", "send=false"]
            replica.launch()
        for replica in run.deployment.replicas:
            replica.await_ports(60)
        after = self.steady_hashes(stateful, at_raw_ns, expected=before)
        self.assertEqual(after, before)
        time.sleep(WATCH_FOR_CALLS_SECONDS)
        self.assertEqual(run.calls(), calls)
        self.assertLess(time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW), at_raw_ns,
                        "the hashes were of a moment that was still to come")
        self.check_that_it_can_differ(stateful, at_raw_ns, before)
        print(f"{len(before)} partitions, {report['calls']} campaign calls, "
              f"{report['doubts_opened']} doubts, {calls} calls in all: "
              "equal hashes after a full replay, no call", file=sys.stderr)

    def check_that_it_can_differ(self, replicas, at_raw_ns, before):
        """One order more changes its customer's partition and the index of it, and nothing else but
        perhaps the lane that is told of a tag."""
        with open(self.run_.path("one.csv"), "w", encoding="utf-8") as file:
            file.write("customer,order_id,paid_time,amount\n"
                       f"{customer(0)},one-more,2026-01-02,1.00\n")
        self.run_.client.ask("import", "purchases", self.run_.path("one.csv"), "--format", "csv",
                             "--corp", settings.CORP)
        partition = lanes.lane_of(f"{settings.CORP}/{customer(0)}", PARTITIONS)
        wanted = {f"tidegate.profiles/{partition}", f"tidegate.memberships/{partition}"}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            now = state_hashes(replicas, at_raw_ns)
            changed = {journal for journal in before if now[journal] != before[journal]}
            if wanted <= changed or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        lane = f"tidegate.ledger/{lanes.lane_of(settings.CORP, REPLICAS)}"
        self.assertEqual(changed - {lane}, wanted)

    def steady_hashes(self, replicas, at_raw_ns, expected=None):
        """When the last profiles and covers have gone their way: twice the same, or as expected."""
        deadline, last = time.monotonic() + PATIENCE_SECONDS, None
        while time.monotonic() < deadline:
            try:
                now = state_hashes(replicas, at_raw_ns)
            except urllib.error.HTTPError:
                now = None
            if now is not None and now == (expected or last):
                return now
            last = now
            time.sleep(0.5)
        return last


if __name__ == "__main__":
    needs_kafka.main()
