#!/usr/bin/env python3
"""A real Apache Kafka of one or three nodes on loopback, for tests and for trying by hand.

Each node is broker and controller in one process (KRaft). Ports, data and logs are the cluster's
own, so any number of clusters run side by side, each in its folder.

  from cluster import Cluster
  with Cluster.start("/tmp/cluster", nodes=3) as cluster:
      run_something(cluster.bootstrap_servers)
      cluster.kill(2)
      cluster.restart(2)

The brokers of a library user end with its process, even if that is killed; those of the command
line stay until `stop`. Exit code 0: done. 1: it failed; the text says what to do. 2: wrong flags.
69: there is no Kafka on this machine, said in one line that begins with SKIPPED.

Examples:
  ./dev kafka start                     one node; prints bootstrap 127.0.0.1:PORT
  ./dev kafka start --nodes 3 --json    three nodes: 3 copies, 2 of them in sync for a write
  ./dev kafka status
  kill -9 PID; ./dev kafka start        starts again what does not run
  ./dev kafka stop --wipe               ends the brokers and deletes their data
  ./dev kafka start --dir /tmp/other    a second cluster; status and stop take --dir as well
"""

import argparse
import atexit
import base64
import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

import jars
import ports
from broker import POLL_SECONDS, Broker, properties, stop_all
from jars import KafkaError, KafkaUnavailable, say

__all__ = ["Cluster", "KafkaError", "KafkaUnavailable"]

DEFAULT_DIRECTORY = os.path.join(jars.FOLDER, "cluster")
STATE_FILE = "cluster.json"
LOCK_FILE = "start.lock"
READY_SECONDS = 90
GRACE_SECONDS = 8
GUARD_SECONDS = 20
SIGNAL_SECONDS = 5
LOCK_SECONDS = READY_SECONDS + 30
EXIT_UNAVAILABLE = 69


class Cluster:
    """The nodes of one folder. kill, restart, pause, resume and stop may come from any thread."""

    def __init__(self, directory, version, cluster_id, nodes):
        self.directory = os.path.abspath(directory)
        self.version = version
        self.cluster_id = cluster_id
        self.nodes = nodes
        self._claims = []  # bound sockets that keep the ports
        self._guard = None
        self._class_path = None
        self._lock = threading.Lock()  # over spawning, the state file and _stopped
        self._stopped = False

    @classmethod
    def start(cls, directory, nodes=None, stay=False, tls_folder=None):
        """Starts the cluster of the folder, a new one of `nodes` (1 or 3) if there is none yet.

        With `tls_folder` each node listens for mutual TLS too (node.tls_port); broker.pem and ca.pem
        are in the folder. Not remembered by the folder of the cluster.
        Returns when every node is ready. A stopped cluster keeps its data, ports and id.
        With stay=True running nodes are left as they are, and nodes outlive this process.
        Raises KafkaUnavailable if there is no Java or no Kafka to be had, KafkaError otherwise.
        """
        class_path = jars.ready()
        os.makedirs(directory, exist_ok=True)
        with jars.locked(os.path.join(directory, LOCK_FILE), LOCK_SECONDS):
            cluster = cls._existing_or_new(directory, nodes)
            cluster._class_path = class_path
            if tls_folder:
                cluster._listen_for_tls(tls_folder)
            cluster._run(stay)
        return cluster

    @classmethod
    def attach(cls, directory):
        """The cluster of the folder as it is, or None. It will not end with this process."""
        try:
            with open(os.path.join(directory, STATE_FILE), encoding="utf-8") as file:
                return cls._from_json(directory, json.load(file))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise KafkaError(f"{os.path.join(directory, STATE_FILE)} is damaged ({error!r}): end "
                             "its brokers by pid if some run, and remove the folder") from None

    @property
    def bootstrap_servers(self):
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def node(self, node_id):
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KafkaError(f"no node {node_id}: there are {[node.id for node in self.nodes]}")

    def kill(self, node_id):
        """SIGKILL; returns when nothing of the process is left."""
        stop_all([self.node(node_id)], grace_seconds=0)

    def restart(self, node_id):
        """Starts the node again with its data and ports; returns when it is ready.

        A node that still runs is stopped in order first.
        """
        node = self.node(node_id)
        stop_all([node], GRACE_SECONDS)
        self._spawn([node])
        _wait_ready([node])

    def pause(self, node_id):
        """SIGSTOP: the node is silent, its connections stay open."""
        self._signal(node_id, signal.SIGSTOP, "paused")

    def resume(self, node_id):
        """SIGCONT: it goes on where it was; if its session ended meanwhile, it registers anew."""
        self._signal(node_id, signal.SIGCONT, "running")

    def stop(self, grace_seconds=GRACE_SECONDS, wipe=False):
        """Ends all nodes: TERM to all at once, KILL after the grace. May be called twice."""
        with self._lock:
            self._stopped = True
        killed = stop_all(self.nodes, grace_seconds)
        self._release()
        if wipe:
            self._wipe()
        return killed

    def as_json(self):
        return {"version": self.version, "cluster_id": self.cluster_id,
                "nodes": [node.as_json() for node in self.nodes],
                "bootstrap_servers": self.bootstrap_servers}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @classmethod
    def _existing_or_new(cls, directory, count):
        cluster = cls.attach(directory)
        if cluster is None:
            return cls._new(directory, 1 if count is None else count)
        if count not in (None, len(cluster.nodes)):
            raise KafkaError(f"{directory} has a cluster of {len(cluster.nodes)}, not {count}: "
                             "stop --wipe it first, or take another --dir")
        if cluster.version != jars.version():
            raise KafkaError(f"{directory} has a cluster of Kafka {cluster.version}, and now it is "
                             f"{jars.version()}: stop --wipe it first, or take another --dir")
        return cluster

    @classmethod
    def _new(cls, directory, count):
        if count not in (1, 3):
            raise KafkaError(f"a cluster has 1 or 3 nodes, not {count}")
        claims = ports.claim_free(2 * count)
        numbers = [ports.number(claim) for claim in claims]
        directory = os.path.abspath(directory)
        nodes = [Broker(i + 1, numbers[2 * i], numbers[2 * i + 1],
                        os.path.join(directory, f"node-{i + 1}")) for i in range(count)]
        cluster = cls(directory, jars.version(), new_cluster_id(), nodes)
        cluster._claims = claims
        cluster._wipe_nodes()  # of a cluster whose state file is gone
        return cluster

    def _listen_for_tls(self, folder):
        for node, claim in zip(self.nodes, ports.claim_free(len(self.nodes))):
            node.tls_port, node.tls_folder = ports.number(claim), os.path.abspath(folder)
            self._claims.append(claim)

    @classmethod
    def _from_json(cls, directory, state):
        return cls(directory, state["version"], state["cluster_id"],
                   [Broker(node["id"], node["port"], node["controller_port"], node["dir"],
                           node["pid"]) for node in state["nodes"]])

    def _run(self, stay):
        """Starts every node that does not live, and waits until each is ready."""
        running = [node.id for node in self.nodes if node.lives]
        if running and not stay:
            raise KafkaError(f"nodes {running} of {self.directory} run already, started by another "
                             "process: stop them first, or take another folder")
        for node in self.nodes:
            if node.state == "paused":
                self.resume(node.id)
        starting = [node for node in self.nodes if not node.lives]
        if not starting:
            return
        if not self._claims:
            self._claims = [ports.claim_again(port) for node in starting
                            for port in (node.port, node.controller_port)]
        try:
            self._format(starting)
            self._save()
            if not stay:
                self._watch_over()
            self._spawn(starting)
            _wait_ready(starting)
        except BaseException:
            stop_all(starting, grace_seconds=0)
            self._release()
            raise
        if stay:
            self._release()

    def _format(self, nodes):
        fresh = [node for node in nodes if not node.is_formatted()]
        for node in nodes:
            node.write_properties(properties(node, self.nodes))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            futures = [pool.submit(node.format, self._class_path, self.cluster_id)
                       for node in fresh]
            for node, future in zip(fresh, futures):
                future.result()
                say(f"node {node.id} formatted")

    def _spawn(self, nodes):
        with self._lock:
            if self._stopped:
                raise KafkaError("the cluster is stopped: start it anew with Cluster.start")
            if self._class_path is None:
                self._class_path = jars.ready()
            for node in nodes:
                node.spawn(self._class_path)
            self._save()

    def _signal(self, node_id, number, state):
        node = self.node(node_id)
        if not node.signal(number):
            raise KafkaError(f"node {node_id} does not run: restart it first")
        if not node.wait_state(state, SIGNAL_SECONDS):
            raise KafkaError(f"node {node_id} is {node.state} {SIGNAL_SECONDS} s after a signal "
                             f"that makes it {state}: did another one follow, or did it end?")

    def _watch_over(self):
        """Makes the nodes end with this process, also where it is killed."""
        self._guard = subprocess.Popen([sys.executable, os.path.abspath(__file__), "guard",
                                        "--dir", self.directory],
                                       stdin=subprocess.PIPE, start_new_session=True)
        atexit.register(self._end_now)

    def _end_now(self):
        self.stop(grace_seconds=0)

    def _release(self):
        """Gives up the ports and the guard."""
        for claim in self._claims:
            claim.close()
        self._claims = []
        if self._guard:
            self._guard.stdin.close()
            self._guard.wait(GUARD_SECONDS)
            self._guard = None
            atexit.unregister(self._end_now)

    def _save(self):
        path = os.path.join(self.directory, STATE_FILE)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.as_json(), file, indent=1)
            file.write("\n")
        os.replace(path + ".new", path)

    def _wipe_nodes(self):
        for node in self.nodes:
            if os.path.exists(node.properties_path):  # never a folder that is not a node's
                shutil.rmtree(node.dir, ignore_errors=True)

    def _wipe(self):
        """Deletes what the cluster wrote, and the folder if nothing else is in it."""
        self._wipe_nodes()
        for name in (STATE_FILE, LOCK_FILE):
            if os.path.exists(os.path.join(self.directory, name)):
                os.remove(os.path.join(self.directory, name))
        if not os.listdir(self.directory):
            os.rmdir(self.directory)


def new_cluster_id():
    """22 characters that do not begin with a dash, which the format tool would take for a flag."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _wait_ready(nodes):
    began = time.monotonic()
    waiting = list(nodes)
    while waiting:
        for node in [node for node in waiting if node.is_ready()]:
            say(f"node {node.id} ready after {time.monotonic() - began:.1f} s")
            waiting.remove(node)
        if waiting and time.monotonic() - began > READY_SECONDS:
            raise waiting[0].late(READY_SECONDS)
        time.sleep(POLL_SECONDS if waiting else 0)


def command_start(options):
    cluster = Cluster.start(options.dir, options.nodes, stay=True)
    if options.json:
        print(json.dumps(cluster.as_json()))
        return 0
    print(f"bootstrap {cluster.bootstrap_servers}")
    for node in cluster.nodes:
        print(f"node {node.id} pid {node.pid} port {node.port} dir {node.dir}")
    return 0


def command_stop(options):
    cluster = Cluster.attach(options.dir)
    if cluster is None:
        say(f"no cluster in {options.dir}")
        return 0
    began = time.monotonic()
    lived = [node.id for node in cluster.nodes if node.lives]
    killed = cluster.stop(wipe=options.wipe)
    say(f"stopped {len(lived)} of {len(cluster.nodes)} nodes in {time.monotonic() - began:.1f} s"
        + (f"; had to kill {killed}" if killed else "")
        + ("; data deleted" if options.wipe else ""))
    return 0


def command_status(options):
    cluster = Cluster.attach(options.dir)
    states = [node.state for node in cluster.nodes] if cluster else []
    if options.json:
        print(json.dumps(_status_json(cluster, states)))
    elif cluster is None:
        print(f"no cluster in {options.dir}; ./dev kafka start makes one")
    else:
        print(f"Kafka {cluster.version}, cluster {cluster.cluster_id}")
        print(f"bootstrap {cluster.bootstrap_servers}")
        print(f"{'node':<5} {'state':<8} {'pid':>8} {'port':>6}  dir")
        for node, state in zip(cluster.nodes, states):
            print(f"{node.id:<5} {state:<8} {node.pid or '-':>8} {node.port:>6}  {node.dir}")
    return 0 if states and all(state == "running" for state in states) else 1


def _status_json(cluster, states):
    if cluster is None:
        return {"nodes": []}
    status = cluster.as_json()
    for node, state in zip(status["nodes"], states):
        node["state"] = state
    return status


def command_guard(options):
    """Waits until the process at the other end of standard input is gone; then kills the nodes."""
    sys.stdin.buffer.read()
    cluster = Cluster.attach(options.dir)
    if cluster:
        cluster.stop(grace_seconds=0)
    return 0


def parse(arguments):
    head, _, examples = __doc__.partition("Examples:")
    parser = argparse.ArgumentParser(prog="./dev kafka", description=head.partition("\n")[0],
                                     epilog="examples:" + examples,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="start|stop|status")
    start = verbs.add_parser("start", help="start the cluster, or what of it does not run")
    start.add_argument("--nodes", type=int, choices=(1, 3),
                       help="of a new cluster; default 1")
    stop = verbs.add_parser("stop", help="end the brokers")
    stop.add_argument("--wipe", action="store_true", help="delete data and logs as well")
    status = verbs.add_parser("status", help="which nodes live; exit code 0 if all run, 1 if not")
    guard = verbs.add_parser("guard")  # for _watch_over only
    for verb in (start, stop, status, guard):
        verb.add_argument("--dir", default=DEFAULT_DIRECTORY, metavar="DIR",
                          help="the cluster's folder; default build/kafka/cluster")
    for verb in (start, status):
        verb.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    command = {"start": command_start, "stop": command_stop, "status": command_status,
               "guard": command_guard}[options.verb]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return command(options)
    except KafkaUnavailable as unavailable:
        print(f"SKIPPED kafka: {unavailable.reason}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except KafkaError as error:
        say(error)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
