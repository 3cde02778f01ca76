"""The committed boards and alerts, and that the checks of them can fail."""

import copy
import glob
import json
import os
import re
import subprocess
import tempfile
import unittest

import live
import tools
from alerts import ALERTS, CASES, RUNBOOKS, alert_faults, coverage_faults, load_alerts
from boards import BOARDS, board_faults, expressions_of, known_metrics, load_boards, panels_of, read

PROMTOOL = live.promtool_program()
BOARD_CHECK = tools.path_of("board-check")


def board_check(*files):
    done = subprocess.run([BOARD_CHECK, *files], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    return done.returncode, done.stdout


class BoardsTest(unittest.TestCase):
    def setUp(self):
        self.boards = load_boards()
        self.known = known_metrics()

    def test_the_boards_are_whole(self):
        self.assertEqual(len(self.boards), 5)
        self.assertEqual(len({board["uid"] for board in self.boards}), 5)
        for board in self.boards:
            self.assertEqual(list(board_faults(board, self.known)), [])

    def test_a_file_is_called_like_its_uid(self):
        for path in glob.glob(os.path.join(BOARDS, "*")):
            name = os.path.basename(path)
            self.assertEqual(json.loads(read(path))["uid"] + ".json", f"tidegate-{name}")

    @unittest.skipUnless(BOARD_CHECK, "board-check is missing")
    def test_they_decode_as_grafanas_own_types(self):
        files = glob.glob(os.path.join(BOARDS, "*.json"))
        self.assertEqual(board_check(*files), (0, ""))

    @unittest.skipUnless(PROMTOOL, "promtool is missing")
    def test_the_expressions_are_promql(self):
        rules = [{"record": f"board:panel{number}", "expr": live.with_values(expression)}
                 for number, (_, expression) in enumerate(
                     question for board in self.boards for question in expressions_of(board))]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"groups": [{"name": "boards", "rules": rules}]}, file)
            file.flush()
            done = subprocess.run([PROMTOOL, "check", "rules", "--lint=none", file.name],
                                  capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class AlertsTest(unittest.TestCase):
    def setUp(self):
        self.alerts = load_alerts()
        self.page = read(RUNBOOKS)

    def test_the_alerts_are_whole_and_have_runbooks(self):
        self.assertEqual(len(self.alerts), 16)
        self.assertEqual(list(alert_faults(self.alerts, self.page, known_metrics())), [])

    def test_every_alert_is_tested_both_ways(self):
        self.assertEqual(list(coverage_faults(self.alerts, read(CASES))), [])

    @unittest.skipUnless(PROMTOOL, "promtool is missing")
    def test_promtool_finds_nothing(self):
        for command in (["check", "rules", "--lint=all", "--lint-fatal", ALERTS],
                        ["test", "rules", CASES]):
            done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class PlantedFaultsTest(unittest.TestCase):
    """The checks can fail."""

    def setUp(self):
        self.board = load_boards()[0]
        self.panel = panels_of(self.board)[0]
        self.known = known_metrics()
        self.alerts = load_alerts()
        self.page = read(RUNBOOKS)

    def found(self, text):
        faults = list(board_faults(self.board, self.known))
        self.assertTrue(any(text in fault for fault in faults), faults)

    def test_a_dead_metric(self):
        self.panel["targets"][0]["expr"] = "sum(tidegate_stages_in_total)"
        self.found("unknown metric tidegate_stages_in_total")

    @unittest.skipUnless(BOARD_CHECK, "board-check is missing")
    def test_a_key_that_grafana_does_not_know(self):
        self.panel["gridPosition"] = self.panel.pop("gridPos")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.board, file)
            file.flush()
            code, said = board_check(file.name)
        self.assertEqual(code, 1)
        self.assertIn("gridPosition", said)

    def test_an_unknown_key(self):
        self.panel["fieldConfig"]["defaults"]["units"] = "s"
        self.found("unknown key units")

    def test_a_missing_description(self):
        self.panel["description"] = ""
        self.found("no description")

    def test_an_overlap(self):
        self.panel["gridPos"] = dict(panels_of(self.board)[1]["gridPos"])
        self.found("overlaps")

    def test_an_id_twice(self):
        self.panel["id"] = panels_of(self.board)[1]["id"]
        self.found("repeats the id")

    def test_an_undefined_variable(self):
        self.panel["targets"][0]["expr"] = 'sum(up{job="$cluster"})'
        self.found("$cluster is used and not defined")

    def test_a_rate_over_a_fixed_time(self):
        self.panel["targets"][0]["expr"] = "sum(rate(tidegate_stage_in_total[5m]))"
        self.found("a rate over a fixed time")

    def test_an_alert_without_runbook(self):
        name = self.alerts[4]["alert"]
        page = re.sub(rf"^## {name}$", "## Something else", self.page, flags=re.M)
        faults = list(alert_faults(self.alerts, page, self.known))
        self.assertIn(f"{name} has no runbook: there is no heading #{name.lower()}", faults)

    def test_an_alert_on_a_dead_metric(self):
        self.alerts[0]["expr"] = "tidegate_gone > 0"
        self.assertEqual(list(alert_faults(self.alerts, self.page, self.known)),
                         [f"{self.alerts[0]['alert']}: unknown metric tidegate_gone"])

    def test_an_alert_without_a_silent_case(self):
        alerts = copy.deepcopy(self.alerts) + [{"alert": "TidegateNew"}]
        cases = read(CASES) + "      - alertname: TidegateNew\n        exp_alerts:\n          - x"
        self.assertEqual(list(coverage_faults(alerts, cases)),
                         ["TidegateNew has no case in which it is silent"])


class AnswersTest(unittest.TestCase):
    """Of a Prometheus, with faults planted."""

    ONE = [{"metric": {}, "values": [[0, "1"]]}]

    @staticmethod
    def without(dead):
        return lambda expression: [] if dead in expression else AnswersTest.ONE

    def test_all_is_there(self):
        self.assertEqual(list(live.panel_faults(load_boards(), lambda _: self.ONE)), [])
        self.assertEqual(list(live.alert_faults(load_alerts(), lambda _: self.ONE)), [])
        self.assertEqual(list(live.variable_faults(load_boards(), lambda *_: ["a"])), [])

    def test_a_metric_that_nobody_shows(self):
        dead = "tidegate_lag_seconds"
        faults = list(live.panel_faults(load_boards(), self.without(dead)))
        self.assertTrue(faults)
        self.assertTrue(all("is empty" in fault and dead in fault for fault in faults), faults)
        self.assertEqual(list(live.panel_faults(load_boards(), self.without(dead),
                                                lambda expression: dead in expression)), [])
        self.assertEqual(list(live.alert_faults(load_alerts(), self.without(dead))),
                         [f"TidegateLagSecondsHigh looks at nothing: {dead}"])

    def test_a_label_that_nobody_sets(self):
        faults = list(live.alert_faults(load_alerts(), self.without("state=")))
        self.assertEqual(faults, ["TidegateCampaignStalled looks at nothing: "
                                  'tidegate_campaigns{state="running"}'])

    def test_errors_may_be_absent_but_not_their_label(self):
        self.assertEqual(list(live.alert_faults(load_alerts(), self.without('errcode=~"4'))), [])
        faults = list(live.alert_faults(load_alerts(), self.without("errcode")))
        self.assertEqual({fault.split()[0] for fault in faults},
                         {"TidegateRateLimitedByWecom", "TidegateTokenRefreshFailing",
                          "TidegateCampaignStalled"})

    def test_nothing_but_nan(self):
        nan = [{"metric": {}, "values": [[0, "NaN"]]}]
        self.assertTrue(list(live.panel_faults(load_boards(), lambda _: nan)))

    def test_an_error(self):
        def ask(_):
            raise ValueError("parse error")
        boards = load_boards()
        self.assertEqual(len(list(live.panel_faults(boards, ask, lambda _: True))),
                         sum(len(list(expressions_of(board))) for board in boards))
        self.assertEqual(len(list(live.alert_faults(load_alerts(), ask))), 16)

    def test_a_variable_without_values(self):
        self.assertTrue(list(live.variable_faults(load_boards(), lambda *_: [])))

    def test_a_rule_that_is_not_evaluated(self):
        alerts = load_alerts()[:2]
        names = [alert["alert"] for alert in alerts]
        self.assertEqual(
            list(live.evaluation_faults(alerts, [{"name": names[0], "health": "err",
                                                  "lastError": "why"}])),
            [f"{names[0]} is err: why", f"{names[1]} is not evaluated"])


def main():
    for program, found in (("promtool", PROMTOOL), ("board-check", BOARD_CHECK)):
        if not found:
            print(f"SKIPPED boards_test: {program} is missing; run ./dev setup --proof", flush=True)
    unittest.main()


if __name__ == "__main__":
    main()
