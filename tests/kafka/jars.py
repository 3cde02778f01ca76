"""The jars of Kafka: fetched once by Maven, and compared with jars.sha256 before each use.

  class_path = jars.ready()        # "/.../build/kafka/lib/*"; about 9 s the first time, then 0.1 s

KafkaUnavailable: they cannot be had on this machine now, and whoever asked may skip.
KafkaError: something is wrong and skipping would hide it; the text names the next step.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
FOLDER = os.path.join(REPOSITORY, "build", "kafka")
POM = os.path.join(HERE, "pom.xml")
CHECKSUMS = os.path.join(HERE, "jars.sha256")
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
FETCH_SECONDS = 300
LOCK_SECONDS = FETCH_SECONDS + 10
LOCK_POLL_SECONDS = 0.1
NEEDED = {"java": "openjdk-17-jre-headless", "mvn": "maven"}


class KafkaError(Exception):
    """Kafka did not do what was asked; the text says what and what to do."""


class KafkaUnavailable(KafkaError):
    """There is no Kafka on this machine now. `reason` is one line: why; what to do."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


def say(text):
    print(f"kafka: {text}", file=sys.stderr, flush=True)


def ready():
    """Fetches what is missing, compares every file, and returns the class path."""
    need("java")
    folder = os.path.join(FOLDER, "lib")
    if not os.path.isdir(folder):
        os.makedirs(FOLDER, exist_ok=True)
        with locked(os.path.join(FOLDER, "fetch.lock"), LOCK_SECONDS):
            if not os.path.isdir(folder):
                fetch(folder)
    verify(folder, wanted_checksums())
    return os.path.join(folder, "*")


def version():
    """Kafka's version as pom.xml names it."""
    for dependency in xml.etree.ElementTree.parse(POM).iter("dependency"):
        if dependency.findtext("artifactId") == "kafka_2.13":
            return dependency.findtext("version")
    raise KafkaError(f"{POM} names no kafka_2.13")


def need(program):
    if not shutil.which(program):
        raise KafkaUnavailable(f"{program} is missing; apt-get install {NEEDED[program]}")


def fetch(folder):
    """Fetches into a folder beside `folder`, and renames it only when every checksum is right."""
    need("mvn")
    fetched = folder + ".fetched"
    shutil.rmtree(fetched, ignore_errors=True)
    if sys.stderr.isatty():  # a script expects one line at most if Kafka cannot be had
        say(f"fetching Kafka {version()} through Maven")
    began = time.monotonic()
    run_maven(fetched)
    verify(fetched, wanted_checksums())
    os.rename(fetched, folder)
    say(f"fetched {len(os.listdir(folder))} jars in {time.monotonic() - began:.1f} s")


def run_maven(folder):
    # The deadline for connecting is for a network that swallows packets.
    command = ["mvn", "-B", "-ntp", "-q", "-Daether.connector.connectTimeout=10000",
               "-f", POM, COPY, f"-DoutputDirectory={folder}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise KafkaUnavailable(f"Maven did not finish within {FETCH_SECONDS} s; "
                               "check the network and run it again") from None
    if done.returncode:
        raise KafkaUnavailable(f"Maven could not fetch Kafka {version()} "
                               f"({first_error(done.stdout)}); check the network, a proxy or "
                               "Maven's settings.xml, and run it again")


def first_error(output):
    """The first line of Maven's output that says something, from its end, where the cause is."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    for line in plain.splitlines():
        text = re.sub(r"^\[\w+\]\s*|\s*-> \[Help 1\]\s*$", "", line).strip()
        if text:
            return text if len(text) <= 250 else "..." + text[-250:]
    return "no output"


def wanted_checksums(path=CHECKSUMS):
    """{jar: sha256} of a file in the format of sha256sum."""
    with open(path, encoding="ascii") as file:
        return {name: checksum for checksum, name in (line.split() for line in file)}


def verify(folder, wanted):
    """Compares all files of the folder with {jar: sha256}; raises KafkaError at the first."""
    found = set(os.listdir(folder))
    for name in sorted(found | set(wanted)):
        if name not in found:
            raise KafkaError(f"{name} is missing in {folder}. {_again(folder)}")
        if name not in wanted:
            raise KafkaError(f"{name} in {folder} is not listed in {CHECKSUMS}. {_again(folder)}")
        checksum = sha256(os.path.join(folder, name))
        if checksum != wanted[name]:
            raise KafkaError(f"{name} in {folder} is not the file it should be: "
                             f"sha256 wanted {wanted[name]}, found {checksum}. {_again(folder)}")


def _again(folder):
    return (f"Run: rm -r {folder}, and start again. If it repeats, the jar in Maven's local "
            "repository (usually ~/.m2/repository) is wrong: remove it there too. If it repeats "
            "even then, the registry serves another file: trust it only after you know why, and "
            "then see tests/kafka/pom.xml for how to write jars.sha256 anew.")


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path, seconds):
    """Holds an exclusive lock on the file. KafkaError if another has it for longer than that."""
    with open(path, "a", encoding="ascii") as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise KafkaError(f"another process holds {path}: wait for it, or find it "
                                     f"with: fuser {path}") from None
                time.sleep(LOCK_POLL_SECONDS)
        yield
