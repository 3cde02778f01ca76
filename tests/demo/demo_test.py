"""The demo's own parts, without any process.
Run: python3 -m unittest discover -s tests/demo -p '*_test.py'"""

import contextlib
import copy
import datetime
import io
import os
import tempfile
import unittest

import cdnow
import demo
import kill_runs
import settings
import summary


class GeneratedPurchasesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            cls.paths = [os.path.join(folder, name) for name in ("a", "b")]
            for path in cls.paths:
                cdnow.generate(path)
            cls.texts = []
            for path in cls.paths:
                with open(path, "rb") as file:
                    cls.texts.append(file.read())
            cls.source = cdnow.describe("generated", cls.paths[0])

    def test_is_always_the_same(self):
        self.assertEqual(self.texts[0], self.texts[1])

    def test_has_the_shape_of_the_real_file(self):
        self.assertEqual((self.source.customers, self.source.purchases), (23_570, 69_659))
        self.assertEqual(self.source.last_day, datetime.date(1998, 6, 30))
        lines = self.texts[0].decode("ascii").split("\r\n")
        self.assertEqual(lines[0], " customer_id  date number_of_cds  dollar_value")
        self.assertEqual(lines[-1], "")
        self.assertRegex(lines[1], r"^ 00001 1997\d{4} +\d+ +\d+\.\d\d$")

    def test_everybody_first_bought_in_the_first_quarter(self):
        first = {}
        for line in self.texts[0].decode("ascii").split("\r\n")[1:-1]:
            number, date = line.split()[:2]
            first[number] = min(first.get(number, date), date)
        self.assertLessEqual(max(first.values()), "19970331")


class CorpDayTest(unittest.TestCase):
    def test_begins_at_midnight_in_china(self):
        before = datetime.datetime(2026, 11, 24, 15, 59, 50, tzinfo=datetime.timezone.utc)
        self.assertEqual(cdnow.corp_day(before), datetime.date(2026, 11, 24))
        self.assertEqual(cdnow.seconds_to_midnight(before), 10)
        after = before + datetime.timedelta(seconds=10)
        self.assertEqual(cdnow.corp_day(after), datetime.date(2026, 11, 25))


class SettingsTest(unittest.TestCase):
    def test_secret_files_are_private(self):
        with tempfile.TemporaryDirectory() as folder:
            settings.write(folder, settings.Secrets())
            for name in ("corps.json", "secret-1000002", "aes-1000002"):
                self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o777, 0o600, name)

    def test_added_customers_use_every_channel(self):
        added = settings.added_customers(cdnow.owner_of)
        self.assertEqual(len({each["external_userid"] for each in added}), 500)
        self.assertEqual({each["state"] for each in added}, set(settings.CHANNELS))


class FlagsTest(unittest.TestCase):
    def test_wrong_flags_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            open(os.path.join(folder, "log"), "w", encoding="utf-8").close()
            for flags, text in ((["--window", "round"], "--window"), (["--kill", "-1"], "--kill"),
                                (["--seed", "-1"], "--seed"), (["--out", folder], "not empty"),
                                (["--build", folder], "run `./dev build` first")):
                err = io.StringIO()
                with self.subTest(flags), contextlib.redirect_stderr(err):
                    with self.assertRaises(SystemExit) as ended:
                        demo.parse(flags)
                    self.assertEqual(ended.exception.code, 2)
                    self.assertIn(text, err.getvalue())


class FakeSimulator:
    """Answers from lists, the last one for ever."""

    def __init__(self, creates_executed=0, deliveries_left=(3,), creates=(None,)):
        self._executed = creates_executed
        self._left = list(deliveries_left)
        self._creates = list(creates)

    def status(self):
        left = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        return {"calls": {"add_msg_template": {"executed": self._executed}},
                "callbacks": {"deliveries_left_min": left}}

    def wait_create(self, _):
        return self._creates.pop(0) if len(self._creates) > 1 else self._creates[0]


class FakeServer:
    def __init__(self):
        self.pid, self.started_raw_ns, self.killed = 1, 100, []

    def kill(self):
        self.killed.append(self.pid)

    def start(self, _):
        self.pid += 1
        return 12.34

    def wait_ready(self):
        pass


class KillerTest(unittest.TestCase):
    def run_killer(self, simulator, count, over=False):
        server = FakeServer()
        killer = kill_runs.Killer(server, [], simulator, count, 1, 0, lambda text: None)
        if over:
            killer.tell_campaign_over()
        killer.run()
        return killer, server

    def setUp(self):
        self._delay = kill_runs.DELAY_SECONDS
        kill_runs.DELAY_SECONDS = (0, 0)
        kill_runs.GATE_POLL_SECONDS = 0

    def tearDown(self):
        kill_runs.DELAY_SECONDS = self._delay

    def test_half_of_the_kills_wait_for_a_create(self):
        killer, server = self.run_killer(FakeSimulator(creates=[{"arrived_raw_ns": 200}]), 6)
        phases = [kill["phase"] for kill in killer.kills]
        self.assertEqual((phases.count("timed"), phases.count("create")), (3, 3))
        self.assertEqual([kill["pid"] for kill in killer.kills], server.killed)
        self.assertIsNone(killer.error)

    def test_create_of_the_former_process_is_no_reason(self):
        creates = [{"arrived_raw_ns": 50}, None, {"arrived_raw_ns": 200}]
        simulator = FakeSimulator(creates_executed=1000, creates=creates)
        killer, _ = self.run_killer(simulator, 2)
        self.assertEqual(len(killer.kills), 2)
        self.assertEqual(simulator.wait_create(0), {"arrived_raw_ns": 200})

    def test_nothing_is_killed_while_a_callback_has_one_delivery_left(self):
        simulator = FakeSimulator(deliveries_left=[1, 0, 1, 2, 3])
        killer, _ = self.run_killer(simulator, 1)
        self.assertEqual(simulator._left, [3])
        self.assertEqual(len(killer.kills), 1)

    def test_says_so_when_no_create_comes_any_more(self):
        killer, _ = self.run_killer(FakeSimulator(creates_executed=1000), 2, over=True)
        self.assertIn("1 kills at a create still to come", str(killer.error))


class FailuresTest(unittest.TestCase):
    def setUp(self):
        counts = dict(summary.CDNOW_COUNTS)
        figures = {"calls": 360, "touches_planned": 10, "touches_accepted": 9, "touches_sent": 7,
                   "touches_failed": 2, "touches_unconfirmed": 1, "touches_skipped": 0,
                   "touches_parked": 0}
        self.run_ = {
            "seed": 1, "window_kind": "fixed", "seconds": 1, "kill": 0, "kill_brokers": 0,
            "stop": 0, "kafka": False, "folder": "", "added": 5,
            "data": {"source": "cdnow", "customers": 1, "purchases": 1}, "ingest": {},
            "segments": [{"expression": each, "count": count, "took_ms": 1}
                         for each, count in counts.items()],
            "plan": {}, "report": dict(figures), "kills": [], "callbacks_exhausted": 0,
            "exit_codes": {"tidegate": 0}}
        self.verdict = {
            "checks": {"I-1": {"ok": True, "count": 0, "violations": []}},
            "segments": counts,
            "witness": {"rejected_45009": 0, "rejected_45033": 0, "lockout_seconds": 0,
                        "duplicate_touches": 0, "lost_touches": 0},
            "campaign": {**figures, "makespan_seconds": 55.3, "optimum_seconds": 55.0},
            "doubts": {"opened": 0, "accepted": 0, "not_executed": 0, "parked": 0},
            "tags": {"wanted": 3, "written": 3, "unwanted": 0},
            "welcome": {"requested": 5, "sent": 5, "late": 0, "p99_ms": 90}}

    def failures(self):
        journals = {"journal": [], "violations": [], "violation_counts": {}, "skipped": ["K-4"],
                    "stops": []}
        return summary.assemble(copy.deepcopy(self.run_), self.verdict, journals, {})["failures"]

    def test_good_run_has_none(self):
        self.assertEqual(self.failures(), [])

    def test_each_wrong_figure_is_named(self):
        rows = [
            ("lost_touches", lambda: self.verdict["witness"].update(lost_touches=1)),
            ("45009", lambda: self.verdict["witness"].update(rejected_45009=1)),
            ("welcomes requested", lambda: self.verdict["welcome"].update(sent=4)),
            ("given up", lambda: self.run_.update(callbacks_exhausted=1)),
            ("have an end", lambda: self.run_["report"].update(touches_sent=6)),
            ("tags", lambda: self.verdict["tags"].update(written=2)),
            ("I-1", lambda: self.verdict["checks"]["I-1"].update(ok=False)),
            ("segment", lambda: self.run_["segments"][0].update(count=7_584)),
            ("exit codes", lambda: self.run_["exit_codes"].update(tidegate=1)),
            ("makespan", lambda: self.verdict["campaign"].update(makespan_seconds=57.8)),
            ("0 kills instead of 2", lambda: self.run_.update(kill=2)),
        ]
        for text, spoil in rows:
            with self.subTest(text):
                self.setUp()
                spoil()
                self.assertIn(text, "\n".join(self.failures()))

    def test_slow_restarts_are_named(self):
        self.run_["kill"] = 2
        self.run_["kills"] = [{"pid": 1, "t": 1, "phase": "timed", "restart_ms": ms}
                              for ms in (900, 1_600)]
        self.verdict["doubts"]["opened"] = 1
        self.assertEqual(self.failures(), ["a restart took 1600 ms",
                                           "the median restart took 1250 ms"])


if __name__ == "__main__":
    unittest.main()
