"""How the product runs in a demo: all services in one process on the embedded log, or each service as
processes of its own on a real Kafka. Both offer the same to the demo.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import settings
from processes import DemoError, Service

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(REPOSITORY, "tests", "kafka"))
sys.path.append(os.path.join(REPOSITORY, "tests", "judge"))

SERVICES = ("ingestion", "tagging", "segmentation", "dispatch")
STATEFUL = SERVICES[1:]
PARTITIONS = 4
EXIT_FENCED = 75
EXIT_SECONDS = 20
START_SECONDS = 60


class NoKafka(Exception):
    """No Kafka is to be had on this machine; the text says why and what to do."""


class OneProcess:
    """`tidegate serve` with a data directory."""

    name = "embedded"

    def __init__(self, processes, folder, build, files, wecom):
        self._data = os.path.join(folder, "data")
        self.server = Service(processes, folder, "tidegate", [
            os.path.join(build, "bin", "tidegate"), "serve", "--data-dir", self._data,
            "--corps-file", files.corps, "--limits", files.limits,
            "--wecom-url", f"http://{wecom}"])

    def start(self):
        """Milliseconds until it was ready."""
        took_ms = self.server.start(self.addresses())
        self.server.wait_ready()
        return took_ms

    def addresses(self):
        """Free ports at first, the same ones ever after."""
        ports = self.server.ports
        return [word for name in ("grpc", "callback", "admin")
                for word in ("--" + name, ports.get(name, "127.0.0.1:0"))]

    @property
    def grpc(self):
        return self.server.ports["grpc"]

    @property
    def callback(self):
        return self.server.ports["callback"]

    @property
    def admin(self):
        return self.server.ports["admin"]

    def pids(self):
        return [self.server.pid]

    def terminate(self):
        return {"tidegate": self.server.terminate()}

    def export(self, client, folder):
        client.export(self._data, folder)

    def judge_journals(self, folder):
        """The verdict of the journals' judge."""
        import kafka_judge
        return kafka_judge.judge(
            journals=os.path.join(folder, "journals"),
            witness=os.path.join(folder, "witness.jsonl"),
            client_logs=[os.path.join(folder, "client.jsonl")])

    def end_commands(self):
        """What ends it after --keep, beside its processes."""
        return []

    def close(self):
        pass

    def describe(self):
        return {}


class ProcessLog:
    """What the harness did to processes: JSON lines, written by it alone. Thread-safe."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, t_ns, event, process, pid, **more):
        line = {"t_ns": t_ns, "event": event, "service": process.service,
                "replica": process.replica, "replicas": process.replicas, "pid": pid, **more}
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


class Replica(Service):
    """One process of one service; started again and again with the same addresses."""

    def __init__(self, processes, folder, build, service, replica, replicas, addresses, log):
        super().__init__(processes, folder, f"{service}-{replica}", [
            os.path.join(build, "bin", f"tidegate-{service}"),
            "--config", os.path.join(folder, "tidegate.yaml"),
            "--replica", f"{replica}/{replicas}",
            *(word for key, address in addresses.items()
              for word in ("--set", f"listen.{key}={address}"))])
        self.service, self.replica, self.replicas = service, replica, replicas
        self._log_of_processes = log
        self._logs = os.path.join(folder, "logs")

    def launch(self, elsewhere=False):
        """Starts it without waiting; elsewhere: on any free ports instead of its own."""
        t_ns = time.time_ns()
        free = [word for key in ("grpc", "admin") for word in ("--set", f"listen.{key}=127.0.0.1:0")]
        self.spawn(["--set", f"listen.ports_file={self.ports_file}", *(free if elsewhere else [])],
                   self._path_of_log)
        self._log_of_processes.write(t_ns, "start", self, self.pid)

    def _path_of_log(self, pid):
        return os.path.join(self._logs, f"{self.service}-{self.replica}-{pid}.log")

    def start_again(self, seconds=30):
        """Milliseconds until it was ready."""
        begin = time.monotonic()
        self.launch()
        self.await_ports(seconds)
        return (time.monotonic() - begin) * 1000

    def kill(self):
        t_ns = time.time_ns()
        super().kill()
        self._log_of_processes.write(t_ns, "kill", self, self.pid)

    def signal(self, process, number, event):
        """To this or a former process of the replica."""
        self._log_of_processes.write(time.time_ns(), event, self, process.pid)
        process.send_signal(number)

    def await_exit(self, process, seconds):
        """The exit code of a former process; None if it still runs."""
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._log_of_processes.write(time.time_ns(), "exit", self, process.pid, code=code)
        return code

    def sleep_and_wake(self, seconds):
        """SIGSTOP while a second process takes its place, then SIGCONT; the first process. The second
        cannot listen where the first still does, so it does so elsewhere."""
        first = self.process
        self.signal(first, signal.SIGSTOP, "stop")
        stopped = time.monotonic()
        self.launch(elsewhere=True)
        self.await_ports(START_SECONDS)
        time.sleep(max(0, stopped + seconds - time.monotonic()))
        self.signal(first, signal.SIGCONT, "continue")
        return first

    def expect_fenced(self, first):
        """The first process must end as fenced; the second gives way to one on the own addresses."""
        code = self.await_exit(first, EXIT_SECONDS)
        if code != EXIT_FENCED:
            raise DemoError(f"{self.service} {self.replica}, pid {first.pid}, was replaced and ended "
                            f"with exit code {code}, not {EXIT_FENCED}")
        code = self.terminate()
        if code != 0:
            raise DemoError(f"{self.service} {self.replica} took the place of pid {first.pid} and "
                            f"ended with exit code {code} after SIGTERM, not 0")
        self.start_again(START_SECONDS)

    def terminate(self, seconds=30):
        t_ns = time.time_ns()
        code = super().terminate(seconds)
        self._log_of_processes.write(t_ns, "exit", self, self.pid, code=code)
        return code


def merged(settings, more):
    """Both; sections that both have are merged alike."""
    return settings | {key: merged(settings.get(key, {}), value) if isinstance(value, dict)
                       else value for key, value in more.items()}


def yaml_lines(settings, indent=""):
    for key, value in settings.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from yaml_lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(value)}"


class ManyProcesses:
    """Every service as `replicas` processes on a Kafka cluster of its own."""

    name = "kafka"

    def __init__(self, processes, folder, build, files, wecom, nodes, replicas, more=None,
                 stay=False):
        """`more`: settings beside the usual ones, as {section: {key: value}}. `stay`: the brokers
        outlive this program."""
        from cluster import Cluster
        from jars import KafkaError, KafkaUnavailable
        try:
            self.cluster = Cluster.start(os.path.join(folder, "kafka"), nodes, stay)
        except KafkaUnavailable as error:
            raise NoKafka(str(error)) from error
        except KafkaError as error:
            raise DemoError(f"Kafka: {error}") from error
        self._nodes, self._count = nodes, replicas
        os.mkdir(os.path.join(folder, "logs"))
        self.process_log = ProcessLog(os.path.join(folder, "processes.jsonl"))
        self._addresses = self._free_addresses()
        self._write_settings(os.path.join(folder, "tidegate.yaml"),
                             merged(self._settings(files, wecom), more or {}))
        self.replicas = [Replica(processes, folder, build, service, replica, replicas,
                                 self._addresses[service, replica], self.process_log)
                         for service in SERVICES for replica in range(replicas)]

    def _free_addresses(self):
        """{(service, replica): {listener: address}}, no two alike."""
        import ports
        listeners = [(service, replica, listener)
                     for service in SERVICES for replica in range(self._count)
                     for listener in ("grpc", "admin", "callback")
                     if listener != "callback" or service == "ingestion"]
        claims = ports.claim_free(len(listeners))
        addresses = {}
        for (service, replica, listener), claim in zip(listeners, claims):
            addresses.setdefault((service, replica), {})[listener] = (
                f"127.0.0.1:{ports.number(claim)}")
        # The services bind without sharing: from here on a port is only ours by its place below
        # the kernel's range.
        for claim in claims:
            claim.close()
        return addresses

    def _write_settings(self, path, settings):
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in yaml_lines(settings))

    def _settings(self, files, wecom):
        return {
            "partitions": PARTITIONS, "lanes": self._count,
            "corps_file": files.corps, "limits_file": files.limits,
            "wecom": {"url": f"http://{wecom}"},
            "log": {"kind": "kafka", "kafka": {
                "bootstrap_servers": self.cluster.bootstrap_servers,
                "replication": self._nodes,
                "min_insync_replicas": 2 if self._nodes > 1 else 1}},
            "peers": {service: [self._addresses[service, replica]["grpc"]
                                for replica in range(self._count)] for service in SERVICES},
        }

    def start(self):
        begin = time.monotonic()
        for replica in self.replicas:
            replica.launch()
        for replica in self.replicas:
            replica.await_ports(60)
        return (time.monotonic() - begin) * 1000

    @property
    def grpc(self):
        return ",".join(f"{service}={addresses['grpc']}"
                        for (service, _), addresses in self._addresses.items())

    @property
    def callback(self):
        return self._addresses["ingestion", 0]["callback"]

    @property
    def admin(self):
        return self._addresses["dispatch", 0]["admin"]

    def address(self, service, replica, listener):
        """Where it listens unless it was launched elsewhere."""
        return self._addresses[service, replica][listener]

    def of(self, service):
        return [replica for replica in self.replicas if replica.service == service]

    def pids(self):
        return [replica.pid for replica in self.replicas]

    def terminate(self):
        # Those that others ask go last.
        return {f"{replica.service}-{replica.replica}": replica.terminate()
                for replica in sorted(self.replicas,
                                      key=lambda each: ("ingestion", "dispatch", "tagging",
                                                        "segmentation").index(each.service))}

    def export(self, _client, folder):
        """The topics as the embedded log's export writes them, read by the judge's own reader."""
        import kafka_journals
        os.makedirs(folder, exist_ok=True)
        source = kafka_journals.KafkaSource(self.cluster.bootstrap_servers,
                                            kafka_journals.Schema())
        try:
            for topic in kafka_journals.TOPICS:
                kafka_journals.write_export(source, topic, folder)
        finally:
            source.close()

    def judge_journals(self, folder):
        import kafka_judge
        return kafka_judge.judge(
            bootstrap=self.cluster.bootstrap_servers,
            witness=os.path.join(folder, "witness.jsonl"),
            client_logs=[os.path.join(folder, "client.jsonl")],
            processes=os.path.join(folder, "processes.jsonl"),
            logs=os.path.join(folder, "logs"))

    def end_commands(self):
        return [f"./dev kafka stop --dir {self.cluster.directory}"]

    def close(self):
        self.cluster.stop(grace_seconds=0)

    def describe(self):
        return {
            "kafka": {"version": self.cluster.version, "cluster_id": self.cluster.cluster_id,
                      "nodes": len(self.cluster.nodes)},
            "processes": [{
                "service": replica.service, "replica": replica.replica, "pid": replica.pid,
                "partitions": [p for p in range(
                    self._count if replica.service == "dispatch" else PARTITIONS)
                               if p % self._count == replica.replica]
                if replica.service in STATEFUL else [],
            } for replica in self.replicas],
        }
