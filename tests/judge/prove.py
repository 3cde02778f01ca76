#!/usr/bin/env python3
"""Shows that the judge of journals can fail: four planted faults, each of which it must catch.

First one short real run on Kafka, in which the broker is paused again and again and the dispatch
process that owns the lane sleeps while a second one of its ordinal takes over: the judge must call
it valid. Then the faults:
  dropped   that run's topics, copied to another prefix without one counted record of a journal. Not
            the last of its journal: what is left would be the true journal of a run that ended
            before. The copy's times are its own, so it is judged without the witness; a whole copy
            is judged first and must be valid.
  repeated  that run's witness log with the line of one executed create once more
  early     the same run with a dispatch that releases calls before their attempts are read back
            (mutant 2), the broker paused again and again
  fenceless the same run with a dispatch whose fold ignores fences (mutant 21), put to sleep while
            another one takes over
Exit code 0: all caught. 1: INVALID, one was missed or the run itself is not valid. 2: wrong flags.
77: SKIPPED, no Kafka is to be had.

Examples:
  ./dev prove judge
  ./dev prove judge --seed 7 --json
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
sys.path.append(os.path.join(REPOSITORY, "tests", "demo"))

import kafka_checks  # noqa: E402
import kafka_judge  # noqa: E402
import kafka_journals  # noqa: E402
from deployment import NoKafka  # noqa: E402
from processes import DemoError  # noqa: E402
from short_run import ShortRun, linked  # noqa: E402
from witness import CREATE  # noqa: E402

SKIPPED = 77
BINARIES = ("tidegate", "wecom_simulator", "tidegate-ingestion", "tidegate-tagging",
            "tidegate-segmentation")
MUTANTS = (2, 21)
# The broker is silent for less than half an HTTP deadline, so often.
PAUSES = 8
PAUSE_SECONDS = (0.3, 0.5)
BETWEEN_SECONDS = (0.3, 0.6)
# Longer than the other one needs to start, recover and make calls.
SLEEP_SECONDS = 3
AFTER_WAKE_SECONDS = 3
FEW_CREATES = 5
COPY_SECONDS = 60
# What must speak up: another check alone would be luck.
EXPECTED = {"dropped": ("K-1",), "repeated": ("K-3",), "early": ("K-3",),
            "fenceless": ("K-3", "K-5")}


class Proof:
    def __init__(self, build, seed, say):
        self._build, self._seed, self._say = build, seed, say
        self.faults = []
        self.run_verdict = None

    def prove(self):
        """True if the run is valid and every fault was caught."""
        with tempfile.TemporaryDirectory(prefix="tidegate-prove-") as folder:
            self._say("a run with a paused broker and a sleeping owner")
            with self._run(folder, "run", self._links(folder, "plain", "tidegate-dispatch")) as run:
                self._good_run(run)
                self.run_verdict = run.judge()
                if not self.run_verdict["valid"]:
                    return False
                if not self._dropped(run):
                    return False
                self._repeated(run)
            self._mutant(folder, "early", 2, self._pauses)
            self._mutant(folder, "fenceless", 21, self._sleep_and_wake)
        return all(fault["caught"] for fault in self.faults)

    def _chance(self, name):
        return random.Random(f"{self._seed} {name}")

    def _links(self, folder, name, dispatch):
        """A folder like the build's, with another dispatch."""
        return linked(os.path.join(folder, name), self._build, {"tidegate-dispatch": dispatch})

    def _run(self, folder, name, build):
        path = os.path.join(folder, name + "-files")
        os.mkdir(path, 0o700)
        return ShortRun(path, build, self._seed, self._say)

    # ---- The run itself ----

    def _good_run(self, run):
        self._begin(run)
        self._pauses(run)
        run.lane_owner().expect_fenced(self._sleep_and_wake(run))
        run.finish()
        codes = run.end()
        if any(codes.values()):
            raise DemoError(f"exit codes after SIGTERM: {codes}")

    def _begin(self, run):
        run.start()
        run.prepare()
        run.launch()
        run.await_creates(FEW_CREATES)

    def _pauses(self, run):
        chance, cluster = self._chance("pauses"), run.deployment.cluster
        for _ in range(PAUSES):
            cluster.pause(1)
            time.sleep(chance.uniform(*PAUSE_SECONDS))
            cluster.resume(1)
            time.sleep(chance.uniform(*BETWEEN_SECONDS))

    def _sleep_and_wake(self, run):
        return run.lane_owner().sleep_and_wake(SLEEP_SECONDS)

    # ---- The faults ----

    def _dropped(self, run):
        """False if even the whole copy is not valid."""
        bootstrap = run.deployment.cluster.bootstrap_servers
        counted = counted_records(bootstrap)
        chosen = self._chance("dropped").choice(counted)

        def judged(prefix, without=None):
            copy_topics(bootstrap, prefix, without)
            return kafka_judge.judge(bootstrap=bootstrap, topic_prefix=prefix,
                                     client_logs=[run.path("client.jsonl")],
                                     processes=run.path("processes.jsonl"),
                                     logs=run.path("logs"))

        whole = judged("whole.")
        if not whole["valid"]:
            self.run_verdict = whole
            return False
        topic, partition, offset = chosen
        name = kafka_journals.name_of(topic, partition)
        self._found("dropped", f"{name} without offset {offset}", judged("dropped.", chosen))
        return True

    def _repeated(self, run):
        lines = kafka_journals.read_lines(run.path("witness.jsonl"))
        line = self._chance("repeated").choice([each for each in lines if each["api"] == CREATE
                                                and each["verdict"] == "executed"])
        last = max(lines, key=lambda each: each["seq"])
        again = {**line, "seq": last["seq"] + 1, "t_wall": last["t_wall"] + 1_000_000,
                 "t_raw_ns": last["t_raw_ns"] + 1_000_000}
        path = run.path("witness-repeated.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(each) + "\n" for each in (*lines, again))
        self._found("repeated", f"witness seq {line['seq']} comes again as {again['seq']}",
                    kafka_judge.judge(bootstrap=run.deployment.cluster.bootstrap_servers,
                                      witness=path, client_logs=[run.path("client.jsonl")],
                                      processes=run.path("processes.jsonl"),
                                      logs=run.path("logs")))

    def _mutant(self, folder, fault, number, disturb):
        self._say(f"the same with mutant {number} of dispatch")
        build = self._links(folder, f"mutant-{number}", f"tidegate-dispatch-mutant-{number}")
        with self._run(folder, f"mutant-{number}", build) as run:
            self._begin(run)
            try:
                disturb(run)
                time.sleep(AFTER_WAKE_SECONDS)
                run.end()
            except DemoError as error:  # a broken program may end in any way
                self._say(f"mutant {number}: {str(error).splitlines()[0]}")
            run.kill()
            self._found(fault, f"dispatch is mutant {number}", run.judge())

    def _found(self, fault, what, verdict):
        counts = verdict["violation_counts"]
        by = [check for check in EXPECTED[fault] if counts.get(check)]
        first = next((each for each in verdict["violations"] if each["check"] in by), None)
        self.faults.append({
            "fault": fault, "what": what, "caught": bool(by), "by": by,
            "violation_counts": counts,
            "first": f"{first['journal']} offset {first['offset']}: {first['what']}"
                     if first else ""})
        self._say(line_of(self.faults[-1]))


def counted_records(bootstrap):
    """[(topic, partition, offset)] of all counted records but the last of each journal."""
    schema = kafka_journals.Schema()
    source = kafka_journals.KafkaSource(bootstrap, schema)
    found = []
    try:
        for topic in kafka_checks.JOURNALS:
            journals, offsets = {}, {}

            def add(partition, record):
                journal = journals.setdefault(partition, kafka_checks.Journal(
                    topic, partition, kafka_checks.Found()))
                journal.add(record)
                if record.verdict == "counted":
                    offsets.setdefault(partition, []).append(record.offset)

            source.read(topic, add)
            found += [(topic, partition, offset) for partition, all_of in sorted(offsets.items())
                      for offset in all_of[:-1]]
    finally:
        source.close()
    return found


def copy_topics(bootstrap, prefix, without=None):
    """Copies every topic of the product, record by record."""
    kafka = kafka_journals.debian_module("confluent_kafka", "python3-confluent-kafka")
    admin_module = kafka_journals.debian_module("confluent_kafka.admin",
                                                "python3-confluent-kafka")
    admin = admin_module.AdminClient({"bootstrap.servers": bootstrap})
    known = admin.list_topics(timeout=COPY_SECONDS).topics
    partitions = {topic: len(known[kafka_journals.DEFAULT_PREFIX + topic].partitions)
                  for topic in kafka_journals.TOPICS}
    for future in admin.create_topics([
            admin_module.NewTopic(prefix + topic, count, 1, config={
                "message.timestamp.type": "LogAppendTime", "max.message.bytes": "1100000"})
            for topic, count in partitions.items()]).values():
        future.result(COPY_SECONDS)
    failed = []
    producer = kafka.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True,
                               "message.max.bytes": 1_050_000})
    consumer = kafka.Consumer({
        "bootstrap.servers": bootstrap, "group.id": "tidegate-prove", "auto.offset.reset": "error",
        "enable.auto.commit": False, "isolation.level": "read_uncommitted"})
    try:
        for topic, count in partitions.items():
            for partition in range(count):
                at = kafka.TopicPartition(kafka_journals.DEFAULT_PREFIX + topic, partition, 0)
                _, end = consumer.get_watermark_offsets(at, timeout=COPY_SECONDS)
                consumer.assign([at])
                _copy(consumer, producer, end, (prefix + topic, partition), failed,
                      without[2] if without and without[:2] == (topic, partition) else None)
        if producer.flush(COPY_SECONDS) or failed:
            raise DemoError(f"copying the topics failed: {failed[:3]}")
    finally:
        consumer.close()


def _copy(consumer, producer, end, target, failed, without):
    deadline, next_offset = time.monotonic() + COPY_SECONDS, 0
    while next_offset < end:
        if time.monotonic() > deadline:
            raise DemoError(f"{target} was not copied within {COPY_SECONDS} s")
        for message in consumer.consume(500, 0.2):
            if message.error() or message.offset() >= end:
                continue
            next_offset = message.offset() + 1
            if message.offset() == without:
                continue
            producer.produce(target[0], message.value(), message.key(), target[1],
                             headers=message.headers(),
                             on_delivery=lambda error, _: error and failed.append(str(error)))
            producer.poll(0)


def line_of(fault):
    by = ", ".join(fault["by"])
    return (f"{fault['fault']:<10} {'caught by ' + by if fault['caught'] else 'NOT CAUGHT':<18} "
            f"{fault['what']}" + (f" -> {fault['first']}" if fault["first"] else ""))


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=REPOSITORY,
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev prove judge", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="all chance comes from it (random if absent)")
    parser.add_argument("--json", action="store_true",
                        help="one JSON object on standard output, all else on standard error")
    parser.add_argument("--build", metavar="DIR", default=os.path.join(REPOSITORY, "build", "dev"),
                        help="where the programs were built (default build/dev)")
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 31)
    options.build = os.path.abspath(options.build)
    for name in (*BINARIES, "tidegate-dispatch",
                 *(f"tidegate-dispatch-mutant-{number}" for number in MUTANTS)):
        if not os.access(os.path.join(options.build, "bin", name), os.X_OK):
            parser.error(f"{options.build}/bin/{name} is missing: build it first")
    return options


def main(arguments=None):
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    proof = Proof(options.build, options.seed, say)
    error = ""
    try:
        proved = proof.prove()
    except (NoKafka, kafka_journals.Unavailable) as reason:
        print(f"SKIPPED prove judge: {reason}")
        return SKIPPED
    except (DemoError, kafka_journals.InputError) as reason:
        proved, error = False, str(reason)
    caught = sum(fault["caught"] for fault in proof.faults)
    if proof.run_verdict and not proof.run_verdict["valid"]:
        error = f"the run itself is not valid: {proof.run_verdict['violations'][:3]}"
    summary = (f"judge: {caught} of {len(EXPECTED)} planted faults caught "
               f"(seed {options.seed}, commit {commit()})")
    if options.json:
        print(json.dumps({"valid": proved, "seed": options.seed, "commit": commit(),
                          "caught": caught, "planted": len(EXPECTED), "faults": proof.faults,
                          "error": error, "seconds": round(time.monotonic() - began, 1)}))
        print(summary, file=sys.stderr)
    else:
        for fault in proof.faults:
            print(line_of(fault))
        print(summary)
    if not proved:
        print("INVALID" + (f": {error}" if error else ""),
              file=sys.stderr if options.json else sys.stdout)
    return 0 if proved else 1


if __name__ == "__main__":
    sys.exit(main())
