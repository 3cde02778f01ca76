"""The spin model of the journal holds, and each planted change violates it. See README.md.

Run: python3 tests/model/journal_test.py
Exit codes: 0 all as expected, 1 not, 77 spin or gcc is missing."""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "journal.pml")
# Each with the check that it must break, so that none passes for another reason.
PLANTED = {"RELEASE_BEFORE_READBACK": "released_epoch[",  # a second effect of one decision
           "FENCE_IGNORED": "counted_epoch[",             # an input counts twice
           "MARK_BEFORE_ACK": "taken==",                  # the outbox reader misses one
           "LOSER_GOES_ON": "released_epoch["}            # a second effect of one decision
# Fewer would mean that an edit cut off most of what can happen.
STATES_MIN = 1_000_000
DEPTH_MAX = 10_000
MEMORY_MAX_MIB = 1500
RUN_MAX_S = 300
# Any of them in the output of pan: the search was not complete.
INCOMPLETE = ("Search not completed", "max search depth too small", "out of memory", "truncated",
              "interrupted", "aborting", "too large", "hash-compaction", "Bit statespace")


class Unexpected(Exception):
    pass


def call(command, folder):
    try:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=RUN_MAX_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unexpected(f"{command[0]} took more than {RUN_MAX_S} s") from error
    return done.returncode, done.stdout


def search(flags):
    """What pan says about the model with these -D flags, and whether it left a trail."""
    with tempfile.TemporaryDirectory(prefix="journal-model-") as folder:
        shutil.copy(MODEL, folder)
        name = os.path.basename(MODEL)
        for command in (["spin", "-a", *flags, name],
                        ["gcc", "-O2", "-DSAFETY", f"-DMEMLIM={MEMORY_MAX_MIB}", "-o", "pan", "pan.c"]):
            code, output = call(command, folder)
            if code != 0 or not os.path.exists(os.path.join(folder, "pan.c")):
                raise Unexpected(f"{' '.join(command)} failed:\n{output}")
        code, output = call(["./pan", f"-m{DEPTH_MAX}"], folder)
        if code != 0:
            raise Unexpected(f"pan ended with {code}:\n{output}")
        return output, os.path.exists(os.path.join(folder, name + ".trail"))


def number(pattern, output):
    match = re.search(pattern, output, re.M)
    if not match:
        raise Unexpected(f"pan did not say {pattern!r}:\n{output}")
    return match[1]


def check_plain(output, trail):
    """The line to print."""
    if trail or int(number(r"errors: (\d+)$", output)) != 0:
        raise Unexpected(f"the model is violated:\n{output}")
    for words in INCOMPLETE:
        if words in output:
            raise Unexpected(f"pan says {words!r}:\n{output}")
    if "Full statespace search for:" not in output:
        raise Unexpected(f"not a full search:\n{output}")
    # A line that no run reaches checks nothing. The ends of endless loops are not reached, of course.
    unreached = [line for line in re.findall(r"^\t.*, state \d+, .*$", output, re.M)
                 if '"-end-"' not in line]
    if "unreached in proctype Check" not in output or unreached:
        raise Unexpected(f"lines that no run reaches: {unreached}\n{output}")
    states = int(number(r"^\s*(\d+) states, stored", output))
    if states < STATES_MIN:
        raise Unexpected(f"only {states} states:\n{output}")
    depth = number(r"depth reached (\d+),", output)
    seconds = number(r"elapsed time ([\d.e+-]+) seconds", output)
    return f"journal.pml: holds, {states} states, depth {depth}, {seconds} s"


def check_planted(change, output, trail):
    """The line to print."""
    if not trail or int(number(r"errors: (\d+)$", output)) < 1:
        raise Unexpected(f"-D{change} is not violated:\n{output}")
    violated, depth = re.search(r"^pan:1: assertion violated (.*) \(at depth (\d+)\)$", output,
                                re.M).groups() if "assertion violated" in output else ("", "")
    if PLANTED[change] not in violated:
        raise Unexpected(f"-D{change} breaks {violated!r}, not the check of {PLANTED[change]}:\n{output}")
    return f"journal.pml -D{change}: violated as it must, trail of {depth} steps"


def run(change):
    output, trail = search([f"-D{change}"] if change else [])
    return check_planted(change, output, trail) if change else check_plain(output, trail)


def main():
    if not shutil.which("spin") or not shutil.which("gcc"):
        print("SKIPPED journal model: spin is not installed; run ./dev setup")
        return 77
    failed = False
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        runs = [(change, pool.submit(run, change)) for change in (None, *PLANTED)]
        for change, result in runs:
            try:
                print(result.result(), flush=True)
            except Unexpected as error:
                failed = True
                print(f"journal.pml{' -D' + change if change else ''}: NOT as expected: {error}",
                      flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
