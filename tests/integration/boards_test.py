"""Boards, alerts and metrics pages, asked of a Prometheus that scrapes a running Tidegate: all
services as processes on a real Kafka, customers, a campaign. The Prometheus runs with the settings
that `tidegate generate prometheus-config` writes, only more often."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

from deployment import SERVICES  # noqa: E402  (it makes tests/kafka importable)
from short_run import ShortRun  # noqa: E402

import needs_kafka  # noqa: E402

# Behind tests/kafka: both have a cluster.py.
sys.path.append(os.path.join(ROOT, "tests", "deploy"))
import live  # noqa: E402
import tools  # noqa: E402

BUILD = os.path.dirname(os.environ["TIDEGATE_BIN"])
MINUTES = 5
PATIENCE_SECONDS = 30
POLL_SECONDS = 0.2
INTERVAL = "1s"


def prometheus_program():
    return shutil.which("prometheus", path=tools.BIN + os.pathsep + os.environ["PATH"])


def need_prometheus():
    if not (prometheus_program() and live.promtool_program()):
        raise tools.Unavailable("prometheus is missing; run ./dev setup --proof")


class Server:
    """A Prometheus on a free port, in a folder of its own."""

    def __init__(self, folder, settings):
        self._log_path = os.path.join(folder, "prometheus.log")
        with open(self._log_path, "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [prometheus_program(), f"--config.file={settings}",
                 f"--storage.tsdb.path={os.path.join(folder, 'tsdb')}",
                 "--web.listen-address=127.0.0.1:0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def url(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with open(self._log_path, encoding="utf-8") as log:
                found = re.search(r'msg="Listening on" address=(\S+)', log.read())
            if found:
                return f"http://{found[1]}"
            time.sleep(POLL_SECONDS)
        with open(self._log_path, encoding="utf-8") as log:
            raise AssertionError(f"Prometheus does not listen:\n{log.read()}")

    def close(self):
        self._process.kill()
        self._process.wait()


class LiveTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="tidegate-live-")
        self.addCleanup(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        self.run_ = ShortRun(self.folder, BUILD, seed=5)
        self.addCleanup(lambda: self.run_.__exit__(None, None, None))

    def test_boards_and_alerts_show_what_runs(self):
        run = self.run_
        run.start()
        server = Server(self.folder, self.settings())
        self.addCleanup(server.close)
        prometheus = live.Prometheus(server.url(), MINUTES)
        run.prepare()
        run.launch()
        report = run.finish()
        self.assertGreater(report["touches_sent"], 0)
        result = live.check_until_good(prometheus)
        self.assertEqual(result["faults"], [], "\n" + "\n".join(result["faults"]))
        self.assertEqual(result["pages"], len(run.deployment.replicas))
        print(f"{result['queries']} queries of panels and {result['alerts']} alerts answer, "
              f"{result['pages']} pages are well formed", file=sys.stderr)
        self.check_that_it_can_fail(prometheus)

    def settings(self):
        """Written by the product, for all processes."""
        folder = self.run_.path("prometheus")
        targets = [word for service in SERVICES for replica in self.run_.deployment.of(service)
                   for word in ("--target", f"{service}={replica.ports['admin']}")]
        subprocess.run([os.path.join(BUILD, "bin", "tidegate"), "generate", "prometheus-config",
                        "--out", folder, *targets], check=True, stdout=subprocess.DEVNULL)
        path = os.path.join(folder, "prometheus.yml")
        with open(path, encoding="utf-8") as file:
            text, count = re.subn(r"_interval: \w+", f"_interval: {INTERVAL}", file.read())
        self.assertEqual(count, 2, "scrapes and rules")
        tools.write(path, text)
        return path

    def check_that_it_can_fail(self, prometheus):
        """Of the same Prometheus: a board with a dead metric, an alert on a label that is not set."""
        def panel(expression):
            return {"uid": "x", "panels": [{"title": "t", "targets": [{"expr": expression}]}]}
        for expression, wanted in (("sum(tidegate_lag_records)", 0),
                                   ("sum(tidegate_lag_record)", 1),
                                   ("sum(tidegate_lag_records", 1)):
            with self.subTest(expression):
                self.assertEqual(
                    len(list(live.panel_faults([panel(expression)], prometheus.ask))), wanted)
        alert = {"alert": "Planted", "expr": 'tidegate_doubt_parked{corp="ww"} > 0'}
        self.assertEqual(list(live.alert_faults([alert], prometheus.ask)),
                         ['Planted looks at nothing: tidegate_doubt_parked{corp="ww"}'])


if __name__ == "__main__":
    needs_kafka.main(need_prometheus, (tools.Unavailable,))
