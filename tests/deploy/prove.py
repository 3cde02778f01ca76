#!/usr/bin/env python3
"""Proves the deployment with real tools: chart, boards and alerts, Dockerfile, compose file, image.

chart       linted, rendered with every values file, held against schemas; broken ones are refused
boards      decoded strictly, every alert with a firing and a silent case, in promtool
planted     faults planted in both of these, each of which must be caught
dockerfile  hadolint
config      docker compose understands the file, with both profiles
image       built, and run read-only as uid 65534 without capabilities; SIGTERM ends it with 0
up          all containers of the compose file on one loopback until the demo's campaign is
            reported; then a Prometheus that scrapes them is asked every expression of boards and
            alerts, and promtool reads every metrics page
one         the profile `one` of the compose file: all services in one process

Kafka and Prometheus are stand-ins of the same version, made from packages; Grafana is left out,
since none is to be had. A step whose tool is missing is SKIPPED and counted. Exit code 0: no step
failed. 1: one did. 2: wrong flags.

Examples:
  ./dev prove deploy                      about 10 minutes, most of it compiling in the image build
  ./dev prove deploy --prebuilt --json    images of the binaries that are built already
  ./dev prove deploy --only chart --only boards
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import tools

HERE = os.path.dirname(os.path.abspath(__file__))
PROMETHEUS = "http://127.0.0.1:9090"
EXIT_SKIPPED = 77
LAST_LINES = 30


def script(name, *arguments):
    return [sys.executable, os.path.join(HERE, name), *arguments]


def steps(options):
    """{name: command}."""
    built = ["--prebuilt", options.build] if options.prebuilt else []
    return {
        "chart": script("chart_test.py"),
        "boards": script("boards_test.py"),
        "planted": script("planted.py"),
        "dockerfile": [os.path.join(tools.BIN, "hadolint"),
                       os.path.join(tools.REPOSITORY, "Dockerfile")],
        "config": script("compose.py", "config"),
        "image": script("image.py", "all", *built),
        "up": script("compose.py", "up", *built, "--then",
                     " ".join(script("live.py", "--prometheus", PROMETHEUS, "--minutes", "5"))),
        "one": script("compose.py", "up", "--profile", "one", *built),
    }


def run(name, command):
    """What the step printed, and how it ended."""
    print(f"prove: {name}", file=sys.stderr, flush=True)
    began = time.monotonic()
    row = {"name": name, "state": "skipped", "seconds": 0.0, "detail": ""}
    if not os.access(command[0], os.X_OK):
        row["detail"] = f"{os.path.basename(command[0])} is missing; run ./dev setup --proof"
        return row
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                              text=True, check=False, cwd=tools.REPOSITORY,
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        said.seek(0)
        errors = said.read().splitlines()
    row["seconds"] = round(time.monotonic() - began, 1)
    if done.returncode == EXIT_SKIPPED:
        row["detail"] = done.stdout.strip().splitlines()[-1].partition(": ")[2]
    elif done.returncode:
        row["state"] = "failed"
        row["detail"] = "\n".join((done.stdout.splitlines() + errors)[-LAST_LINES:])
    else:
        row["state"] = "good"
        row["detail"] = detail_of(done.stdout, errors)
    return row


def detail_of(out, errors):
    """The object that the step printed, or what a test program said of its number of tests."""
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    return next((line for line in errors if line.startswith("Ran ")), "")


def table(rows):
    lines = [f"{'step':12}{'state':10}{'seconds':>8}"]
    for row in rows:
        lines.append(f"{row['name']:12}{row['state']:10}{row['seconds']:8.1f}")
        if row["state"] != "good":
            lines += ["    " + line for line in str(row["detail"]).splitlines()]
    counts = {state: sum(row["state"] == state for row in rows)
              for state in ("good", "skipped", "failed")}
    lines.append(", ".join(f"{count} {state}" for state, count in counts.items()))
    return "\n".join(lines)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev prove deploy", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--prebuilt", action="store_true",
                        help="put the binaries of --build into the images instead of compiling")
    parser.add_argument("--build", default=os.path.join(tools.REPOSITORY, "build", "dev"))
    parser.add_argument("--only", action="append", metavar="STEP", help="may be repeated")
    options = parser.parse_args(arguments)
    options.build = os.path.abspath(options.build)  # the steps run in several folders
    unknown = set(options.only or ()) - set(steps(options))
    if unknown:
        parser.error(f"unknown step {unknown.pop()}; known: {', '.join(steps(options))}")
    return options


def main(arguments=None):
    options = parse(arguments)
    os.environ.setdefault("TIDEGATE_BIN", os.path.join(options.build, "bin"))
    rows = [run(name, command) for name, command in steps(options).items()
            if name in (options.only or steps(options))]
    failed = [row["name"] for row in rows if row["state"] == "failed"]
    skipped = [f"SKIPPED {row['name']}: {row['detail']}" for row in rows
               if row["state"] == "skipped"]
    for line in skipped:
        print(line, file=sys.stderr)
    print(json.dumps({"steps": rows, "skipped": skipped, "failures": failed}) if options.json
          else table(rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
