"""What is wrong with the alerts: missing annotations or runbooks, unknown metrics, untested ones.

Checks return sentences; none is good.
"""

import os
import re
import sys

import tools
from boards import metrics_of, read

# Also for a Python that is not Debian's own.
sys.path.append("/usr/lib/python3/dist-packages")
import yaml  # noqa: E402

ALERTS = os.path.join(tools.REPOSITORY, "helm", "files", "alerts.yaml")
CASES = os.path.join(tools.REPOSITORY, "tests", "deploy", "alerts_test.yaml")
RUNBOOKS = os.path.join(tools.REPOSITORY, "docs", "runbooks.md")
SELECTOR = re.compile(r"\b((?:tidegate|grpc_server|process)_\w+|up)(\{[^}]*\})?")
# By these an alert picks what a healthy run does not have.
FAULT = re.compile(r'\b(errcode|grpc_code|result)=~?"[^"]*"')


def load_alerts():
    """The rules of the one group."""
    return yaml.safe_load(read(ALERTS))["groups"][0]["rules"]


def selectors_of(expression):
    """(selector, the same with any errcode, code and result) of each metric that it asks for."""
    for match in SELECTOR.finditer(expression):
        yield match[0], FAULT.sub(r'\1!=""', match[0])


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
        told = {"expr": alert.get("expr"), **alert.get("annotations", {})}
        for key in ("expr", "summary", "description", "runbook_url"):
            if not told.get(key):
                yield f"{name} has no {key}"
        severity = alert.get("labels", {}).get("severity")
        if severity not in ("page", "ticket"):
            yield f"{name} has the severity {severity}"
        url, _, anchor = told.get("runbook_url", "").partition("#")
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
