#!/usr/bin/env python3
"""Plants the faults that the checks of the deployment exist for, and tells which are caught.

Each is a test of chart_test.py or boards_test.py that changes one thing in the chart, a board or an
alert, and demands that the check names it. A test that is skipped catches nothing.
Exit code 0: all are caught. 1: one is not; what its test said is on standard error.

Example:
  python3 tests/deploy/planted.py
"""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FAULTS = (
    ("a misspelt field", "chart_test.PlantedFaultTest.test_a_misspelt_field_is_caught"),
    ("a missing limit, a privileged container and others of a pod",
     "chart_test.PlantedFaultTest.test_each_is_caught"),
    ("an unknown value",
     "chart_test.PlantedFaultTest.test_an_unknown_value_is_caught_at_any_depth"),
    ("broken values", "chart_test.BrokenValuesTest.test_each_is_refused_with_its_remedy"),
    ("a setting that the program does not know",
     "chart_test.SettingsTest.test_the_program_would_tell_a_wrong_setting"),
    ("a panel with an unknown metric", "boards_test.PlantedFaultsTest.test_a_dead_metric"),
    ("a panel with a dead metric", "boards_test.AnswersTest.test_a_metric_that_nobody_shows"),
    ("a key that Grafana does not know",
     "boards_test.PlantedFaultsTest.test_a_key_that_grafana_does_not_know"),
    ("an alert whose runbook is missing",
     "boards_test.PlantedFaultsTest.test_an_alert_without_runbook"),
    ("an alert without a silent case",
     "boards_test.PlantedFaultsTest.test_an_alert_without_a_silent_case"),
)


def caught(test):
    """And what the test said otherwise."""
    done = subprocess.run([sys.executable, "-m", "unittest", test], cwd=HERE, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.returncode == 0 and done.stdout.rstrip().endswith("\nOK"), done.stdout


def main():
    rows = []
    for fault, test in FAULTS:
        good, said = caught(test)
        rows.append({"fault": fault, "caught": good, "test": test})
        if not good:
            print(f"planted: {fault} is not caught:\n{said}", file=sys.stderr)
    print(json.dumps({"planted": rows}))
    return 0 if all(row["caught"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
