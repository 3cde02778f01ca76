"""Runs a program against a broker of its own and ends with the program's exit code.

The program finds in its environment:
  TIDEGATE_TEST_KAFKA        bootstrap servers
  TIDEGATE_TEST_KAFKA_PID    the broker's pid
  TIDEGATE_TEST_KAFKA_TLS    bootstrap servers for mutual TLS
  TIDEGATE_TEST_TLS_FOLDER   ca.pem, client.crt, client.key; stranger.crt and .key, which no broker
                             trusts
Where no Kafka is to be had: one SKIPPED line and exit code 77.

    python3 tests/kafka/with_cluster.py build/dev/tests/unit/common/log/kafka_log_test
"""

import os
import subprocess
import sys
import tempfile

from cluster import Cluster
from jars import KafkaError, KafkaUnavailable

SKIPPED = 77


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def make_authority(folder, name):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem")


def issue(folder, authority, name):
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.csr")
    with open(f"{folder}/names", "w", encoding="ascii") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-days", "2", "-in", f"{folder}/{name}.csr",
            "-CA", f"{folder}/{authority}.pem", "-CAkey", f"{folder}/{authority}.key",
            "-CAcreateserial", "-extfile", f"{folder}/names", "-out", f"{folder}/{name}.crt")


def make_certificates(folder):
    make_authority(folder, "ca")
    make_authority(folder, "other")
    issue(folder, "ca", "broker")
    issue(folder, "ca", "client")
    issue(folder, "other", "stranger")
    with open(f"{folder}/broker.pem", "w", encoding="ascii") as together:
        for part in ("broker.key", "broker.crt", "ca.pem"):
            with open(f"{folder}/{part}", encoding="ascii") as file:
                together.write(file.read())


def run(command):
    with tempfile.TemporaryDirectory(prefix="tidegate-kafka-") as directory:
        tls = os.path.join(directory, "tls")
        os.mkdir(tls)
        make_certificates(tls)
        try:
            cluster = Cluster.start(os.path.join(directory, "cluster"), 1, tls_folder=tls)
        except KafkaUnavailable as unavailable:
            print(f"SKIPPED {os.path.basename(command[0])}: {unavailable}")
            return SKIPPED
        node = cluster.nodes[0]
        try:
            return subprocess.call(command, env={
                **os.environ,
                "TIDEGATE_TEST_KAFKA": cluster.bootstrap_servers,
                "TIDEGATE_TEST_KAFKA_PID": str(node.pid),
                "TIDEGATE_TEST_KAFKA_TLS": f"127.0.0.1:{node.tls_port}",
                "TIDEGATE_TEST_TLS_FOLDER": tls})
        finally:
            cluster.stop(grace_seconds=0)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: with_cluster.py PROGRAM [ARGUMENT...]")
    try:
        sys.exit(run(sys.argv[1:]))
    except KafkaError as error:
        sys.exit(f"kafka: {error}")
