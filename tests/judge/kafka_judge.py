#!/usr/bin/env python3
"""Judges one run from outside by its journals, on Kafka or exported from the embedded log.

Reads all journals from their beginning, the witness log, the clients' logs and the harness' log of
processes; shares no code with the product. What each check means is told in kafka_checks.py:
  K-1 validity, K-2 acknowledged events, K-3 executed calls, K-4 fences, K-5 released calls, outbox
A check whose inputs are not given is named as skipped. Run it when all services have ended.
Exit codes: 0 valid, 1 violated, 2 an input is missing or cannot be read.

Examples:
  tests/judge/kafka_judge.py --bootstrap 127.0.0.1:9092 --witness OUT/witness.jsonl \\
      --client-log OUT/client.jsonl --processes OUT/processes.jsonl --logs OUT/logs --json
  tests/judge/kafka_judge.py --journals OUT/journals --witness OUT/witness.jsonl \\
      --client-log OUT/client.jsonl
"""

import argparse
import contextlib
import json
import sys
from collections import Counter

import kafka_checks
import kafka_journals
import witness as witness_file
from kafka_journals import InputError

SHOWN = 200  # violations of one check


def judge(bootstrap=None, journals=None, topic_prefix=kafka_journals.DEFAULT_PREFIX, witness=None,
          client_logs=(), processes=None, logs=None,
          deadline_seconds=kafka_journals.DEADLINE_SECONDS, progress=None):
    """The verdict as a dictionary, as --json prints it.

    Exactly one of `bootstrap` (servers) and `journals` (folder) is given; the others are paths.
    `progress(text)` is called now and then. Raises InputError if an input cannot be read.
    """
    try:
        calls = witness_file.read(witness) if witness else None
        acknowledged = acknowledged_events(client_logs)
        told = kafka_journals.Processes(processes, logs) if processes else None
        schema = kafka_journals.Schema()
        run = kafka_checks.Run(acknowledged)
        if bootstrap:
            source = kafka_journals.KafkaSource(bootstrap, schema, topic_prefix, deadline_seconds,
                                                progress)
            with contextlib.closing(source):
                run.read(source)
        else:
            run.read(kafka_journals.ExportSource(journals, schema, progress))
        if not run.in_order():
            raise InputError(f"no journal in {journals}")
        return verdict(run, calls, told, bool(client_logs))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{type(error).__name__}: {error}") from error


def acknowledged_events(client_logs):
    """The ids of all events that a client was told are taken."""
    return {event_id for path in client_logs for line in kafka_journals.read_lines(path)
            if line["op"] == "publish_events" and line["result"] == "ok"
            for event_id in line["ids"]}


def verdict(run, calls, processes, has_clients):
    skipped = []
    kafka_checks.validity(run, processes)
    kafka_checks.outboxes(run)
    if has_clients:
        kafka_checks.events(run)
    else:
        skipped.append("K-2")
    executed, stops = 0, processes.stops() if processes else []
    if calls:
        attempts = kafka_checks.attempts_of(run)
        executed = kafka_checks.executed(run, calls, attempts)
        stops = kafka_checks.released(run, calls, attempts, processes)
    else:
        skipped += ["K-3", "K-5"]
    explained = unexplained = 0
    if processes:
        explained, unexplained = kafka_checks.fences(run, processes)
    else:
        skipped.append("K-4")
    found = run.found.violations
    return {
        "valid": not found,
        "violations": shown(found),
        "violation_counts": run.found.counts(),
        "skipped": skipped,
        "journal": [{"partition": journal.name, "records": journal.counted,
                     "void": len(journal.void), "fences": len(journal.fences),
                     "sha256": journal.sha256()} for journal in run.in_order()],
        "events_acknowledged": len(run.acknowledged),
        "calls_executed": executed,
        "stops": stops,
        "fences": {"explained": explained, "unexplained": unexplained},
    }


def shown(violations):
    """The first ones of each check."""
    times = Counter()
    kept = []
    for violation in violations:
        times[violation["check"]] += 1
        if times[violation["check"]] <= SHOWN:
            kept.append(violation)
    return kept


def print_for_people(result):
    print(f"{'JOURNAL':26} {'COUNTED':>9} {'VOID':>7} {'FENCES':>7}  SHA-256")
    for each in result["journal"]:
        print(f"{each['partition']:26} {each['records']:9,} {each['void']:7,} "
              f"{each['fences']:7,}  {each['sha256'][:16]}")
    for stop in result["stops"]:
        print(f"stop of {stop['service']} {stop['replica']} (pid {stop['pid']}): "
              f"{stop['calls_after_wake']} calls and {stop['void_records_after_wake']} void "
              "records after it woke")
    print(f"{result['events_acknowledged']:,} events acknowledged, {result['calls_executed']:,} "
          f"calls executed, fences: {result['fences']['explained']} explained, "
          f"{result['fences']['unexplained']} not")
    for check, count in result["violation_counts"].items():
        print(f"{check} VIOLATED {count} times")
        for each in result["violations"]:
            if each["check"] == check:
                print(f"    {each['journal']} offset {each['offset']}: {each['what']}")
    if result["skipped"]:
        print("skipped, for want of input: " + ", ".join(result["skipped"]))
    print("VALID" if result["valid"] else "INVALID")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bootstrap", metavar="SERVERS", help="Kafka, as HOST:PORT,HOST:PORT")
    where.add_argument("--journals", metavar="DIR", help="folder of `tidegate journal export`")
    parser.add_argument("--topic-prefix", default=kafka_journals.DEFAULT_PREFIX,
                        help="of the topics on Kafka (default tidegate.)")
    parser.add_argument("--witness", metavar="FILE", help="the simulator's witness log: K-3, K-5")
    parser.add_argument("--client-log", metavar="FILE", action="append", default=[],
                        help="what a client asked and was told: K-2; may be given several times")
    parser.add_argument("--processes", metavar="FILE", help="the harness' log of processes: K-4")
    parser.add_argument("--logs", metavar="DIR", help="the services' logs, SERVICE-REPLICA-PID.log")
    parser.add_argument("--deadline", type=float, default=kafka_journals.DEADLINE_SECONDS,
                        metavar="SECONDS", help="for reading from Kafka (default 300)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    try:
        result = judge(options.bootstrap, options.journals, options.topic_prefix, options.witness,
                       options.client_log, options.processes, options.logs, options.deadline,
                       lambda text: print(f"judge: {text}", file=sys.stderr, flush=True))
    except InputError as error:
        print(f"judge: cannot read the inputs: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result))
    else:
        print_for_people(result)
    return 0 if result["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
