#!/usr/bin/env python3
"""Installs the Helm chart into a real Kubernetes API server and uses it there.

etcd, API server, controllers and scheduler are real; nodes and pods are played by kwok. The
namespace enforces the restricted class of pod security. Helm 4 installs, upgrades, rolls back, tests,
scales and uninstalls; a node is drained against the budgets; and the API server compares every field
of every file of helm/ci with its schemas. As root everything runs in a network of its own that has a
loopback alone; otherwise on free ports of 127.0.0.1. Processes end and the folder goes at the end,
also after a failure or a signal; --keep leaves the folder with logs.

Not proved, since kwok runs no image and asks no probe:
%s

Exit code 0: all is as it should be. 1: something is not; the text says what. 2: wrong flags.
77: SKIPPED, since a tool is missing.

Examples:
  python3 tests/deploy/cluster.py
  python3 tests/deploy/cluster.py --json --keep
"""

import argparse
import contextlib
import ctypes
import fcntl
import glob
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import tools

CHART = os.path.join(tools.REPOSITORY, "helm")
CI = sorted(glob.glob(os.path.join(CHART, "ci", "*-values.yaml")))
MINIMAL, METRICS, KEDA, PRODUCTION, ONE_LANE = (
    os.path.join(CHART, "ci", f"{name}-values.yaml")
    for name in ("minimal", "metrics", "keda", "production", "one-lane"))
NEEDED = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok",
          "helm4")
NAMESPACE = "proof"
RELEASE = "tidegate"
SERVICES = ("ingestion", "tagging", "segmentation", "dispatch")
OWNERS = ("tagging", "segmentation", "dispatch")  # of partitions; StatefulSets
WORKERS = 3
EGRESS = 2
START_SECONDS = 90
WAIT_SECONDS = 60
# Given to helm; the process gets some more before it is killed.
HELM_SECONDS = 90
HELD_SECONDS = 6
LEASE_SECONDS = 40
NODE_LOST_SECONDS = 600
COMMAND_SECONDS = 60
STOP_SECONDS = 3
EXIT_SKIPPED = 77
NOT_PROVED = (
    "that images can be had, and that the programs start, take their settings and stop in time",
    "probes, grace periods, preStop and minReadySeconds of the defaults: a pod is ready at once and "
    "gone at once",
    "init containers and mounts; only that the named secrets, keys and settings exist is compared",
    "the answers that `helm test` waits for: its pod is ended with success unasked",
    "traffic through Services, and that a NetworkPolicy holds any back",
    "what KEDA, the Prometheus operator and the sidecar of Grafana do with their objects",
    "volumes: claims are bound to names of folders that nothing mounts",
)
__doc__ = __doc__ % "\n".join(f"* {line};" for line in NOT_PROVED)

# Where objects are found. Only what is read here.
GROUPS = {
    "nodes": "/api/v1", "pods": "/api/v1", "services": "/api/v1", "configmaps": "/api/v1",
    "secrets": "/api/v1", "serviceaccounts": "/api/v1", "persistentvolumeclaims": "/api/v1",
    "deployments": "/apis/apps/v1", "statefulsets": "/apis/apps/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "servicemonitors": "/apis/monitoring.coreos.com/v1",
    "prometheusrules": "/apis/monitoring.coreos.com/v1",
    "scaledobjects": "/apis/keda.sh/v1alpha1",
}
CUSTOM = ("servicemonitors", "prometheusrules", "scaledobjects")
# File of helm/ci, what to change in its rendered text, and the field that must be named.
PLANTED = (
    (MINIMAL, "podManagementPolicy:", "podManagmentPolicy:", "podManagmentPolicy"),
    (MINIMAL, "readOnlyRootFilesystem:", "readonlyRootFilesystem:", "readonlyRootFilesystem"),
    (MINIMAL, "minReadySeconds: 10", "minReadySeconds: soon", "minReadySeconds"),
    (METRICS, "policyTypes:", "policyType:", "policyType"),
    (METRICS, "relabelings:", "relabellings:", "relabellings"),
    (METRICS, "expr:", "exprr:", "exprr"),
    (KEDA, "maxReplicaCount:", "maxReplicasCount:", "maxReplicasCount"),
)


class Failure(Exception):
    """Something is not as it should be. The text says what."""


class Missing(Exception):
    """The name of a tool that is not there."""


class Broken(Exception):
    """A step has failed, so that those which follow it make no sense."""


def say(text):
    print(f"cluster: {text}", file=sys.stderr, flush=True)


# --- Pure parts: what is given to the cluster, and how its answers are judged.

def node(name, zone, egress=False):
    """A node that kwok plays. Egress nodes are those that WeCom trusts: only dispatch goes there."""
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone,
              "kubernetes.io/os": "linux"}
    spec = {}
    if egress:
        labels["egress"] = "trusted"
        spec["taints"] = [{"key": "egress", "value": "trusted", "effect": "NoSchedule"}]
    return {"apiVersion": "v1", "kind": "Node", "spec": spec,
            "metadata": {"name": name, "labels": labels,
                         "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"allocatable": {"cpu": "16", "memory": "32Gi", "pods": "110"},
                       "capacity": {"cpu": "16", "memory": "32Gi", "pods": "110"}}}


def all_nodes():
    """Zones a, b, c and so on, one worker in each, and an egress node in some."""
    workers = [node(f"worker-{index}", "abcdef"[index]) for index in range(WORKERS)]
    return workers + [node(f"egress-{index}", "abcdef"[index], egress=True)
                      for index in range(EGRESS)]


def volume(index, size):
    """What a claim is bound to; there is nobody who makes one when it is asked for."""
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"folder-{index}"},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
                     "persistentVolumeReclaimPolicy": "Retain",
                     "hostPath": {"path": f"/var/lib/tidegate-proof/{index}"}}}


def guarded_namespace():
    level = {f"pod-security.kubernetes.io/{mode}": "restricted"
             for mode in ("enforce", "warn", "audit")}
    return {"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": level}}


def bare_pod(name, security):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": name, "image": "none", "securityContext": security}]}}


def listed(items):
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})


def plant(text, old, new):
    """The text with the first `old` replaced."""
    if old not in text:
        raise Failure(f"the rendered chart has no {old!r}: nothing to misspell")
    return text.replace(old, new, 1)


def label(thing, key):
    return thing["metadata"].get("labels", {}).get(f"app.kubernetes.io/{key}", "")


def is_ready(pod):
    """A pod that leaves is not ready, whatever it says."""
    return "deletionTimestamp" not in pod["metadata"] and any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", []))


def by_service(pods):
    """{service: its pods by name}, without the pod of the test."""
    found = {name: [] for name in SERVICES}
    for pod in sorted(pods, key=lambda pod: pod["metadata"]["name"]):
        found.setdefault(label(pod, "component"), []).append(pod)
    found.pop("test", None)
    return found


def uids(pods):
    return {pod["metadata"]["uid"] for pod in pods}


def events_in(text):
    """The JSON objects in a stream of them; an unfinished last one is left out."""
    decoder, place, found = json.JSONDecoder(), 0, []
    while True:
        while place < len(text) and text[place].isspace():
            place += 1
        try:
            event, place = decoder.raw_decode(text, place)
        except ValueError:
            return found
        found.append(event)


def least_ready(events, wanted):
    """{service: how many pods were ready at the worst moment}, from when all `wanted` first were."""
    ready, least = {name: set() for name in wanted}, {}
    for event in events:
        pod = event["object"]
        name, uid = label(pod, "component"), pod["metadata"]["uid"]
        if name not in wanted:
            continue
        if event["type"] != "DELETED" and is_ready(pod):
            ready[name].add(uid)
        else:
            ready[name].discard(uid)
        if name in least or len(ready[name]) == wanted[name]:
            least[name] = min(least.get(name, wanted[name]), len(ready[name]))
    return least


def value_in(settings, key):
    """Of the first line `key: value` at any depth."""
    found = re.search(rf"^ *{re.escape(key)}: *(.*?) *$", settings, re.MULTILINE)
    return found[1].strip('"') if found else None


def peers_in(settings, service):
    """The addresses of one service under `peers`, in their order."""
    section = re.search(r"^peers:\n((?: .*\n?)+)", settings, re.MULTILINE)
    found = re.search(rf"^  {service}:\n((?:    - .*\n?)+)", section[1] if section else "",
                      re.MULTILINE)
    return re.findall(r'- "?([^"\n]+)"?', found[1]) if found else []


def wanted_peers(service, count):
    return [f"{RELEASE}-{service}-{ordinal}.{RELEASE}-{service}-headless.{NAMESPACE}.svc."
            f"cluster.local:7600" for ordinal in range(count)]


def dangling(pods, secret_keys, settings_keys):
    """What pods name and is not there; kubelet would leave them waiting. Both: {name: keys}."""
    lines = []

    def look(pod, kind, name, keys, items):
        if name not in keys:
            lines.append(f"{pod}: there is no {kind} {name}")
            return
        lines.extend(f"{pod}: {kind} {name} has no key {item['key']}" for item in items or ()
                     if item["key"] not in keys[name])

    for pod in pods:
        name, spec = pod["metadata"]["name"], pod["spec"]
        for reference in spec.get("imagePullSecrets", []):
            look(name, "secret", reference["name"], secret_keys, ())
        for mounted in spec.get("volumes", []):
            if "secret" in mounted:
                look(name, "secret", mounted["secret"]["secretName"], secret_keys,
                     mounted["secret"].get("items"))
            if "configMap" in mounted:
                look(name, "ConfigMap", mounted["configMap"]["name"], settings_keys,
                     mounted["configMap"].get("items"))
    return sorted(set(lines))


def unread_files(settings, secret_keys, folders):
    """Files of mounted secrets that the settings name, and that the secrets lack.
    folders: {mount path: secret}."""
    lines = []
    for path in sorted(set(re.findall(r'"(/run/tidegate/[^"]+)"', settings))):
        folder, name = os.path.split(path)
        if folder not in folders:
            lines.append(f"{path}: nothing is mounted there")
        elif name not in secret_keys.get(folders[folder], ()):
            lines.append(f"{path}: secret {folders[folder]} has no key {name}")
    return lines


def secret_folders(pod):
    """{mount path: secret} of the service's container; the corps folder is filled by copying."""
    spec = pod["spec"]
    named = {each["name"]: each["secret"]["secretName"] for each in spec["volumes"]
             if "secret" in each}
    named["corps"] = named["corps-secret"]
    return {mount["mountPath"]: named[mount["name"]]
            for mount in spec["containers"][0]["volumeMounts"] if mount["name"] in named}


def unreached(services, slices, pods):
    """Services that do not lead to every pod of theirs on every port of theirs."""
    counts = {name: len(found) for name, found in by_service(pods).items()}
    lines = []
    for service in services:
        name = service["metadata"]["name"]
        mine = [each for each in slices
                if each["metadata"]["labels"].get("kubernetes.io/service-name") == name]
        leads = sum(len(each.get("endpoints") or []) for each in mine)
        if leads != counts[label(service, "component")]:
            lines.append(f"{name} leads to {leads} of {counts[label(service, 'component')]} pods")
        ports = {port["name"] for each in mine for port in each.get("ports") or []}
        lines.extend(f"{name}: port {port['name']} is none of the pods'"
                     for port in service["spec"]["ports"] if leads and port["name"] not in ports)
    return lines


def scraped(monitor, services):
    """Names of the Services that a ServiceMonitor of theirs chooses."""
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    ports = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    return sorted(service["metadata"]["name"] for service in services
                  if wanted <= service["metadata"].get("labels", {}).items()
                  and ports & {port["name"] for port in service["spec"]["ports"]})


def unsettled(workloads):
    """Deployments and StatefulSets whose pods are not all new and ready."""
    lines = []
    for each in workloads:
        wanted, status = each["spec"].get("replicas", 1), each.get("status", {})
        for key in ("replicas", "readyReplicas", "updatedReplicas"):
            if status.get(key, 0) != wanted:
                lines.append(f"{each['metadata']['name']}: {key} is {status.get(key, 0)} of {wanted}")
        if status.get("observedGeneration") != each["metadata"]["generation"]:
            lines.append(f"{each['metadata']['name']}: the controller has not seen the last change")
    return lines


def helm_version(said, installed):
    """A helm made by `go install` says 4.3; which one that is, is known to who installed it."""
    return installed if installed.startswith(said) else said


def last_lines(text, count=6):
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])[-1500:]


def table(result):
    width = max([len(step["name"]) for step in result["steps"]] + [4])
    lines = [f"{'step':<{width}} {'seconds':>7} {'':<6} detail"]
    lines += [f"{step['name']:<{width}} {step['seconds']:>7.1f} {'ok' if step['ok'] else 'FAILED':<6} "
              f"{' '.join(step['detail'].split())}" for step in result["steps"]]
    lines += [f"skipped: {line}" for line in result["skipped"]]
    lines += [f"not proved: {line}" for line in result["not_proved"]]
    lines.append(f"Kubernetes {result['kubernetes']}, helm {result['helm']}: {len(result['steps'])} "
                 f"steps, {len(result['failures'])} failures")
    return "\n".join(lines)


# --- Processes.

def own_network():
    """A network with nothing but its loopback, where that is allowed. Tells whether it was."""
    clone_newnet, siocsifflags, up_and_running = 0x40000000, 0x8914, 0x41
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(clone_newnet) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, siocsifflags, struct.pack("16sh22x", b"lo", up_and_running))
    return True


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def die_with_parent():
    """In a child: if this program is killed, so is that."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def needed(program):
    path = tools.path_of(program)
    if not path:
        raise Missing(program)
    return path


def custom_definitions():
    """Files of the custom resources' definitions, as tools.py has made and fetched them. {of: files}"""
    operator = sorted(glob.glob(os.path.join(tools.SOURCES, "operator-crds", "crds", "*.yaml")))
    keda = []
    before = os.environ.get("GOPROXY")
    os.environ["GOPROXY"] = "off"  # what was not fetched then is not fetched now
    try:
        module = tools.download("github.com/kedacore/keda/v2", tools.KEDA)
        keda = sorted(glob.glob(os.path.join(module["Dir"], "config", "crd", "bases", "keda.sh_*")))
    except (tools.Unavailable, KeyError, ValueError):
        pass
    finally:
        os.environ.pop("GOPROXY") if before is None else os.environ.update(GOPROXY=before)
    return {"the Prometheus operator": operator, "KEDA": keda}


class Cluster:
    """An API server with controllers, scheduler and nodes that are not there. Use as a context."""

    def __init__(self, folder):
        self.folder = folder
        self._programs = {name: needed(name) for name in NEEDED}
        if not shutil.which("openssl"):
            raise Missing("openssl")
        if not os.path.exists(tools.STAGES):
            raise Missing("kwok")
        self._processes = {}
        self._token = secrets.token_hex(16)
        store, peer, self._port, kwok = free_ports(4)
        self._address = f"https://127.0.0.1:{self._port}"
        self._trust = ssl.create_default_context()
        self._trust.check_hostname = False
        self._trust.verify_mode = ssl.CERT_NONE
        self._kubeconfig = os.path.join(folder, "kubeconfig")
        # Nothing of this user's home is read or written.
        self.environment = {**os.environ, "HOME": folder, "KUBECONFIG": self._kubeconfig,
                            "XDG_CACHE_HOME": folder, "XDG_CONFIG_HOME": folder,
                            "XDG_DATA_HOME": folder, "NO_PROXY": "*", "no_proxy": "*"}
        for name in list(self.environment):
            if name.startswith("HELM_"):
                del self.environment[name]
        self._store = f"http://127.0.0.1:{store}"
        self._peer = f"http://127.0.0.1:{peer}"
        self._kwok = f"127.0.0.1:{kwok}"

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    # Start and end.

    def start(self):
        run = self.run
        run("openssl", "genrsa", "-out", self.path("sa.key"), "2048")
        run("openssl", "rsa", "-in", self.path("sa.key"), "-pubout", "-out", self.path("sa.pub"))
        self.write("tokens.csv", f'{self._token},admin,1,"system:masters"\n')
        self.write("kubeconfig", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "proof",
            "clusters": [{"name": "proof", "cluster": {"server": self._address,
                                                       "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "proof", "context": {"cluster": "proof", "user": "admin",
                                                       "namespace": NAMESPACE}}]}))
        self._spawn("etcd", "--unsafe-no-fsync", f"--data-dir={self.path('etcd')}",
                    f"--listen-client-urls={self._store}", f"--advertise-client-urls={self._store}",
                    f"--listen-peer-urls={self._peer}",
                    f"--initial-advertise-peer-urls={self._peer}",
                    f"--initial-cluster=default={self._peer}")
        self._spawn("kube-apiserver", f"--etcd-servers={self._store}", "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
                    f"--secure-port={self._port}", f"--cert-dir={self.path('certs')}",
                    "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
                    f"--token-auth-file={self.path('tokens.csv')}", "--allow-privileged=true",
                    "--service-account-issuer=https://proof.invalid",
                    f"--service-account-key-file={self.path('sa.pub')}",
                    f"--service-account-signing-key-file={self.path('sa.key')}")
        self.until("the API server is ready", lambda: self.ask("/readyz") == "ok", START_SECONDS)
        kubeconfig = f"--kubeconfig={self._kubeconfig}"
        self._spawn("kube-controller-manager", kubeconfig, "--controllers=*", "--secure-port=0",
                    "--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400",
                    # A busy machine is no reason to call nodes lost, and their pods not ready.
                    f"--node-monitor-grace-period={NODE_LOST_SECONDS}s",
                    f"--service-account-private-key-file={self.path('sa.key')}")
        self._spawn("kube-scheduler", kubeconfig, "--leader-elect=false", "--secure-port=0")
        self._spawn("kwok", kubeconfig, f"--config={tools.STAGES}", "--manage-all-nodes=false",
                    "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                    # Without leases nodes count as lost after a minute.
                    f"--node-lease-duration-seconds={LEASE_SECONDS}",
                    f"--server-address={self._kwok}")
        self.apply(listed([*all_nodes(), guarded_namespace()]))
        self.until("all nodes are ready", self._nodes_ready, START_SECONDS)
        self.until("the namespace has its service account",
                   lambda: any(each["metadata"]["name"] == "default"
                               for each in self.items("serviceaccounts")), START_SECONDS)

    def stop(self):
        """Nothing of it is needed afterwards, so nobody is waited for long."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _spawn(self, name, *arguments):
        with open(self.path(f"{name}.log"), "w", encoding="utf-8") as log:
            # A session of its own: Ctrl-C is not meant for it, and all of it can be ended.
            self._processes[name] = subprocess.Popen(
                [self._programs[name], *arguments], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self.folder, env=self.environment, start_new_session=True,
                preexec_fn=die_with_parent)

    def _nodes_ready(self):
        nodes = self.items("nodes", namespace=None)
        return len(nodes) == WORKERS + EGRESS and all(
            is_ready(each) and not any(taint["key"].startswith("node.kubernetes.io/")
                                       for taint in each["spec"].get("taints", []))
            for each in nodes)

    def until(self, what, holds, seconds=WAIT_SECONDS):
        """Asks until it holds. `holds` may raise or return a text that says what is lacking."""
        deadline, answer = time.monotonic() + seconds, None
        while True:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    with open(self.path(f"{name}.log"), encoding="utf-8", errors="replace") as log:
                        raise Failure(f"{name} has ended with exit code {process.returncode}:\n"
                                      + last_lines(log.read()))
            try:
                answer = holds()
                if answer is True:
                    return
            except OSError as error:
                answer = error
            if time.monotonic() > deadline:
                raise Failure(f"not within {seconds} s: {what}" + (f" ({answer})" if answer else ""))
            time.sleep(0.1)

    # Commands.

    def run(self, *command, given=None, seconds=COMMAND_SECONDS, check=True):
        """Its end, with standard output and error. Raises Failure, unless check is False."""
        try:
            done = subprocess.run(command, input=given, text=True, errors="replace",
                                  stdin=subprocess.DEVNULL if given is None else None,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                                  timeout=seconds, cwd=self.folder, env=self.environment)
        except subprocess.TimeoutExpired:
            raise Failure(f"`{short(command)}` did not end within {seconds} s") from None
        if check and done.returncode:
            raise Failure(f"`{short(command)}` ended with exit code {done.returncode}:\n"
                          + last_lines(done.stderr or done.stdout))
        return done

    def kubectl(self, *arguments, **options):
        return self.run(self._programs["kubectl"], *arguments, **options)

    def helm(self, verb, *arguments, **options):
        return self.run(self._programs["helm4"], verb, *arguments,
                        **{"seconds": HELM_SECONDS + 30, **options})

    def apply(self, text, *more, **options):
        return self.kubectl("apply", "--server-side", *more, "-f", "-", given=text, **options)

    @contextlib.contextmanager
    def watched_pods(self):
        """Within it, every change of a pod is noted. Gives a list that holds the events afterwards."""
        events, path = [], self.path("events")
        with open(path, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [self._programs["kubectl"], "get", "pods", "--watch", "--output-watch-events",
                 "-o", "json"], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL,
                cwd=self.folder, env=self.environment, preexec_fn=die_with_parent)
        try:
            self.until("the watch of pods has begun", lambda: os.path.getsize(path) > 0)
            yield events
            time.sleep(0.5)  # for the last event to arrive
        finally:
            process.kill()
            process.wait()
        with open(path, encoding="utf-8") as file:
            events += events_in(file.read())

    # Reading, without a process each time.

    def ask(self, path):
        request = urllib.request.Request(self._address + path,
                                         headers={"Authorization": f"Bearer {self._token}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                             urllib.request.HTTPSHandler(context=self._trust))
        with opener.open(request, timeout=10) as response:
            return response.read().decode()

    def items(self, kind, namespace=NAMESPACE, **labels):
        where = f"/namespaces/{namespace}" if namespace else ""
        chosen = ",".join(f"app.kubernetes.io/{key}={value}" for key, value in labels.items())
        query = f"?labelSelector={urllib.parse.quote(chosen)}" if chosen else ""
        return json.loads(self.ask(f"{GROUPS[kind]}{where}/{kind}{query}"))["items"]

    def named(self, kind, name):
        path = f"{GROUPS[kind]}/namespaces/{NAMESPACE}/{kind}/{name}"
        try:
            return json.loads(self.ask(path))
        except urllib.error.HTTPError as error:
            raise Failure(f"{kind}/{name}: {error.reason}") from None

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            os.chmod(file.fileno(), 0o600)
            file.write(text)
        return self.path(name)


def short(command):
    return " ".join([os.path.basename(command[0]), *command[1:4]])


# --- The steps.

class Steps:
    """What was done, how long it took, and what came of it."""

    def __init__(self):
        self.rows, self.failures = [], []

    @contextlib.contextmanager
    def step(self, name):
        """Gives a list for details. A Failure inside is noted and becomes Broken."""
        say(name)
        notes, began, ok = [], time.monotonic(), False
        try:
            yield notes
            ok = True
        except (Failure, OSError, LookupError, TypeError, ValueError) as error:
            text = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
            notes.append(text)
            self.failures.append(f"{name}: {text}")
            say(f"FAILED {name}: {text}")
            raise Broken(name) from None
        finally:
            self.rows.append({"name": name, "seconds": round(time.monotonic() - began, 1), "ok": ok,
                              "detail": "; ".join(notes)})


class Proof:
    def __init__(self, cluster, steps):
        self._cluster = cluster
        self._step = steps.step
        self.skipped = []
        self._custom = True

    # Small questions.

    def _mine(self, kind):
        return self._cluster.items(kind, instance=RELEASE)

    def _pods(self):
        return by_service(self._mine("pods"))

    def _settings(self, service):
        return self._cluster.named("configmaps", f"{RELEASE}-{service}")["data"]

    def _expect(self, what, seen, wanted):
        if seen != wanted:
            raise Failure(f"{what}: {seen}, not {wanted}")

    def _allowed(self):
        return {label(budget, "component"): budget.get("status", {}).get("disruptionsAllowed", 0)
                for budget in self._mine("poddisruptionbudgets")}

    # Helm.

    def _helm(self, verb, values=(), **changes):
        """helm install or upgrade, which waits; then looks whether it was right to come back."""
        overlay = self._cluster.write("overlay.json", json.dumps({"minReadySeconds": 1, **changes}))
        files = [part for path in [*values, overlay] for part in ("-f", path)]
        self._waited(verb, RELEASE, CHART, *files)

    def _waited(self, verb, *arguments):
        done = self._cluster.helm(verb, *arguments, "--namespace", NAMESPACE, "--wait",
                                  f"--timeout={HELM_SECONDS}s", check=False)
        if done.returncode:
            raise Failure(f"`helm {verb}` ended with exit code {done.returncode}:\n"
                          + last_lines(done.stderr) + self._who_waits())
        lines = unsettled(self._mine("deployments") + self._mine("statefulsets"))
        if lines:
            raise Failure(f"`helm {verb} --wait` came back too early: {'; '.join(lines)}")

    def _who_waits(self):
        lines = []
        for pod in self._mine("pods"):
            if not is_ready(pod):
                status = pod.get("status", {})
                why = [condition.get("message", "") for condition in status.get("conditions", [])
                       if condition["type"] == "PodScheduled" and condition["status"] == "False"]
                lines.append(f"\n{pod['metadata']['name']} is {status.get('phase')}, node "
                             f"{pod['spec'].get('nodeName', 'none')}: {' '.join(why)}")
        return "".join(lines + [f"\n{line}" for line in unsettled(
            self._mine("deployments") + self._mine("statefulsets"))])

    def _sound(self, notes, counts):
        """What kubelet, Services and the programs would stumble over."""
        cluster = self._cluster
        pods = self._pods()
        self._expect("pods", {name: len(found) for name, found in pods.items()}, counts)
        every = [pod for found in pods.values() for pod in found]
        keys = {kind: {each["metadata"]["name"]: each.get("data", {}) for each in cluster.items(kind)}
                for kind in ("secrets", "configmaps")}
        lines = dangling(every, keys["secrets"], keys["configmaps"])
        for name, found in pods.items():
            if found:
                lines += unread_files(self._settings(name)["tidegate.yaml"], keys["secrets"],
                                      secret_folders(found[0]))
        if lines:
            raise Failure("; ".join(lines))

        def reached():
            faults = unreached(self._mine("services"), self._mine("endpointslices"), every)
            return "; ".join(faults) if faults else True
        cluster.until("every Service leads to its pods", reached)
        notes.append(f"{len(every)} pods ready, {len(self._mine('services'))} Services lead to them")

    def _replaced(self, before, changed, notes, counts):
        """All pods of the changed services are new, all others are the same ones."""
        after = self._pods()
        for name in SERVICES:
            kept = uids(before[name]) & uids(after[name])
            if name in changed and kept:
                raise Failure(f"{len(kept)} of {len(before[name])} pods of {name} were not restarted")
            if name not in changed and kept != uids(before[name]):
                raise Failure(f"pods of {name} were restarted, and nothing of theirs has changed")
        self._expect("pods", {name: len(found) for name, found in after.items()}, counts)
        same = [name for name in SERVICES if name not in changed]
        notes.append(f"restarted {', '.join(changed)}" + (f"; not {', '.join(same)}" if same else ""))

    def _rolled(self, events, before, notes):
        """One pod at a time; ingestion adds one before it takes one away."""
        counts = {name: len(found) for name, found in before.items()}
        least = least_ready(events, counts)
        for name, count in counts.items():
            floor = count - (name != "ingestion")
            if least.get(name, -1) < floor:
                raise Failure(f"only {least.get(name)} of {count} pods of {name} were ready at the "
                              f"worst moment, not {floor}")
        notes.append("ready at the worst moment: " + ", ".join(
            f"{name} {least[name]} of {count}" for name, count in counts.items()))

    def _told(self, service, count, notes):
        """Settings and command of each replica: r, R and the names of all."""
        data = self._settings(service)
        self._expect(f"peers of {service}", peers_in(data["tidegate.yaml"], service),
                     wanted_peers(service, count))
        with tempfile.TemporaryDirectory(dir=self._cluster.folder) as folder:
            for name, text in data.items():
                tools.write(os.path.join(folder, name), text)
            for ordinal, pod in enumerate(self._pods()[service]):
                self._expect("started as", started_as(pod, folder),
                             f"--replica {ordinal}/{count}")
        notes.append(f"--replica 0/{count} to {count - 1}/{count}, {count} peers")

    # The parts. Each leaves the namespace without the release.

    def guard(self):
        cluster = self._cluster
        with self._step("pod security is enforced") as notes:
            for name, security, wanted in (
                    ("privileged", {"privileged": True}, "privileged"),
                    ("baseline", {}, "runAsNonRoot")):
                done = cluster.kubectl("apply", "-f", "-", given=json.dumps(bare_pod(name, security)),
                                       check=False)
                if not done.returncode or "violates PodSecurity" not in done.stderr or (
                        wanted not in done.stderr):
                    raise Failure(f"a {name} pod was not refused by the restricted class: "
                                  f"{last_lines(done.stderr or done.stdout)}")
            notes.append("a privileged pod and one without any security context are refused")

    def make_secrets(self):
        """As helm/README.md tells; the values are dummies of this run."""
        cluster = self._cluster
        with self._step("secrets") as notes:
            app = {"agent_id": "1000002", "secret_file": "secret",
                   "token": secrets.token_hex(8), "aes_key_file": "aes"}
            cluster.write("corps.json", json.dumps({"corps": [{"corp_id": "ww1234", "apps": [app]}]}))
            cluster.write("secret", secrets.token_urlsafe(32))
            cluster.write("aes", secrets.token_hex(21) + "A")
            cluster.kubectl("create", "secret", "generic", "tidegate-corps",
                            "--from-file=corps.json", "--from-file=secret", "--from-file=aes",
                            "--from-file=all.json=corps.json")  # the name in one-lane-values.yaml
            cluster.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=proof",
                        "-keyout", "tls.key", "-out", "tls.crt")
            for name in ("tidegate-tls", "tidegate-callback-tls", "kafka-client"):
                cluster.kubectl("create", "secret", "generic", name, "--from-file=tls.crt",
                                "--from-file=tls.key", "--from-file=ca.crt=tls.crt")
            cluster.kubectl("create", "secret", "docker-registry", "pull",
                            "--docker-server=images.invalid", "--docker-username=proof",
                            f"--docker-password={secrets.token_hex(8)}")
            notes.append(f"{len(cluster.items('secrets'))} made")

    def definitions(self, files):
        cluster = self._cluster
        lacking = [name for name, found in files.items() if not found]
        if lacking:
            self._custom = False
            self.skipped.append(f"all steps with metrics or KEDA: there are no definitions of "
                                f"{' and '.join(lacking)}; run ./dev setup --proof")
            return
        with self._step("custom resource definitions") as notes:
            for found in files.values():
                cluster.kubectl("apply", "--server-side", *[f"--filename={path}" for path in found])
            cluster.until("they are served", lambda: all(
                isinstance(cluster.items(kind), list) for kind in CUSTOM))
            notes.append(", ".join(f"{len(found)} of {name}" for name, found in files.items()))

    def _ci(self):
        return [path for path in CI if self._custom or path not in (METRICS, KEDA)]

    def strict(self):
        """Before anything is installed, so that no other owner of fields is in the way."""
        cluster, rendered = self._cluster, {}
        with self._step("strict check of helm/ci") as notes:
            for path in self._ci():
                rendered[path] = cluster.helm("template", RELEASE, CHART, "--namespace", NAMESPACE,
                                              "-f", path).stdout
                done = cluster.apply(rendered[path], "--dry-run=server", check=False)
                if done.returncode:
                    raise Failure(f"{os.path.basename(path)}: {last_lines(done.stderr)}")
                # Deployments are taken with a mere warning; their pods would be refused.
                if "would violate PodSecurity" in done.stderr:
                    raise Failure(f"{os.path.basename(path)}: {last_lines(done.stderr)}")
                notes.append(f"{os.path.basename(path)[:-len('-values.yaml')]} "
                             f"{len(done.stdout.splitlines())} objects")
        with self._step("planted faults are found") as notes:
            for path, old, new, field in PLANTED:
                if path not in rendered:
                    continue
                done = cluster.apply(plant(rendered[path], old, new), "--dry-run=server", check=False)
                if not done.returncode or field not in done.stderr:
                    raise Failure(f"{new!r} instead of {old!r} was not refused: "
                                  f"{last_lines(done.stderr or done.stdout)}")
                notes.append(field)
        with self._step("helm refuses a misspelt field") as notes:
            chart = cluster.path("misspelt")
            shutil.copytree(CHART, chart)
            path = os.path.join(chart, "templates", "_stateful.tpl")
            with open(path, encoding="utf-8") as file:
                text = plant(file.read(), "podManagementPolicy:", "podManagmentPolicy:")
            tools.write(path, text)
            done = cluster.helm("install", RELEASE, chart, "--namespace", NAMESPACE, "-f", MINIMAL,
                                check=False)
            if not done.returncode or "podManagmentPolicy" not in done.stderr:
                raise Failure(f"it was installed: {last_lines(done.stderr or done.stdout)}")
            notes.append("podManagmentPolicy, by install itself")

    def life(self):
        """One release from its install to its end."""
        lanes = {"lanes": 4}
        two = {name: 2 for name in SERVICES}
        values = {**lanes, "dispatch": {"replicas": 2}}
        with self._step("helm install --wait") as notes:
            self._helm("install", [MINIMAL], **values)
            self._sound(notes, two)
            for service in OWNERS:
                self._told(service, 2, notes if service == OWNERS[0] else [])
        self._test("helm test")
        with self._step("helm upgrade --wait, a changed setting") as notes:
            before = self._pods()
            with self._cluster.watched_pods() as events:
                self._helm("upgrade", [MINIMAL], **values, kafka={"appendTimeoutMs": 60000})
            self._replaced(before, SERVICES, notes, two)
            self._rolled(events, before, notes)
            self._append_timeout("60000")
            self._sound(notes, two)
        with self._step("helm upgrade --wait, nothing changed") as notes:
            before = self._pods()
            self._helm("upgrade", [MINIMAL], **values, kafka={"appendTimeoutMs": 60000})
            for name, found in self._pods().items():
                self._expect(f"pods of {name}", uids(found), uids(before[name]))
            notes.append("no pod was restarted")
        with self._step("helm rollback --wait") as notes:
            before = self._pods()
            with self._cluster.watched_pods() as events:
                self._waited("rollback", RELEASE, "1")
            self._replaced(before, SERVICES, notes, two)
            self._rolled(events, before, notes)
            self._append_timeout("120000")
            self._sound(notes, two)
        self._drain()
        self._scale(values)
        self._uninstall("minimal-values")

    def _append_timeout(self, wanted):
        for service in SERVICES:
            self._expect(f"append_timeout_ms of {service}", value_in(
                self._settings(service)["tidegate.yaml"], "append_timeout_ms"), wanted)

    def _test(self, name):
        with self._step(name) as notes:
            done = self._cluster.helm("test", RELEASE, "--namespace", NAMESPACE,
                                      f"--timeout={WAIT_SECONDS}s")
            if not re.search(r"Phase:\s+Succeeded", done.stdout):
                raise Failure(f"helm does not say that it succeeded: {last_lines(done.stdout)}")
            notes.append("its pod passes the restricted class, gets a node, and is removed; its "
                         "questions are not asked")
            self._expect("pods of the test", len(self._cluster.items("pods", component="test")), 0)

    def _drain(self):
        cluster = self._cluster

        def drain(name, seconds, check=True):
            return cluster.kubectl("drain", name, "--delete-emptydir-data",
                                   f"--timeout={seconds}s", seconds=seconds + 30, check=check)

        def back():
            cluster.kubectl("uncordon", *[each["metadata"]["name"] for each in all_nodes()],
                            check=False)

        try:
            with self._step("kubectl drain is held by the budget") as notes:
                cluster.until("each service may lose a pod",
                              lambda: self._allowed() == {name: 1 for name in SERVICES})
                ill, well = self._pods()["tagging"]
                there = well["spec"]["nodeName"]
                if there == ill["spec"]["nodeName"]:
                    raise Failure(f"both pods of tagging are on {there}: they are not spread")
                self._make_ill(ill["metadata"]["name"])
                cluster.until("tagging may lose none", lambda: self._allowed()["tagging"] == 0)
                done = drain(there, HELD_SECONDS, check=False)
                if not done.returncode or "disruption budget" not in done.stderr:
                    raise Failure(f"{there} was drained: {last_lines(done.stderr or done.stdout)}")
                left = {pod["metadata"]["uid"] for pod in self._mine("pods")
                        if pod["spec"].get("nodeName") == there}
                self._expect(f"pods left on {there}", left, uids([well]))
                notes.append(f"0 disruptions of tagging allowed: after {HELD_SECONDS} s its pod is "
                             f"still on {there}, all others have left")
            with self._step("kubectl drain takes a pod that is not ready") as notes:
                drain(ill["spec"]["nodeName"], WAIT_SECONDS)
                self._expect("the pod that was not ready",
                             uids([ill]) & uids(self._pods()["tagging"]), set())
                notes.append("evicted at 0 allowed disruptions, as unhealthyPodEvictionPolicy says")
            with self._step("kubectl drain passes when the budget allows it") as notes:
                cluster.until("each service may lose a pod again",
                              lambda: self._allowed() == {name: 1 for name in SERVICES})
                drain(there, WAIT_SECONDS)
                self._expect("pods of the release there",
                             [pod["metadata"]["name"] for pod in self._mine("pods")
                              if pod["spec"].get("nodeName") == there], [])
                cluster.until("all pods are ready elsewhere", lambda: not unsettled(
                    self._mine("deployments") + self._mine("statefulsets")))
                notes.append(f"{there} is empty, all pods are ready elsewhere")
        finally:
            back()

    def _make_ill(self, name):
        ill = {"status": {"conditions": [{"type": kind, "status": "False"}
                                         for kind in ("Ready", "ContainersReady")]}}
        self._cluster.kubectl("patch", "pod", name, "--subresource=status", "--type=strategic",
                              f"--patch={json.dumps(ill)}")

    def _scale(self, values):
        """From 2 to 3. Dispatch asks segmentation, so it restarts with it."""
        counts = {name: 2 for name in SERVICES}
        for service, changed in (("tagging", ("tagging",)),
                                 ("segmentation", ("segmentation", "dispatch")),
                                 ("dispatch", ("dispatch",))):
            with self._step(f"scale {service} from 2 to 3") as notes:
                before = self._pods()
                counts[service], values[service] = 3, {"replicas": 3}
                self._helm("upgrade", [MINIMAL], **values)
                self._replaced(before, changed, notes, counts)
                self._told(service, 3, notes)
                if service == "segmentation":
                    self._expect("peers that dispatch asks", peers_in(
                        self._settings("dispatch")["tidegate.yaml"], service),
                        wanted_peers(service, 3))
                self._sound(notes, counts)
        with self._step("scale dispatch from 3 to 4 by a full stop") as notes:
            before = self._pods()
            self._helm("upgrade", [MINIMAL], **{**values, "dispatch": {"replicas": 3, "stopped": True}})
            self._cluster.kubectl("wait", "pod", "--for=delete", "--timeout=60s",
                                  f"--selector=app.kubernetes.io/instance={RELEASE},"
                                  "app.kubernetes.io/component=dispatch", seconds=90)
            counts["dispatch"] = 4
            self._helm("upgrade", [MINIMAL],
                       **{**values, "dispatch": {"replicas": 4, "stopped": False}})
            self._replaced(before, ("dispatch",), notes, counts)
            self._told("dispatch", 4, notes)

    def switches(self):
        """Metrics, rules, boards and KEDA."""
        cluster = self._cluster
        if not self._custom:
            return
        files = [METRICS, KEDA]
        counts = {"ingestion": 1, "tagging": 1, "segmentation": 2, "dispatch": 1}
        with self._step("helm install --wait with metrics, rules, boards and KEDA") as notes:
            self._helm("install", files)
            self._custom_objects(notes)
            self._sound(notes, counts)
        self._test("helm test with metrics and KEDA")
        with self._step("an upgrade leaves the scaler's number alone") as notes:
            for kind, name in (("deployment", "ingestion"), ("statefulset", "tagging")):
                cluster.kubectl("scale", kind, f"{RELEASE}-{name}", "--replicas=3")
                cluster.until(f"3 pods of {name} are ready", lambda name=name: sum(
                    map(is_ready, self._pods()[name])) == 3)
                counts[name] = 3
            before = self._pods()
            self._helm("upgrade", files, kafka={"appendTimeoutMs": 60000})
            self._replaced(before, SERVICES, notes, counts)
            notes.append("3 replicas of ingestion and of tagging, set by another, are still 3")
        with self._step("all switches off by an upgrade") as notes:
            self._helm("upgrade", [MINIMAL], networkPolicy={"enabled": False})
            left = {kind: len(self._mine(kind)) for kind in (*CUSTOM, "networkpolicies")}
            self._expect("what is left", left, {kind: 0 for kind in left})
            notes.append(f"{', '.join(left)} are gone")
            counts |= {"ingestion": 2, "tagging": 2}
            self._sound(notes, counts)
        with self._step("KEDA switched on while the release runs") as notes:
            with cluster.watched_pods() as events:
                self._helm("upgrade", [MINIMAL], ingestion={"autoscaling": {"enabled": True}},
                           tagging={"autoscaling": {"enabled": True, "prometheusUrl": "http://p:1"}})
            left = [len(self._pods()[name]) for name in ("ingestion", "tagging")]
            self._expect("pods of ingestion and tagging, whose default is 1", left, [2, 2])
            # Its pods restart one by one, since they are told another way to count.
            least = least_ready(events, {"ingestion": 2}).get("ingestion", 0)
            if least < 2:
                raise Failure(f"ingestion fell from 2 ready pods to {least}, below minReplicas: its "
                              "Deployment lost spec.replicas, whose default is 1")
            notes.append("ingestion and tagging keep their 2 pods")
        self._uninstall("metrics and KEDA")

    def _custom_objects(self, notes):
        services = self._mine("services")
        monitors, rules = self._mine("servicemonitors"), self._mine("prometheusrules")
        self._expect("objects", [len(monitors), len(rules), len(self._mine("networkpolicies"))],
                     [1, 1, len(SERVICES)])
        self._expect("what the ServiceMonitor chooses", scraped(monitors[0], services),
                     sorted(f"{RELEASE}-{name}-headless" for name in SERVICES))
        alerts = sum(len(group["rules"]) for group in rules[0]["spec"]["groups"])
        boards = {key for each in self._mine("configmaps")
                  if each["metadata"]["labels"].get("grafana_dashboard") for key in each["data"]}
        self._expect("boards", boards, set(os.listdir(os.path.join(CHART, "files", "boards"))))
        scaled = {each["spec"]["scaleTargetRef"]["name"] for each in self._mine("scaledobjects")}
        self._expect("what is scaled", scaled, {f"{RELEASE}-ingestion", f"{RELEASE}-tagging"})
        self._cluster.named("deployments", f"{RELEASE}-ingestion")
        self._cluster.named("statefulsets", f"{RELEASE}-tagging")
        notes.append(f"{alerts} rules, {len(boards)} boards, {len(scaled)} ScaledObjects, a ServiceMonitor that "
                     f"chooses {len(SERVICES)} Services")

    def production(self):
        cluster, three = self._cluster, {name: 3 for name in SERVICES}
        with self._step("helm install --wait of production-values") as notes:
            cluster.apply(listed(volume(index, "10Gi") for index in range(3)))
            self._helm("install", [PRODUCTION])
            self._sound(notes, three)
            claims = [each["status"]["phase"] for each in cluster.items("persistentvolumeclaims")]
            self._expect("claims", claims, ["Bound"] * 3)
            nodes = {pod["spec"]["nodeName"].partition("-")[0] for pod in self._pods()["dispatch"]}
            self._expect("nodes of dispatch", nodes, {"egress"})
            notes.append("3 claims bound; dispatch on egress nodes alone")
        with self._step("helm upgrade --wait of production-values") as notes:
            before = self._pods()
            with cluster.watched_pods() as events:
                self._helm("upgrade", [PRODUCTION], kafka={"appendTimeoutMs": 60000})
            self._replaced(before, SERVICES, notes, three)
            self._rolled(events, before, notes)
        self._uninstall("production-values", claims=3)

    def one_lane(self):
        with self._step("helm install --wait of one-lane-values") as notes:
            self._helm("install", [ONE_LANE])
            self._sound(notes, {name: 1 for name in SERVICES})
            if "limits.json" not in self._settings("dispatch"):
                raise Failure("dispatch has no limits.json")
            notes.append("limits.json is there")
        self._uninstall("one-lane-values")

    def _uninstall(self, what, claims=0):
        cluster = self._cluster
        kinds = [kind for kind in GROUPS if kind not in ("nodes", "persistentvolumeclaims")
                 and (self._custom or kind not in CUSTOM)]
        with self._step(f"helm uninstall --wait of {what}") as notes:
            cluster.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait",
                         f"--timeout={WAIT_SECONDS}s")

            def gone():
                left = {kind: len(self._mine(kind)) for kind in kinds}
                left = {kind: count for kind, count in left.items() if count}
                return str(left) if left else True
            cluster.until("nothing of the release is left", gone)
            self._expect("claims", len(cluster.items("persistentvolumeclaims")), claims)
            cluster.named("secrets", "tidegate-corps")
            notes.append("nothing is left but the secrets" + (f" and {claims} claims" if claims else ""))

    def sweep(self):
        """After a part, also a failed one: the next finds no release and no claims."""
        self._cluster.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found",
                           "--wait", f"--timeout={WAIT_SECONDS}s", check=False)
        self._cluster.kubectl("delete", "persistentvolumeclaims", "--all", "--timeout=30s",
                              check=False)


def started_as(pod, folder):
    """Runs the pod's own shell line, with the files of a folder as /etc/tidegate and nothing
    started; the --replica that the program would be given."""
    container = pod["spec"]["containers"][0]
    script = container["command"][-1].replace("/etc/tidegate", folder).replace(
        "exec tidegate-", "echo tidegate-")
    done = subprocess.run(["/bin/sh", "-c", script], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=COMMAND_SECONDS,
                          env={"PATH": os.environ["PATH"], "POD_NAME": pod["metadata"]["name"]})
    found = re.search(r"--replica \S+", done.stdout)
    return found[0] if found and not done.returncode else done.stdout.strip()


def prove(folder):
    """Everything; the result."""
    definitions = custom_definitions()  # asked before this process loses its network
    alone = own_network()
    cluster, steps = Cluster(folder), Steps()
    result = {"kubernetes": "", "helm": "", "steps": steps.rows, "skipped": [],
              "failures": steps.failures, "not_proved": list(NOT_PROVED)}
    proof = Proof(cluster, steps)
    try:
        with steps.step("start of the cluster") as notes:
            cluster.start()
            version = json.loads(cluster.ask("/version"))
            result["kubernetes"] = version["gitVersion"].removeprefix("v")
            result["helm"] = helm_version(
                cluster.helm("version", "--template={{.Version}}").stdout.removeprefix("v"),
                tools.load_versions().get("helm4", ""))
            notes.append(f"Kubernetes {result['kubernetes']}, {WORKERS} workers and {EGRESS} egress "
                         f"nodes, {'a loopback of its own' if alone else 'free ports'}")
        for part in (proof.guard, proof.make_secrets, lambda: proof.definitions(definitions),
                     proof.strict, proof.life, proof.switches, proof.production, proof.one_lane):
            try:
                part()
            except Broken:
                pass
            proof.sweep()
    except Broken:
        pass  # no cluster, nothing else to try
    except (Failure, OSError) as error:
        steps.failures.append(f"between two steps: {error}")
    finally:
        quiet()
        cluster.stop()
    result["skipped"] = proof.skipped
    return result


def quiet():
    """What has to be cleaned up is cleaned up, however often somebody asks for the end."""
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)


def leave(number, _frame):
    sys.exit(128 + number)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/deploy/cluster.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--keep", action="store_true",
                        help="leave the folder with logs and settings; processes end anyway")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, leave)
    folder = tempfile.mkdtemp(prefix="tidegate-cluster-")
    try:
        result = prove(folder)
    except Missing as name:
        print(f"SKIPPED cluster: {name} is missing; run ./dev setup --proof")
        return EXIT_SKIPPED
    finally:
        quiet()
        if options.keep:
            say(f"logs are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result) if options.json else table(result))
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
