#!/usr/bin/env python3
"""Shows that every mutant, a build broken on purpose, is caught by the check meant for it.

A mutant of the simulation must fail in one of 100 schedules, one of a unit test in that very test, one
of the product in a run of kills. Exit code 0: all are caught. Else the word MISSED and exit code 1.

Examples:
  ./dev prove mutants
  ./dev prove mutants --only 22
"""

import argparse
import os
import re
import subprocess
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCHEDULES = 100
SIMULATION = "the simulation"
# number -> (what is broken, what catches it): the simulation, a test, or kills of one kind, so many,
# and a check of their judge.
MUTANTS = {
    1: ("an append is acknowledged without fsync",
        "EmbeddedLogSyncTest.EveryAcknowledgedAppendWasSynced"),
    2: ("a call leaves before its attempt is durable", SIMULATION),
    3: ("an input is covered before its output is written", SIMULATION),
    4: ("a create without an answer is repeated", SIMULATION),
    5: ("neither SO_LINGER nor TCP_USER_TIMEOUT is set",
        ("hole", 16, "I-2")),
    6: ("a doubt is listed without the settle wait", SIMULATION),
    7: ("only the first page of a listing is read", SIMULATION),
    8: ("a listing's error is taken as absence", SIMULATION),
    9: ("a callback is known by its nonce",
        "CallbackEndpointTest.KnowsARepeatByItsTextAndNotByItsNonce"),
    10: ("a key of dispatch lacks the corp", "CommandBookTest.CorpsHaveQueuesOfTheirOwn"),
    12: ("a callback may have a document type", "CallbackXmlTest.RefusesBadDocuments"),
    13: ("what the outbox sends is not made again by a replay", SIMULATION),
    14: ("a callback is answered before it is durable",
         "CallbackEndpointTest.AnswersOnlyWhenTheLogHasIt"),
    15: ("the fail_list of an answer is ignored", SIMULATION),
    16: ("tokens are fetched by many at once", "TokenCacheTest.FetchesOnceForManyWhoAsk"),
    17: ("errcode -1 of a create is taken as not executed", SIMULATION),
    18: ("the send deadline is one of the wall clock", SIMULATION),
    19: ("SIGTERM does not wait for calls under way", ("term", 8, "drain")),
    20: ("a doubt is settled without waiting for the former owner's end", SIMULATION),
    21: ("the fold ignores fence and seq", SIMULATION),
    22: ("buckets are full again after a start", SIMULATION),
    23: ("the body of a message that is repeated is written anew",
         "AppMessagesTest.ARepeatHasTheVeryBytesOfTheFirstAttempt"),
    24: ("a journal may have gaps", "JournalFilterTest.CountsOnlyWhatTheValidityRuleAllows"),
    25: ("the HTTP client sends a POST again when its connection dies",
         "HttpClientTest.NeverRepeatsAPostWhoseReusedConnectionDies"),
    26: ("a customer's quota is looked at and not reserved",
         "QuotaRaceTest.OfTwoCampaignsWithOneUnitLeftExactlyOneSends"),
    27: ("calls leave in the batch of an answer that closes their api",
         "LimitRefusalTest.NoCallLeavesInTheBatchOfAnAnswerThatClosesItsApi"),
}


def run(arguments):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return done.returncode, done.stdout


def by_simulation(binary):
    code, out = run([binary, "--seeds", str(SCHEDULES), "--expect-caught"])
    caught = re.search(r"^CAUGHT(.*)$", out, re.M)
    return code == 0 and caught and caught[1].strip(": ")


def by_test(binary, test):
    code, out = run([binary, f"--gtest_filter={test}"])
    if code == 0 or f"[ RUN      ] {test}" not in out:
        return None
    if "CHECK failed" in out:
        return re.search(r"CHECK failed.*", out)[0]
    if f"[  FAILED  ] {test}" not in out:
        return None
    where = re.search(r"([\w.]+:\d+): Failure", out)
    return f"at {where[1]}" if where else "it failed"


def by_kills(binary, kind, kills, check):
    code, out = run([sys.executable, os.path.join(REPOSITORY, "tests", "chaos", "chaos.py"),
                     "--build", os.path.dirname(os.path.dirname(os.path.dirname(binary))),
                     "--binary", binary, "--only", kind, "--kills", str(kills), "--seed", "1"])
    failed = re.search(rf"^FAILED +seed \d+: {check}: (.*)$", out, re.M)
    return code == 1 and failed and failed[1]


def main():
    parser = argparse.ArgumentParser(prog="./dev prove mutants", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, choices=sorted(MUTANTS), metavar="N",
                        help="this mutant alone")
    parser.add_argument("--build", default=os.path.join(REPOSITORY, "build", "dev"),
                        help=argparse.SUPPRESS)
    options = parser.parse_args()
    missed = 0
    for number in [options.only] if options.only else MUTANTS:
        what, check = MUTANTS[number]
        binary = os.path.abspath(os.path.join(options.build, "tests", "mutants",
                                              f"mutant_{number}"))
        if check == SIMULATION:
            how = by_simulation(binary)
        elif isinstance(check, str):
            how = by_test(binary, check)
        else:
            how = by_kills(binary, *check)
            check = f"{check[2]} of {check[1]} kills ({check[0]})"
        print(f"mutant {number:2}  {what}: " + (f"CAUGHT by {check}, {how}" if how else
                                               f"MISSED by {check}"), flush=True)
        missed += not how
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
