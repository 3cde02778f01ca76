"""One node of a Kafka cluster: its settings, its process, and whether it is ready.

  node = Broker(1, port, controller_port, "/tmp/cluster/node-1")
  node.write_properties(properties(node, [node]))
  node.format(class_path, cluster_id)
  node.spawn(class_path)
  while not node.is_ready():
      time.sleep(POLL_SECONDS)
  node.signal(signal.SIGKILL)
  node.wait_ended(seconds=5)

A pid is trusted only while the process's command line names this node's properties file, so that
a number used again by the kernel is never signalled. No signal is sent by name.
"""

import os
import signal
import socket
import subprocess
import time

from jars import KafkaError

HEAP = ("-Xms64m", "-Xmx192m")
# Both make a small, quick JVM; under short loads as fast as the full compiler.
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
POLL_SECONDS = 0.05
FORMAT_SECONDS = 60
KILL_SECONDS = 10
LOG_TAIL_LINES = 15
STARTED = b"Kafka Server started"


class Broker:
    """A node in its folder: server.properties, broker.log, data/."""

    def __init__(self, node_id, port, controller_port, directory, pid=None):
        self.id = node_id
        self.port = port
        self.controller_port = controller_port
        self.dir = directory
        self.pid = pid
        self.tls_port = None  # with tls_folder: a listener for mutual TLS
        self.tls_folder = None
        self.properties_path = os.path.join(directory, "server.properties")
        self.data = os.path.join(directory, "data")
        self.log = os.path.join(directory, "broker.log")
        self._process = None  # of this Python process; None where another one started it
        self._log_start = 0

    def as_json(self):
        return {"id": self.id, "port": self.port, "controller_port": self.controller_port,
                "pid": self.pid, "dir": self.dir}

    @property
    def state(self):
        """"running", "paused" (by SIGSTOP) or "dead"."""
        if not self._is_ours():
            return "dead"
        return "paused" if _is_stopped(self.pid) else "running"

    @property
    def lives(self):
        return self._is_ours()

    def write_properties(self, text):
        os.makedirs(self.dir, exist_ok=True)
        with open(self.properties_path, "w", encoding="utf-8") as file:
            file.write(text)

    def is_formatted(self):
        return os.path.exists(os.path.join(self.data, "meta.properties"))

    def format(self, class_path, cluster_id):
        """Writes the empty storage. Raises KafkaError."""
        log = os.path.join(self.dir, "format.log")
        command = ["java", "-Xmx128m", *JVM, "-cp", class_path, "kafka.tools.StorageTool",
                   "format", "-t", cluster_id, "-c", self.properties_path]
        with open(log, "wb") as output:
            try:
                code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output,
                                      stderr=output, timeout=FORMAT_SECONDS).returncode
            except subprocess.TimeoutExpired:
                code = f"none within {FORMAT_SECONDS} s"
        if code:
            raise KafkaError(f"node {self.id} could not be formatted (exit code {code}); the end "
                             f"of {log}:\n{_tail(_read(log))}")

    def spawn(self, class_path):
        """Starts the process, in a session of its own. It is not ready yet."""
        self._log_start = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        command = ["java", *HEAP, *JVM, "-Dlog4j2.level=INFO", "-cp", class_path, "kafka.Kafka",
                   self.properties_path]
        with open(self.log, "ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                             stderr=output, cwd=self.dir, start_new_session=True)
        self.pid = self._process.pid

    def is_ready(self):
        """Whether the node itself says that it serves. Raises KafkaError if it has ended.

        An open port proves nothing (a killed broker's port accepts for some ms), and other nodes
        list a dead broker until its session ends. The node writes the line looked for only after
        the controller has admitted it and its port serves.
        """
        if self._process.poll() is not None:
            raise KafkaError(f"node {self.id} ended with exit code {self._process.returncode} "
                             f"before it was ready. {self._why()}")
        return STARTED in self._output() and _accepts(self.port)

    def late(self, seconds):
        """The error for a node that is not ready in time."""
        return KafkaError(f"node {self.id} is not ready after {seconds:.0f} s: the machine is very "
                          "busy, or no majority of the nodes runs. "
                          f"{self._why()}")

    def signal(self, number):
        """True if the node lived and was signalled."""
        if not self._is_ours():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_state(self, state, seconds):
        """True as soon as the state is that."""
        return _wait(lambda: self.state == state, seconds)

    def wait_ended(self, seconds):
        """True as soon as nothing of the process is left: no thread, no socket, no file."""
        return _wait(self._has_ended, seconds)

    def _output(self):
        """What this run of the node has logged."""
        with open(self.log, "rb") as file:
            file.seek(self._log_start)
            return file.read()

    def _is_ours(self):
        return self.pid is not None and self.properties_path in _command_line(self.pid)

    def _has_ended(self):
        if self._process is not None:
            return self._process.poll() is not None
        if self.pid is None or _stat(f"/proc/{self.pid}") is None:
            return True
        if _stat(f"/proc/{self.pid}") == "Z":  # not reaped; other threads may still be closing
            return len(_threads(self.pid)) <= 1
        arguments = _command_line(self.pid)
        return bool(arguments) and self.properties_path not in arguments

    def _why(self):
        output = self._output()
        hint = ""
        if b"Address already in use" in output:
            hint = (f"\nAnother program took port {self.port} or {self.controller_port}: wipe the "
                    "cluster and start it anew; it chooses other ports.")
        elif b"UnsupportedClassVersionError" in output:
            hint = "\nThis Java is too old: apt-get install openjdk-17-jre-headless."
        return f"The end of {self.log}:\n{_tail(output)}{hint}"


def properties(node, nodes):
    """The text of server.properties for `node`, one of `nodes`."""
    copies = len(nodes)
    in_sync = 2 if copies > 1 else 1
    tls_listener, tls_settings = _tls(node)
    voters = ",".join(f"{each.id}@127.0.0.1:{each.controller_port}" for each in nodes)
    return f"""\
process.roles=broker,controller
node.id={node.id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}{tls_listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{node.port}{tls_listener}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={node.data}

# Topics. message.max.bytes stays at its default, 1,048,588: 1,000,000 bytes and headers fit.
default.replication.factor={copies}
min.insync.replicas={in_sync}
unclean.leader.election.enable=false
auto.create.topics.enable=false
log.message.timestamp.type=LogAppendTime
log.message.timestamp.after.max.ms=9223372036854775807

# Internal topics. Their default of 3 copies makes groups and transactions of one node hang.
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=5
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=5
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000

# A killed broker cannot register again before its session has ended.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=300
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000

# The default takes 128 MB of the heap at once.
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=200
{tls_settings}"""


def _tls(node):
    """The listener and settings of mutual TLS, empty for a node without."""
    if not node.tls_port:
        return "", ""
    return f",SSL://127.0.0.1:{node.tls_port}", f"""
# PEM files: key and certificates in one, authorities of the clients in the other.
ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={node.tls_folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={node.tls_folder}/ca.pem
"""


def stop_all(nodes, grace_seconds):
    """TERM to all at once, and KILL to those that live after the grace. Returns the killed ids.

    One by one, the last of three hangs for 5 minutes: it waits for a majority that is gone.
    """
    stopping = [node for node in nodes if node.lives]
    if grace_seconds > 0:
        for node in stopping:
            node.signal(signal.SIGCONT)  # a paused one would not hear the TERM
            node.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        for node in stopping:
            node.wait_ended(max(0, deadline - time.monotonic()))
    killed = [node.id for node in stopping if node.signal(signal.SIGKILL)]
    for node in stopping:
        if not node.wait_ended(KILL_SECONDS):
            raise KafkaError(f"node {node.id} (pid {node.pid}) lives {KILL_SECONDS} s after "
                             "SIGKILL: is its disk hanging? Look at /proc/PID/stack.")
    return killed


def _command_line(pid):
    """The arguments; empty where there is no such process or only a zombie."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [os.fsdecode(argument) for argument in file.read().split(b"\0") if argument]
    except OSError:
        return []


def _stat(path):
    """The letter of the state of a process or thread (its folder in /proc); None without one."""
    try:
        with open(f"{path}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return None


def _threads(pid):
    """The folders in /proc of the threads that there are."""
    try:
        return [f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _is_stopped(pid):
    """Whether no thread runs any more: a stop reaches them one after the other."""
    states = [_stat(thread) for thread in _threads(pid)]
    return bool(states) and all(state in ("T", None) for state in states)


def _wait(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _tail(output):
    lines = output.decode("utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:])
