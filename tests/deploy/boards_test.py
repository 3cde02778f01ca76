"""The committed boards and alerts: strict structure, names that exist, a runbook for each alert.

With --prometheus URL, of a Prometheus that scrapes a run with customers and a campaign, every panel
and every alert is asked there as well, and an error or an empty answer is a fault:

    python3 boards_test.py
    python3 boards_test.py --prometheus http://127.0.0.1:9090 --minutes 10
"""

import argparse
import copy
import glob
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BOARDS = os.path.join(ROOT, "helm", "files", "boards")
ALERTS = os.path.join(ROOT, "helm", "files", "alerts.yaml")
ALERT_CASES = os.path.join(ROOT, "tests", "deploy", "alerts_test.yaml")
RUNBOOKS = os.path.join(ROOT, "docs", "runbooks.md")
NAMES = os.path.join(ROOT, "common", "metrics", "names.h")

# What may be empty in a healthy run, and why: (uid of the board, title of the panel, legend).
MAY_BE_EMPTY = {
    ("tidegate-log", "Silence of Kafka", "{{service}} {{instance}}"):
        "the run may use the embedded log",
}
METRIC_MAY_BE_EMPTY = {
    "tidegate_kafka_answer_age_seconds": "the run may use the embedded log",
}

UNITS = {"s", "short", "percentunit", "cps", "reqps", "bytes"}
SCHEMA_VERSIONS = range(39, 43)
COLUMNS = 24

# ---- Structure: the keys that an object must have, and no other. A dict goes on below. ----

ANY = object()
DATASOURCE = {"type": str, "uid": str}
GRID = {"h": int, "w": int, "x": int, "y": int}
TARGET = {"refId": str, "datasource": DATASOURCE, "editorMode": str, "expr": str,
          "legendFormat": str, "range": bool}
THRESHOLDS = {"mode": str, "steps": [{"color": str, "value": ANY}]}
GRAPH_STYLE = {"drawStyle": str, "fillOpacity": int, "lineWidth": int, "showPoints": str,
               "spanNulls": bool, "stacking": {"group": str, "mode": str},
               "thresholdsStyle": {"mode": str}}
GRAPH_OPTIONS = {"legend": {"calcs": [str], "displayMode": str, "placement": str,
                            "showLegend": bool},
                 "tooltip": {"mode": str, "sort": str}}
STAT_OPTIONS = {"colorMode": str, "graphMode": str, "justifyMode": str, "orientation": str,
                "reduceOptions": {"calcs": [str], "fields": str, "values": bool}, "textMode": str,
                "percentChangeColorMode": str, "showPercentChange": bool, "wideLayout": bool}


def panel_shape(style, options):
    return {"id": int, "type": str, "title": str, "description": str, "datasource": DATASOURCE,
            "gridPos": GRID, "options": options, "targets": [TARGET],
            "fieldConfig": {"defaults": {"unit": str, "min": int, "max": int,
                                         "color": {"mode": str}, "custom": style,
                                         "mappings": [ANY], "thresholds": THRESHOLDS},
                            "overrides": [ANY]}}


PANELS = {"timeseries": panel_shape(GRAPH_STYLE, GRAPH_OPTIONS),
          "stat": panel_shape({}, STAT_OPTIONS),
          "row": {"id": int, "type": str, "title": str, "collapsed": bool, "gridPos": GRID,
                  "panels": [ANY]}}
VARIABLES = {
    "datasource": {"type": str, "name": str, "label": str, "query": str, "regex": str,
                   "refresh": int, "hide": int, "includeAll": bool, "multi": bool,
                   "options": [ANY], "current": {"text": str, "value": str}},
    "query": {"type": str, "name": str, "label": str, "datasource": DATASOURCE, "definition": str,
              "query": {"query": str, "refId": str}, "regex": str, "refresh": int, "sort": int,
              "hide": int, "includeAll": bool, "allValue": str, "multi": bool, "options": [ANY],
              "current": {"selected": bool, "text": [str], "value": [str]}}}
LINK = {"type": str, "title": str, "tags": [str], "asDropdown": bool, "icon": str,
        "includeVars": bool, "keepTime": bool, "targetBlank": bool, "tooltip": str, "url": str}
BOARD = {"uid": str, "title": str, "description": str, "tags": [str], "schemaVersion": int,
         "version": int, "editable": bool, "graphTooltip": int, "refresh": str,
         "time": {"from": str, "to": str}, "timepicker": {}, "timezone": str,
         "annotations": {"list": [ANY]}, "links": [LINK], "templating": {"list": [ANY]},
         "panels": [ANY]}
# `max` stands only where the unit has a natural end.
OPTIONAL = {"max"}


def shape_faults(value, shape, where):
    if shape is ANY:
        return
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{where} is no object"
            return
        for key in sorted(value.keys() - shape.keys()):
            yield f"{where} has an unknown key {key}"
        for key in sorted(shape.keys() - value.keys() - OPTIONAL):
            yield f"{where} has no {key}"
        for key in value.keys() & shape.keys():
            yield from shape_faults(value[key], shape[key], f"{where}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for index, item in enumerate(value):
            yield from shape_faults(item, shape[0], f"{where}[{index}]")
    elif type(value) is not shape:  # a bool is no int here
        yield f"{where} is {type(value).__name__}, not {shape.__name__}"


# ---- Names ----

def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def known_metrics():
    """Series by name, as common/metrics/names.h lists them, and what Prometheus makes itself."""
    series = {"up", "ALERTS"}
    for name, kind in re.findall(r'\{"([a-z_]+)",\s*MetricType::k(\w+)', read(NAMES)):
        series |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} \
            if kind == "Histogram" else {name}
    return series


def metrics_of(expression):
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:tidegate|grpc_server|process)_\w+|\bup\b|\bALERTS\b", bare))


def panels_of(board):
    return [panel for panel in board.get("panels", []) if panel.get("type") != "row"]


def expressions_of(board):
    """(place, expression) of every query."""
    for panel in panels_of(board):
        for target in panel.get("targets", []):
            yield ((board.get("uid"), panel.get("title"), target.get("legendFormat")),
                   target.get("expr", ""))


def board_faults(board, known):
    uid = board.get("uid")
    yield from shape_faults(board, BOARD, f"{uid}")
    if not re.fullmatch(r"tidegate-[a-z]{1,30}", uid or ""):
        yield f"{uid} is no fixed uid"
    if board.get("schemaVersion") not in SCHEMA_VERSIONS:
        yield f"{uid}: schemaVersion {board.get('schemaVersion')}"
    ids, cells = set(), set()
    for panel in board.get("panels", []):
        where = f"{uid}: {panel.get('title')}"
        shape = PANELS.get(panel.get("type"))
        if shape is None:
            yield f"{where} has the unknown type {panel.get('type')}"
            continue
        faults = list(shape_faults(panel, shape, where))
        yield from faults
        if faults:
            continue
        if panel["id"] in ids:
            yield f"{where} repeats the id {panel['id']}"
        ids.add(panel["id"])
        at = panel["gridPos"]
        if at["x"] < 0 or at["w"] < 1 or at["h"] < 1 or at["x"] + at["w"] > COLUMNS:
            yield f"{where} stands outside the board"
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"])
               for y in range(at["y"], at["y"] + at["h"])}
        if own & cells:
            yield f"{where} overlaps another panel"
        cells |= own
        if panel["type"] != "row":
            yield from panel_faults(panel, where, known)
    yield from variable_faults(board)


def panel_faults(panel, where, known):
    if not panel["description"].endswith("."):
        yield f"{where} has no description"
    if panel["fieldConfig"]["defaults"]["unit"] not in UNITS:
        yield f"{where} has the unknown unit {panel['fieldConfig']['defaults']['unit']}"
    if not panel["targets"]:
        yield f"{where} asks nothing"
    if panel["datasource"]["uid"] != "${datasource}":
        yield f"{where} names a data source of its own"
    ref_ids = [target["refId"] for target in panel["targets"]]
    if len(set(ref_ids)) != len(ref_ids):
        yield f"{where} repeats a refId"
    for target in panel["targets"]:
        expression = target["expr"]
        if not metrics_of(expression):
            yield f"{where}: no metric in {expression!r}"
        for name in sorted(metrics_of(expression) - known):
            yield f"{where}: unknown metric {name}"
        if re.search(r"rate\([^\[]*\[(?!\$__rate_interval\])", expression):
            yield f"{where}: a rate over a fixed time"


def variable_faults(board):
    uid = board.get("uid")
    variables = board.get("templating", {}).get("list", [])
    names = [variable.get("name") for variable in variables]
    if names[:1] != ["datasource"] or variables[0].get("type") != "datasource":
        yield f"{uid}: the first variable is not the data source"
    for variable in variables:
        shape = VARIABLES.get(variable.get("type"))
        where = f"{uid}: variable {variable.get('name')}"
        if shape is None:
            yield f"{where} has the unknown type {variable.get('type')}"
        else:
            yield from shape_faults(variable, shape, where)
    used = set()
    for _, expression in expressions_of(board):
        used |= set(re.findall(r"\$\{?(\w+)", expression))
    for name in sorted(used - set(names) - {"__rate_interval"}):
        yield f"{uid}: ${name} is used and not defined"
    for name in sorted(set(names) - used - {"datasource"}):
        yield f"{uid}: ${name} is defined and not used"


# ---- Alerts ----

def parse_alerts(text):
    """The one shape that the generator writes; anything else is an error."""
    lines = text.splitlines()
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    if lines[:3] != ["groups:", "  - name: tidegate", "    rules:"]:
        raise ValueError("alerts.yaml does not begin with the group tidegate")
    alerts = []
    number = 3
    while number < len(lines):
        line = lines[number]
        number += 1
        if match := re.fullmatch(r"      - alert: (\w+)", line):
            alerts.append({"alert": match[1]})
        elif line == "        expr: |-":
            block = []
            while number < len(lines) and lines[number].startswith("          "):
                block.append(lines[number][10:])
                number += 1
            alerts[-1]["expr"] = "\n".join(block)
        elif match := re.fullmatch(r"        for: (\w+)|          severity: (\w+)", line):
            alerts[-1]["for" if match[1] else "severity"] = match[1] or match[2]
        elif match := re.fullmatch(r'          (summary|description|runbook_url): (".*")', line):
            alerts[-1][match[1]] = json.loads(match[2])
        elif line not in ("        labels:", "        annotations:"):
            raise ValueError(f"alerts.yaml has the line {line!r}")
    return alerts


def anchors_of(page):
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", page, re.M)}


def alert_faults(alerts, page, known):
    names = [alert["alert"] for alert in alerts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} is there twice"
    anchors = anchors_of(page)
    for alert in alerts:
        name = alert["alert"]
        for key in ("expr", "severity", "summary", "description", "runbook_url"):
            if not alert.get(key):
                yield f"{name} has no {key}"
        if alert.get("severity") not in ("page", "ticket"):
            yield f"{name} has the severity {alert.get('severity')}"
        url, _, anchor = alert.get("runbook_url", "").partition("#")
        if not url.startswith("https://") or not url.endswith("docs/runbooks.md"):
            yield f"{name} has its runbook at {url}"
        if anchor not in anchors:
            yield f"{name} has no runbook: there is no heading #{anchor}"
        for metric in sorted(metrics_of(alert.get("expr", "")) - known):
            yield f"{name}: unknown metric {metric}"
    for link in re.findall(r"\]\(#([\w-]+)\)", page):
        if link not in anchors:
            yield f"the runbooks link to #{link}, which is not there"


def coverage_faults(alerts, cases):
    """Each alert has a case that fires and one that stays silent."""
    fires, silent = set(), set()
    for name, rest in re.findall(r"alertname: (\w+)\n((?:(?!alertname:)[\s\S])*)", cases):
        (silent if re.search(r"exp_alerts: \[\]", rest) else fires).add(name)
    for alert in alerts:
        if alert["alert"] not in fires:
            yield f"{alert['alert']} has no case in which it fires"
        if alert["alert"] not in silent:
            yield f"{alert['alert']} has no case in which it is silent"


# ---- Asking a Prometheus ----

class Prometheus:
    """Answers are lists of series with values; a wrong expression raises ValueError."""

    def __init__(self, url, minutes):
        self.url = url.rstrip("/")
        self.minutes = minutes

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error

    def ask(self, expression):
        now = time.time()
        return self.get("query_range", query=expression, start=now - 60 * self.minutes, end=now,
                        step="15s")["result"]

    def label_values(self, metric, label):
        return self.get(f"label/{label}/values", **{"match[]": metric})


def with_values(expression):
    """An expression of a board as Grafana would send it with everything chosen."""
    expression = expression.replace("$__rate_interval", "1m")
    return re.sub(r"\$\{?\w+\}?", ".*", expression)


def is_empty(series):
    return not any(math.isfinite(float(value)) for one in series for _, value in one["values"])


def answer_faults(questions, ask, may_be_empty):
    """`questions`: (place, expression). `ask` gives the series of an expression."""
    for place, expression in questions:
        try:
            empty = is_empty(ask(expression))
        except ValueError as error:
            yield f"{place}: {error}: {expression}"
            continue
        if empty and place not in may_be_empty:
            yield f"{place} is empty: {expression}"


def load_boards():
    return [json.loads(read(path)) for path in sorted(glob.glob(os.path.join(BOARDS, "*.json")))]


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

    def test_what_may_be_empty_exists(self):
        places = {place for board in self.boards for place, _ in expressions_of(board)}
        self.assertEqual(MAY_BE_EMPTY.keys() - places, set())
        self.assertEqual(METRIC_MAY_BE_EMPTY.keys() - self.known, set())

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_the_expressions_are_promql(self):
        rules = [{"record": f"board:panel{number}", "expr": with_values(expression)}
                 for number, (_, expression) in enumerate(
                     question for board in self.boards for question in expressions_of(board))]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"groups": [{"name": "boards", "rules": rules}]}, file)
            file.flush()
            done = subprocess.run(["promtool", "check", "rules", "--lint=none", file.name],
                                  capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class AlertsTest(unittest.TestCase):
    def setUp(self):
        self.alerts = parse_alerts(read(ALERTS))
        self.page = read(RUNBOOKS)

    def test_the_alerts_are_whole_and_have_runbooks(self):
        self.assertEqual(len(self.alerts), 15)
        self.assertEqual(list(alert_faults(self.alerts, self.page, known_metrics())), [])

    def test_every_alert_is_tested_both_ways(self):
        self.assertEqual(list(coverage_faults(self.alerts, read(ALERT_CASES))), [])

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_finds_nothing(self):
        for command in (["check", "rules", "--lint=all", "--lint-fatal", ALERTS],
                        ["test", "rules", ALERT_CASES]):
            done = subprocess.run(["promtool", *command], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class PlantedFaultsTest(unittest.TestCase):
    """The checks can fail."""

    def setUp(self):
        self.board = load_boards()[0]
        self.panel = panels_of(self.board)[0]
        self.known = known_metrics()
        self.alerts = parse_alerts(read(ALERTS))
        self.page = read(RUNBOOKS)

    def found(self, text):
        faults = list(board_faults(self.board, self.known))
        self.assertTrue(any(text in fault for fault in faults), faults)

    def test_a_dead_metric(self):
        self.panel["targets"][0]["expr"] = "sum(tidegate_stages_in_total)"
        self.found("unknown metric tidegate_stages_in_total")

    def test_a_metric_that_nobody_shows(self):
        def ask(expression):
            dead = "tidegate_lag_seconds" in expression
            return [] if dead else [{"metric": {}, "values": [[0, "1"]]}]
        faults = list(answer_faults(expressions_of(load_boards()[2]), ask, MAY_BE_EMPTY))
        self.assertTrue(faults)
        self.assertTrue(all("is empty" in fault for fault in faults), faults)

    def test_an_answer_of_nothing_but_nan(self):
        faults = list(answer_faults([("p", "x")], lambda _: [{"values": [[0, "NaN"]]}], {}))
        self.assertEqual(faults, ["p is empty: x"])

    def test_an_error(self):
        def ask(_):
            raise ValueError("parse error")
        self.assertEqual(len(list(answer_faults([("p", "x")], ask, {"p": "why"}))), 1)

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
        cases = read(ALERT_CASES) + "      - alertname: TidegateNew\n        exp_alerts:\n          - x"
        self.assertEqual(list(coverage_faults(alerts, cases)),
                         ["TidegateNew has no case in which it is silent"])


class LiveTest(unittest.TestCase):
    """Only with --prometheus."""

    prometheus = None

    def setUp(self):
        if self.prometheus is None:
            self.skipTest("no --prometheus URL")

    def test_every_panel_shows_something(self):
        questions = [(place, with_values(expression)) for board in load_boards()
                     for place, expression in expressions_of(board)]
        faults = list(answer_faults(questions, self.prometheus.ask, MAY_BE_EMPTY))
        print(f"asked {len(questions)} queries of panels, {len(faults)} faults", file=sys.stderr)
        self.assertEqual(faults, [], "\n" + "\n".join(faults))

    def test_every_variable_has_values(self):
        for board in load_boards():
            for variable in board["templating"]["list"][1:]:
                metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)",
                                             variable["definition"]).groups()
                self.assertTrue(self.prometheus.label_values(with_values(metric), label),
                                variable["definition"])

    # A healthy run fires nothing, so an alert is asked for errors, and its metrics for values.
    def test_every_alert_can_be_asked_and_its_metrics_exist(self):
        alerts = parse_alerts(read(ALERTS))
        may = {alert["alert"]: "silent when healthy" for alert in alerts}
        faults = list(answer_faults([(alert["alert"], alert["expr"]) for alert in alerts],
                                    self.prometheus.ask, may))
        names = sorted({name for alert in alerts for name in metrics_of(alert["expr"])})
        faults += answer_faults([(name, name) for name in names], self.prometheus.ask,
                                METRIC_MAY_BE_EMPTY)
        print(f"asked {len(alerts)} alerts and {len(names)} metrics, {len(faults)} faults",
              file=sys.stderr)
        self.assertEqual(faults, [], "\n" + "\n".join(faults))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", metavar="URL", help="ask every expression there")
    parser.add_argument("--minutes", type=float, default=30,
                        help="how far back an answer counts (30)")
    options, rest = parser.parse_known_args()
    if options.prometheus:
        LiveTest.prometheus = Prometheus(options.prometheus, options.minutes)
    unittest.main(argv=sys.argv[:1] + rest)
