#!/usr/bin/env python3
"""Asks a Prometheus that scrapes a running Tidegate for all that boards and alerts show.

Every query of every panel must have an answer with a number in it, and every variable of a board a
value. Alerts are silent in a healthy run: each must be understood, and each series that it looks at
must be there, but for errors that did not happen. The run needs customers and a campaign. promtool
reads the metrics page of every process that is scraped.
Exit code 0: all is there. 1: something is not; a sentence for each. 2: wrong flags.

Examples:
  python3 tests/deploy/live.py --prometheus http://127.0.0.1:9090
  python3 tests/deploy/live.py --prometheus http://127.0.0.1:9090 --minutes 2 --embedded
"""

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import tools
from alerts import load_alerts, selectors_of
from boards import expressions_of, load_boards

JOB = "tidegate"
ANSWER_SECONDS = 30
PATIENCE_SECONDS = 30
POLL_SECONDS = 0.5
STEP = "5s"
# Of Kafka's client alone.
KAFKA = "tidegate_kafka_"


class Prometheus:
    """What it answers of the last `minutes`. A wrong expression raises ValueError. Answers are lists
    of series with values."""

    def __init__(self, url, minutes):
        self._url = url.rstrip("/")
        self._minutes = minutes

    def _get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            answer = read(f"{self._url}/api/v1/{path}?{query}")
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error
        return json.loads(answer)["data"]

    def ask(self, expression):
        now = time.time()
        return self._get("query_range", query=expression, start=now - 60 * self._minutes, end=now,
                         step=STEP)["result"]

    def label_values(self, metric, label):
        return self._get(f"label/{label}/values", **{"match[]": metric})

    def alerts(self):
        """The alerts that it evaluates, with their health and last error."""
        return [rule for group in self._get("rules", type="alert")["groups"]
                for rule in group["rules"]]

    def pages(self):
        """URLs of the metrics pages of our processes."""
        return sorted(target["scrapeUrl"] for target in self._get("targets")["activeTargets"]
                      if target["labels"]["job"] == JOB)


def read(url):
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
        return answer.read()


def with_values(expression):
    """An expression of a board as Grafana would send it with everything chosen."""
    expression = expression.replace("$__rate_interval", "1m")
    return re.sub(r"\$\{?\w+\}?", ".*", expression)


def has_number(series):
    return any(math.isfinite(float(value)) for one in series for _, value in one["values"])


def answers(ask, *expressions):
    """Whether one of them has a number."""
    return any(has_number(ask(expression)) for expression in expressions)


def panel_faults(boards, ask, may_be_empty=lambda expression: False):
    """`ask` gives the series of an expression."""
    for board in boards:
        for place, raw in expressions_of(board):
            expression = with_values(raw)
            try:
                good = answers(ask, expression) or may_be_empty(expression)
            except ValueError as error:
                yield f"{place}: {error}: {expression}"
                continue
            if not good:
                yield f"{place} is empty: {expression}"


def variable_faults(boards, label_values):
    for board in boards:
        for variable in board["templating"]["list"][1:]:
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)",
                                         variable["definition"]).groups()
            if not label_values(with_values(metric), label):
                yield f"{board['uid']}: no value for {variable['definition']}"


def alert_faults(alerts, ask, may_be_empty=lambda expression: False):
    for alert in alerts:
        try:
            ask(alert["expr"])
            for selector, any_of_it in selectors_of(alert["expr"]):
                if not (answers(ask, selector, any_of_it) or may_be_empty(selector)):
                    yield f"{alert['alert']} looks at nothing: {selector}"
        except ValueError as error:
            yield f"{alert['alert']}: {error}: {alert['expr']}"


def evaluation_faults(alerts, evaluated):
    """`evaluated`: what Prometheus says of its rules."""
    health = {rule["name"]: rule for rule in evaluated}
    for name in (alert["alert"] for alert in alerts):
        if name not in health:
            yield f"{name} is not evaluated"
        elif health[name]["health"] != "ok":
            yield f"{name} is {health[name]['health']}: {health[name].get('lastError', '')}"


def page_faults(promtool, urls):
    if not urls:
        yield f"no process of the job {JOB} is scraped"
    for url in urls:
        done = subprocess.run([promtool, "check", "metrics"], input=read(url), check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            yield f"{url}: {done.stdout.decode().strip()}"


def promtool_program():
    return shutil.which("promtool", path=tools.BIN + os.pathsep + os.environ["PATH"])


def check(prometheus, embedded=False):
    """What was asked, and the sentences of what is wrong. embedded: the run is without Kafka."""
    boards, alerts, pages = load_boards(), load_alerts(), prometheus.pages()
    without = (lambda expression: KAFKA in expression) if embedded else lambda _: False
    faults = [*panel_faults(boards, prometheus.ask, without),
              *variable_faults(boards, prometheus.label_values),
              *alert_faults(alerts, prometheus.ask, without),
              *evaluation_faults(alerts, prometheus.alerts()),
              *page_faults(promtool_program(), pages)]
    return {"queries": sum(len(list(expressions_of(board))) for board in boards),
            "alerts": len(alerts), "pages": len(pages), "faults": faults}


def check_until_good(prometheus, embedded=False):
    """As check; again while something is missing, since the last scrapes come after the last
    message."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        result = check(prometheus, embedded)
        if not result["faults"] or time.monotonic() > deadline:
            return result
        time.sleep(POLL_SECONDS)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="tests/deploy/live.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", metavar="URL", required=True)
    parser.add_argument("--minutes", type=float, default=30,
                        help="how far back an answer counts (30)")
    parser.add_argument("--embedded", action="store_true", help="the run is without Kafka")
    options = parser.parse_args(arguments)
    if promtool_program() is None:
        parser.error("promtool is missing; run ./dev setup --proof")
    result = check_until_good(Prometheus(options.prometheus, options.minutes), options.embedded)
    print(json.dumps(result))
    for fault in result["faults"]:
        print(f"live: {fault}", file=sys.stderr)
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
