#!/usr/bin/env python3
"""Whether promtool accepts the metrics page of every process that a Prometheus scrapes.

Exit code 0: all pages are accepted. 1: one is not, or there is none; the text says which and why.
2: wrong flags. 77: SKIPPED, since promtool is missing.

Example:
  python3 tests/deploy/pages.py --prometheus http://127.0.0.1:9090
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import urllib.request

import tools

ANSWER_SECONDS = 10
JOB = "tidegate"
EXIT_SKIPPED = 77


def read(url):
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
        return answer.read()


def pages(prometheus):
    """URLs of the pages of our processes."""
    targets = json.loads(read(prometheus + "/api/v1/targets"))["data"]["activeTargets"]
    return sorted(target["scrapeUrl"] for target in targets if target["labels"]["job"] == JOB)


def faults(promtool, urls):
    """Sentences."""
    if not urls:
        yield f"Prometheus scrapes no process of the job {JOB}"
    for url in urls:
        done = subprocess.run([promtool, "check", "metrics"], input=read(url), check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            yield f"{url}: {done.stdout.decode().strip()}"


def main():
    parser = argparse.ArgumentParser(prog="tests/deploy/pages.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", metavar="URL", required=True)
    options = parser.parse_args()
    promtool = shutil.which("promtool", path=tools.BIN + os.pathsep + os.environ["PATH"])
    if promtool is None:
        print("SKIPPED pages: promtool is missing; run ./dev setup --proof")
        return EXIT_SKIPPED
    urls = pages(options.prometheus)
    found = list(faults(promtool, urls))
    print(f"{len(urls)} pages, {len(found)} faults", file=sys.stderr)
    for fault in found:
        print(f"pages: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
