"""Runs a program against a broker of its own and ends with the program's exit code.

The program finds bootstrap servers in TIDEGATE_TEST_KAFKA and, with one node, the broker's pid in
TIDEGATE_TEST_KAFKA_PID. Where no Kafka is to be had: one SKIPPED line and exit code 77.

    python3 tests/kafka/with_cluster.py build/dev/tests/unit/common/log/kafka_log_test
"""

import os
import subprocess
import sys
import tempfile

from cluster import Cluster
from jars import KafkaError, KafkaUnavailable

SKIPPED = 77


def run(command):
    with tempfile.TemporaryDirectory(prefix="tidegate-kafka-") as directory:
        try:
            cluster = Cluster.start(directory, 1)
        except KafkaUnavailable as unavailable:
            print(f"SKIPPED {os.path.basename(command[0])}: {unavailable}")
            return SKIPPED
        try:
            return subprocess.call(command, env={
                **os.environ,
                "TIDEGATE_TEST_KAFKA": cluster.bootstrap_servers,
                "TIDEGATE_TEST_KAFKA_PID": str(cluster.nodes[0].pid)})
        finally:
            cluster.stop(grace_seconds=0)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: with_cluster.py PROGRAM [ARGUMENT...]")
    try:
        sys.exit(run(sys.argv[1:]))
    except KafkaError as error:
        sys.exit(f"kafka: {error}")
