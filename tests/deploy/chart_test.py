"""The Helm chart: what it renders, what it refuses, and that the real program takes its settings.

Needs helm3, helm4 or helm in the folder TIDEGATE_PROOF_TOOLS or in PATH. With kubeconform there and
schemas in TIDEGATE_PROOF_SCHEMAS (kubernetes/vX.Y.Z-strict and crd) unknown fields are found; with the
services' binaries in TIDEGATE_BIN the settings are checked. The two folders are by default those of
./dev setup --proof.
"""

import contextlib
import copy
import functools
import glob
import http.server
import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import unittest

# Also for a Python that is not Debian's own.
sys.path.append("/usr/lib/python3/dist-packages")
try:
    import yaml
except ImportError:
    yaml = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHART = os.path.join(ROOT, "helm")
CI = sorted(glob.glob(os.path.join(CHART, "ci", "*-values.yaml")))
BROKEN = sorted(glob.glob(os.path.join(ROOT, "tests", "deploy", "broken_values", "*.yaml")))
MINIMAL = os.path.join(CHART, "ci", "minimal-values.yaml")
PRODUCTION = os.path.join(CHART, "ci", "production-values.yaml")
METRICS = os.path.join(CHART, "ci", "metrics-values.yaml")
KEDA = os.path.join(CHART, "ci", "keda-values.yaml")
SERVICES = ("ingestion", "tagging", "segmentation", "dispatch")
# Helm 3 takes Kubernetes for 1.20 where it sees no cluster.
KUBE_VERSION = ("--kube-version", "1.37.2")
WORKLOADS = ("Deployment", "StatefulSet", "Pod")
# The name "t" is short and no part of "tidegate", so names are RELEASE-tidegate-SERVICE.
RELEASE = "t"
# No test asks a real cluster.
os.environ["KUBECONFIG"] = os.devnull
SKIPPED = 77
STARTUP_SECONDS_LEAST = 630


def proof_folder(variable, name):
    return os.environ.get(variable) or os.path.join(ROOT, ".cache", "proof", name)


def tool(name):
    path = os.path.join(proof_folder("TIDEGATE_PROOF_TOOLS", "bin"), name)
    return path if os.access(path, os.X_OK) else shutil.which(name)


HELMS = [path for path in (tool("helm3") or tool("helm"), tool("helm4")) if path]


def run(*command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **options)


def template(values, *more, chart=CHART, helm=None):
    """The end of `helm template`, with its output."""
    return run(helm or HELMS[0], "template", RELEASE, chart, *KUBE_VERSION, "-f", values, *more)


@functools.lru_cache(maxsize=None)
def render(values, *more, chart=CHART, helm=None):
    result = template(values, *more, chart=chart, helm=helm)
    if result.returncode != 0:
        raise AssertionError(f"{os.path.basename(values)} does not render:\n{result.stdout}")
    return result.stdout


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def objects(values, *more, chart=CHART):
    return documents(render(values, *more, chart=chart))


def of_kind(found, *kinds):
    return [document for document in found if document["kind"] in kinds]


def name_of(document):
    return f"{document['kind']} {document['metadata']['name']}"


def one(found, kind, name):
    return next(d for d in found if d["kind"] == kind and d["metadata"]["name"] == name)


def pod_of(workload):
    return workload if workload["kind"] == "Pod" else workload["spec"]["template"]


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def all_values(path):
    """The chart's values under those of a file."""
    def merged(under, over):
        if not isinstance(under, dict) or not isinstance(over, dict):
            return over
        return {**under, **{key: merged(under.get(key), value) for key, value in over.items()}}

    with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as file:
        defaults = yaml.safe_load(file)
    with open(path, encoding="utf-8") as file:
        return merged(defaults, yaml.safe_load(file))


# The rules. Each gives the faults that it finds, so that planted ones can be looked for.

def restricted_faults(found):
    for workload in of_kind(found, *WORKLOADS):
        pod, name = pod_of(workload)["spec"], name_of(workload)
        security = pod.get("securityContext", {})
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name}: a token is mounted"
        if security.get("runAsNonRoot") is not True or security.get("runAsUser") != 65534:
            yield f"{name}: may run as root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: no seccomp profile"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key):
                yield f"{name}: {key}"
        for volume in pod.get("volumes", []):
            if "hostPath" in volume:
                yield f"{name}: a path of the node"
    for document in of_kind(found, "ServiceAccount"):
        if document.get("automountServiceAccountToken") is not False:
            yield f"{name_of(document)}: a token is mounted"


def container_faults(found):
    for workload in of_kind(found, *WORKLOADS):
        for container in containers(pod_of(workload)):
            name = f"{name_of(workload)}, container {container['name']}"
            security = container.get("securityContext", {})
            if security.get("privileged"):
                yield f"{name}: privileged"
            if security.get("allowPrivilegeEscalation") is not False:
                yield f"{name}: may escalate"
            if security.get("readOnlyRootFilesystem") is not True:
                yield f"{name}: the root is writable"
            if security.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name}: keeps capabilities"
            for part in ("requests", "limits"):
                for resource in ("cpu", "memory"):
                    if resource not in container.get("resources", {}).get(part, {}):
                        yield f"{name}: no {part} of {resource}"
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            # A runtime cannot make the place of one in another that is read-only.
            if any(path.startswith(other + "/") for path in paths for other in paths):
                yield f"{name}: a mount stands in another"


def rollout_faults(found, values):
    for workload in of_kind(found, "Deployment", "StatefulSet"):
        name, pod = name_of(workload), pod_of(workload)
        if "checksum/config" not in pod["metadata"].get("annotations", {}):
            yield f"{name}: no checksum of its settings"
        main = pod["spec"]["containers"][0]
        pre_stop = int(main["lifecycle"]["preStop"]["exec"]["command"][1])
        if not pod["spec"]["terminationGracePeriodSeconds"] > pre_stop + values["drainSeconds"] + 5:
            yield f"{name}: the grace period is too short"
        startup = main["startupProbe"]
        if startup["periodSeconds"] * startup["failureThreshold"] < STARTUP_SECONDS_LEAST:
            yield f"{name}: the startup probe ends a replay"
        if main["livenessProbe"]["httpGet"] != {"path": "/livez", "port": "admin"}:
            yield f"{name}: the liveness probe asks for more than life"
        if not pod["spec"].get("topologySpreadConstraints"):
            yield f"{name}: is not spread"
        if not workload["spec"].get("minReadySeconds"):
            yield f"{name}: no minReadySeconds"


def selectors(document):
    spec = document.get("spec", {})
    if document["kind"] == "Service":
        yield spec["selector"]
    for key in ("selector", "podSelector"):
        if key in spec and "matchLabels" in spec[key]:
            yield spec[key]["matchLabels"]
    for constraint in pod_of(document)["spec"].get("topologySpreadConstraints", []) \
            if document["kind"] in ("Deployment", "StatefulSet") else []:
        yield constraint["labelSelector"]["matchLabels"]


def selector_faults(found):
    for document in found:
        for labels in selectors(document):
            for key in labels:
                if key in ("app.kubernetes.io/version", "helm.sh/chart"):
                    yield f"{name_of(document)}: {key} in a selector"
        if document["kind"] in ("Deployment", "StatefulSet"):
            wanted = document["spec"]["selector"]["matchLabels"]
            if not wanted.items() <= pod_of(document)["metadata"]["labels"].items():
                yield f"{name_of(document)}: does not select its own pods"


def secret_faults(found):
    if of_kind(found, "Secret"):
        yield "a secret is rendered"
    for document in of_kind(found, "ConfigMap"):
        # Boards speak of token buckets.
        if "grafana_dashboard" in document["metadata"]["labels"]:
            continue
        if re.search(r"(?i)password|secret_file|aes_key|\btoken\b|PRIVATE KEY",
                     json.dumps(document["data"])):
            yield f"{name_of(document)}: holds a secret"


def budget_faults(found):
    scaled = {d["spec"]["scaleTargetRef"]["name"]: d["spec"]["minReplicaCount"]
              for d in of_kind(found, "ScaledObject")}
    for budget in of_kind(found, "PodDisruptionBudget"):
        name, spec = budget["metadata"]["name"], budget["spec"]
        workload = next(d for d in of_kind(found, "Deployment", "StatefulSet")
                        if d["metadata"]["name"] == name)
        replicas = workload["spec"].get("replicas", scaled.get(name))
        if spec.get("maxUnavailable", 1) < 1 or spec.get("minAvailable", 0) >= replicas:
            yield f"{name_of(budget)}: no node can be drained"


def scaler_faults(found):
    for scaler in of_kind(found, "ScaledObject", "HorizontalPodAutoscaler"):
        spec, name = scaler["spec"], name_of(scaler)
        target = spec["scaleTargetRef"]["name"]
        service = target.rsplit("-", 1)[1]
        if service not in ("ingestion", "tagging"):
            yield f"{name}: scales {service}, which is never scaled"
        elif service == "tagging":
            data = one(found, "ConfigMap", target)["data"]
            settings = yaml.safe_load(data["tidegate.yaml"])
            least, most = spec["minReplicaCount"], spec["maxReplicaCount"]
            if data["replicas"].strip() != f"{least}-{most}" or \
                    len(settings["peers"]["tagging"]) != most:
                yield f"{name}: its pods count to another number"
            if most > settings["partitions"]:
                yield f"{name}: some pods would own nothing"


def address_faults(found):
    """Peers, services and ports that do not fit each other."""
    pods = {d["metadata"]["name"]: d for d in of_kind(found, "StatefulSet")}
    headless = {d["metadata"]["name"] for d in of_kind(found, "Service")
                if d["spec"].get("clusterIP") == "None"}
    for name, document in pods.items():
        if document["spec"]["serviceName"] not in headless:
            yield f"{name}: its headless service is missing"
    for config in of_kind(found, "ConfigMap"):
        if "tidegate.yaml" not in config["data"]:
            continue
        settings = yaml.safe_load(config["data"]["tidegate.yaml"])
        for service in SERVICES:
            for ordinal, peer in enumerate(settings.get("peers", {}).get(service, [])):
                pod, service_name = peer.split(".")[:2]
                owner, _, number = pod.rpartition("-")
                if number != str(ordinal) or owner not in pods or \
                        pods[owner]["spec"]["serviceName"] != service_name:
                    yield f"{name_of(config)}: no pod has the address {peer}"
    workloads = of_kind(found, "Deployment", "StatefulSet")
    for service in of_kind(found, "Service"):
        wanted = service["spec"]["selector"].items()
        chosen = [w for w in workloads if wanted <= pod_of(w)["metadata"]["labels"].items()]
        names = {port["name"] for w in chosen for port in ports_of(w)}
        for port in service["spec"]["ports"]:
            if len(chosen) != 1 or port["targetPort"] not in names:
                yield f"{name_of(service)}: port {port['name']} leads nowhere"


def ports_of(workload):
    return pod_of(workload)["spec"]["containers"][0]["ports"]


def faults(found, values):
    return [*restricted_faults(found), *container_faults(found), *rollout_faults(found, values),
            *selector_faults(found), *secret_faults(found), *budget_faults(found),
            *scaler_faults(found), *address_faults(found)]


def field_faults(text):
    """What kubeconform says; None where it or its schemas are missing."""
    kubeconform, folder = tool("kubeconform"), proof_folder("TIDEGATE_PROOF_SCHEMAS", "schemas")
    versions = sorted(glob.glob(os.path.join(folder, "kubernetes", "v*-strict")))
    if not kubeconform or not versions:
        return None
    version = os.path.basename(versions[-1]).removeprefix("v").removesuffix("-strict")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        result = run(kubeconform, "-strict", "-kubernetes-version", version, "-schema-location",
                     folder + "/kubernetes/{{.NormalizedKubernetesVersion}}{{.StrictSuffix}}"
                     "/{{.ResourceKind}}{{.KindSuffix}}.json", "-schema-location",
                     folder + "/crd/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json",
                     file.name)
    return [] if result.returncode == 0 else result.stdout.splitlines()


@contextlib.contextmanager
def copy_of_chart(*edits):
    """A temporary copy with (file, old, new) edits."""
    with tempfile.TemporaryDirectory() as folder:
        chart = os.path.join(folder, "tidegate")
        shutil.copytree(CHART, chart)
        for path, old, new in edits:
            path = os.path.join(chart, path)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            assert old in text, f"{path} has no {old!r}"
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.replace(old, new))
        yield chart


class ChartTest(unittest.TestCase):
    maxDiff = None

    # Lint takes a refusal of the templates for information; rendering, below, does not.
    def test_lint_is_strict(self):
        for helm in HELMS:
            for values in CI:
                with self.subTest(helm=helm, values=os.path.basename(values)):
                    result = run(helm, "lint", "--strict", CHART, *KUBE_VERSION, "-f", values)
                    self.assertEqual(result.returncode, 0, result.stdout)

    def test_every_values_file_keeps_the_rules(self):
        self.assertGreaterEqual(len(CI), 5)
        for values in CI:
            with self.subTest(values=os.path.basename(values)):
                self.assertEqual(faults(objects(values), all_values(values)), [])

    def test_both_helms_render_the_same(self):
        if len(HELMS) < 2:
            self.skipTest("one helm only")
        for values in CI:
            with self.subTest(values=os.path.basename(values)):
                first, second = (sorted(documents(render(values, helm=helm)), key=name_of)
                                 for helm in HELMS)
                self.assertEqual(first, second)

    def test_every_field_is_known(self):
        for values in CI:
            with self.subTest(values=os.path.basename(values)):
                found = field_faults(render(values))
                if found is None:
                    self.skipTest("no kubeconform or no schemas")
                self.assertEqual(found, [])

    def test_replicas_restart_only_those_that_they_concern(self):
        def checksums(*more):
            return {d["metadata"]["name"].rsplit("-", 1)[1]:
                    pod_of(d)["metadata"]["annotations"]["checksum/config"]
                    for d in of_kind(objects(MINIMAL, *more), "Deployment", "StatefulSet")}

        before = checksums()
        for service, concerned in (("ingestion", set()), ("tagging", {"tagging"}),
                                   ("segmentation", {"segmentation", "dispatch"})):
            after = checksums("--set", f"{service}.replicas=3")
            self.assertEqual({s for s in SERVICES if before[s] != after[s]}, concerned, service)

    def test_a_stopped_service_keeps_its_number(self):
        found = objects(PRODUCTION, "--set", "dispatch.stopped=true")
        self.assertEqual(one(found, "StatefulSet", "t-tidegate-dispatch")["spec"]["replicas"], 0)
        settings = one(found, "ConfigMap", "t-tidegate-dispatch")["data"]
        self.assertEqual(settings["replicas"], "3\n")

    def test_the_lag_that_scales_tagging_is_counted_right(self):
        promtool = tool("promtool")
        if promtool is None:
            self.skipTest("no promtool")
        scaler = one(objects(KEDA), "ScaledObject", "t-tidegate-tagging")
        query = scaler["spec"]["triggers"][0]["metadata"]["query"]
        lag = 'tidegate_lag_records{{namespace="{}", stage="{}", partition="{}"}}'.format
        case = {
            "rule_files": [], "evaluation_interval": "1m",
            "tests": [{
                "interval": "1m",
                "input_series": [
                    {"series": lag("default", "tagging", 0), "values": "5 70 0"},
                    {"series": lag("default", "tagging", 1), "values": "0 0 200"},
                    {"series": lag("default", "ingestion", 0), "values": "4000x3"},
                    {"series": lag("other", "tagging", 0), "values": "30000x3"}],
                # The highest of two minutes of each partition, of this release's tagging alone.
                "promql_expr_test": [{"expr": query, "eval_time": "2m", "exp_samples": [
                    {"labels": "{}", "value": 270}]}]}]}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(case, file)
            file.flush()
            result = run(promtool, "test", "rules", file.name)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_rules_and_boards_of_the_files_folder(self):
        rules = "groups:\n  - name: tidegate\n    rules:\n      - alert: Old\n" \
                "        expr: tidegate_doubt_oldest_seconds > 1\n" \
                "        annotations: {summary: '{{ $value }} s'}\n"
        with copy_of_chart() as chart:
            shutil.rmtree(os.path.join(chart, "files"), ignore_errors=True)
            without = objects(METRICS, chart=chart)
            self.assertEqual(of_kind(without, "PrometheusRule"), [])
            os.makedirs(os.path.join(chart, "files", "boards"))
            for path, text in (("alerts.yaml", rules), ("boards/all_calls.json", '{"uid": "a"}\n')):
                with open(os.path.join(chart, "files", path), "w", encoding="utf-8") as file:
                    file.write(text)
            found = documents(template(METRICS, chart=chart).stdout)
            self.assertEqual(of_kind(found, "PrometheusRule")[0]["spec"], yaml.safe_load(rules))
            board = one(found, "ConfigMap", "t-tidegate-board-all-calls")
            self.assertEqual(board["data"], {"all_calls.json": '{"uid": "a"}\n'})
            self.assertEqual(board["metadata"]["labels"]["grafana_dashboard"], "1")
            quiet = documents(template(MINIMAL, chart=chart).stdout)
            self.assertEqual(of_kind(quiet, "PrometheusRule", "ServiceMonitor"), [])


class BrokenValuesTest(unittest.TestCase):
    def test_each_is_refused_with_its_remedy(self):
        self.assertGreaterEqual(len(BROKEN), 6)
        for helm in HELMS:
            for values in BROKEN:
                with self.subTest(helm=helm, values=os.path.basename(values)):
                    with open(values, encoding="utf-8") as file:
                        first = file.readline()
                    self.assertTrue(first.startswith("# refused: "))
                    result = template(values, helm=helm)
                    self.assertNotEqual(result.returncode, 0)
                    self.assertIn(first.removeprefix("# refused: ").strip(), result.stdout)

    def test_all_faults_are_told_at_once(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as nothing:
            result = template(nothing.name)
        for text in ("kafka.bootstrapServers is empty", "corps.existingSecret is empty",
                     "grpc would listen", "callback would listen"):
            self.assertIn(text, result.stdout)


class PlantedFaultTest(unittest.TestCase):
    """The rules find what they are for."""

    def faults_of(self, *edits):
        with copy_of_chart(*edits) as chart:
            result = template(PRODUCTION, chart=chart)
            self.assertEqual(result.returncode, 0, result.stdout)
            return faults(documents(result.stdout), all_values(PRODUCTION))

    def test_each_is_caught(self):
        pod, helpers = "templates/_pod.tpl", "templates/_helpers.tpl"
        for edit, text in (
                ((helpers, "allowPrivilegeEscalation: false", "privileged: true"), "privileged"),
                ((helpers, "readOnlyRootFilesystem: true\n", ""), "the root is writable"),
                ((helpers, "drop: [ALL]", "add: [NET_ADMIN]"), "keeps capabilities"),
                ((helpers, "runAsUser: 65534", "runAsUser: 0"), "may run as root"),
                ((helpers, "  type: RuntimeDefault", "  type: Unconfined"), "no seccomp profile"),
                ((pod, "automountServiceAccountToken: false\n", ""), "a token is mounted"),
                ((pod, "      limits: {cpu: 100m, memory: 32Mi}\n", ""), "no limits of memory"),
                ((pod, "/run/tidegate/tls/", "/etc/tidegate/tls/"), "a mount stands in another"),
                ((pod, "checksum/config", "checksum/other"), "no checksum of its settings"),
                ((helpers, ".Values.drainSeconds 10", ".Values.drainSeconds 5"),
                 "the grace period is too short"),
                ((pod, "{path: /livez, port: admin}", "{path: /readyz, port: admin}"),
                 "the liveness probe asks for more than life"),
                ((pod, ".startupSeconds 5", ".startupSeconds 50"), "ends a replay"),
                (("templates/_beside.tpl", "- {name: admin, port: 7602, targetPort: admin}",
                  "- {name: admin, port: 7602, targetPort: metrics}"), "leads nowhere"),
                (("templates/_settings.tpl", "-%d.%s:7600", "%d.%s:7600"),
                 "no pod has the address"),
                (("templates/_settings.tpl", "send: {{", "password: x\nsend: {{"),
                 "holds a secret"),
                (("templates/_beside.tpl", "maxUnavailable: {{ int .maxUnavailable }}",
                  "maxUnavailable: 0"), "no node can be drained")):
            with self.subTest(edit=edit):
                found = self.faults_of(edit)
                self.assertTrue([fault for fault in found if text in fault], found)

    def test_a_version_in_a_selector_is_caught(self):
        found = self.faults_of((
            "templates/_helpers.tpl", "app.kubernetes.io/instance: {{ .Release.Name }}\n",
            "app.kubernetes.io/instance: {{ .Release.Name }}\n"
            "app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}\n"))
        self.assertTrue([f for f in found if "in a selector" in f], found)

    def test_a_scaler_that_does_not_fit_its_pods_is_caught(self):
        found = copy.deepcopy(objects(KEDA))
        self.assertEqual(list(scaler_faults(found)), [])
        spec = one(found, "ScaledObject", "t-tidegate-tagging")["spec"]
        spec["maxReplicaCount"] = 7
        self.assertIn("its pods count to another number", "\n".join(scaler_faults(found)))
        spec["scaleTargetRef"]["name"] = "t-tidegate-dispatch"
        self.assertIn("scales dispatch, which is never scaled", "\n".join(scaler_faults(found)))

    def test_a_misspelt_field_is_caught(self):
        for path, right, wrong in (
                ("templates/_stateful.tpl", "minReadySeconds", "minReadySecond"),
                ("templates/_pod.tpl", "failureThreshold", "failureTreshold"),
                ("templates/metrics.yaml", "targetLabel", "targetlabel"),
                ("templates/networkpolicy.yaml", "policyTypes", "policyType")):
            with self.subTest(field=wrong), copy_of_chart((path, right, wrong)) as chart:
                found = field_faults(template(METRICS, chart=chart).stdout)
                if found is None:
                    self.skipTest("no kubeconform or no schemas")
                self.assertIn(wrong, "\n".join(found))

    def test_an_unknown_value_is_caught_at_any_depth(self):
        for key in ("bogus", "kafka.bogus", "tls.grpc.bogus", "ingestion.autoscaling.bogus",
                    "dispatch.resources.limits.bogus", "metrics.rules.bogus"):
            with self.subTest(key=key):
                result = template(MINIMAL, "--set", f"{key}=1")
                self.assertNotEqual(result.returncode, 0)
                self.assertIn("additional properties 'bogus' not allowed", result.stdout)


class SettingsTest(unittest.TestCase):
    """What pods run, without a cluster."""

    @contextlib.contextmanager
    def mounted(self, config):
        """A folder in place of the mounts of a pod, with stand-ins of all files."""
        with tempfile.TemporaryDirectory() as folder:
            def moved(text):
                return text.replace("/etc/tidegate", folder + "/etc").replace(
                    "/run/tidegate", folder + "/run")

            os.makedirs(folder + "/etc")
            for name, text in config["data"].items():
                for path in re.findall(r'"(/(?:etc|run)/tidegate/[^"]+)"', text):
                    path = moved(path)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "w", encoding="utf-8"):
                        os.chmod(path, 0o600)
                with open(os.path.join(folder, "etc", name), "w", encoding="utf-8") as file:
                    file.write(moved(text))
            yield folder, moved

    def test_the_program_takes_the_settings(self):
        binaries = os.environ.get("TIDEGATE_BIN")
        if not binaries:
            self.skipTest("TIDEGATE_BIN is not set")
        for values in CI:
            for service in SERVICES:
                config = one(objects(values), "ConfigMap", f"t-tidegate-{service}")
                # A number, or least-most where a scaler sets it.
                count = config["data"].get("replicas", "1").strip()
                for ordinal in range(int(count.split("-")[-1])):
                    with self.subTest(values=os.path.basename(values), service=service,
                                      ordinal=ordinal), self.mounted(config) as (folder, _):
                        command = [os.path.join(binaries, f"tidegate-{service}"), "--config",
                                   folder + "/etc/tidegate.yaml", "--check-config"]
                        if service != "ingestion":
                            command += ["--replica", f"{ordinal}/{count}"]
                        result = run(*command, env={})
                        self.assertEqual((result.returncode, result.stdout),
                                         (0, "the settings are good\n"))

    def test_the_program_would_tell_a_wrong_setting(self):
        binaries = os.environ.get("TIDEGATE_BIN")
        if not binaries:
            self.skipTest("TIDEGATE_BIN is not set")
        misspelt = ("templates/_settings.tpl", "append_timeout_ms", "append_timeout")
        with copy_of_chart(misspelt) as chart:
            found = documents(template(MINIMAL, chart=chart).stdout)
        config = one(found, "ConfigMap", "t-tidegate-dispatch")
        with self.mounted(config) as (folder, _):
            result = run(os.path.join(binaries, "tidegate-dispatch"), "--config",
                         folder + "/etc/tidegate.yaml", "--check-config", env={})
        self.assertEqual(result.returncode, 2)
        self.assertIn("append_timeout", result.stdout)

    def test_the_ordinal_becomes_the_replica_and_signals_reach_the_program(self):
        found = objects(PRODUCTION)
        for service in SERVICES[1:]:
            config = one(found, "ConfigMap", f"t-tidegate-{service}")
            workload = one(found, "StatefulSet", f"t-tidegate-{service}")
            command = pod_of(workload)["spec"]["containers"][0]["command"]
            with self.subTest(service=service), self.mounted(config) as (folder, moved):
                stub = os.path.join(folder, f"tidegate-{service}")
                with open(stub, "w", encoding="utf-8") as file:
                    file.write('#!/bin/sh\necho "$$ $*"\n')
                os.chmod(stub, 0o700)
                with subprocess.Popen([moved(part) for part in command], text=True,
                                      stdout=subprocess.PIPE,
                                      env={"PATH": folder + ":/usr/bin:/bin",
                                           "POD_NAME": f"t-tidegate-{service}-2"}) as process:
                    output = process.communicate()[0]
                self.assertEqual(output, f"{process.pid} --config {folder}/etc/tidegate.yaml "
                                         "--replica 2/3\n")

    def test_the_secret_is_copied_for_the_owner_alone(self):
        pod = pod_of(one(objects(MINIMAL), "StatefulSet", "t-tidegate-dispatch"))["spec"]
        with tempfile.TemporaryDirectory() as folder:
            # As kubelet lays a secret out: links to files that their group may read.
            for part in ("secret/..data", "run/tidegate/corps"):
                os.makedirs(os.path.join(folder, part))
            for name in ("corps.json", "aes"):
                path = os.path.join(folder, "secret/..data", name)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(name)
                os.chmod(path, 0o440)
                os.symlink(f"..data/{name}", os.path.join(folder, "secret", name))
            command = [part.replace("/secret", folder + "/secret").replace("/run", folder + "/run")
                       for part in pod["initContainers"][0]["command"]]
            for _ in range(2):  # it may run again
                self.assertEqual(run(*command).returncode, 0)
            corps = os.path.join(folder, "run/tidegate/corps")
            self.assertEqual({name: os.stat(os.path.join(corps, name)).st_mode & 0o777
                              for name in os.listdir(corps)}, {"corps.json": 0o600, "aes": 0o600})

    def test_secrets_go_only_where_they_are_used(self):
        found = objects(PRODUCTION)
        for service, whole, tls in (("ingestion", True, {"grpc", "callback", "kafka"}),
                                    ("tagging", False, {"grpc", "peers", "kafka"}),
                                    ("segmentation", False, {"grpc", "peers", "kafka"}),
                                    ("dispatch", True, {"grpc", "peers", "kafka"})):
            kind = "Deployment" if service == "ingestion" else "StatefulSet"
            volumes = {volume["name"]: volume for volume in
                       pod_of(one(found, kind, f"t-tidegate-{service}"))["spec"]["volumes"]}
            self.assertEqual("items" not in volumes["corps-secret"]["secret"], whole, service)
            self.assertEqual({name[4:] for name in volumes if name.startswith("tls-")}, tls)

    def test_the_readiness_pod_waits_until_all_are_ready(self):
        answers = [503, 200]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
                self.end_headers()

            def log_message(self, *_):
                pass

        pod = one(objects(MINIMAL), "Pod", "t-tidegate-test")
        shell, flag, script, name, *targets = pod["spec"]["containers"][0]["command"]
        self.assertEqual(len(targets), 6)
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            script = script.replace("7602", str(server.server_address[1]))
            result = run(shell, flag, script, name, "127.0.0.1", "127.0.0.1")
            server.shutdown()
            self.assertEqual((result.returncode, result.stdout),
                             (0, "127.0.0.1 is ready\n" * 2))
        gone = run(shell, flag, script.replace("120", "1"), name, "127.0.0.1")
        self.assertEqual((gone.returncode, gone.stdout), (1, "127.0.0.1 is not ready after 1 s\n"))


class DocumentTest(unittest.TestCase):
    def leaves(self, value, path=""):
        if isinstance(value, dict) and value:
            for key, each in value.items():
                yield from self.leaves(each, f"{path}.{key}" if path else key)
        else:
            yield path, value

    def test_the_readme_lists_every_value_with_its_default(self):
        def shown(value):
            if value in ("", None, [], {}):
                return "none"
            return f"`{value if isinstance(value, str) else json.dumps(value)}`"

        with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as file:
            wanted = {path: shown(value) for path, value in self.leaves(yaml.safe_load(file))}
        with open(os.path.join(CHART, "README.md"), encoding="utf-8") as file:
            rows = re.findall(r"^\| `([\w.{},]+)` \| (.*?) \| (.+) \|$",
                              file.read().split("## Values")[1], re.M)
        found = {}
        for path, default, _ in rows:
            services, _, rest = path[1:].partition("}")
            names = [s + rest for s in services.split(",")] if path.startswith("{") else [path]
            defaults = default.split(" / ")
            found.update(zip(names, defaults if len(defaults) > 1 else defaults * len(names)))
        self.assertEqual(found, wanted)

    def test_the_schema_leaves_no_object_open(self):
        with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as file:
            schema = json.load(file)

        def walk(node, path):
            if isinstance(node, list):
                for index, each in enumerate(node):
                    walk(each, f"{path}[{index}]")
            elif isinstance(node, dict):
                if node.get("type") == "object":
                    # Labels and annotations have any name, and text as value.
                    self.assertIn(node.get("additionalProperties"), (False, {"type": "string"}),
                                  path)
                for key, each in node.items():
                    walk(each, f"{path}.{key}")

        walk(schema, "")
        with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as file:
            self.assertEqual(set(schema["required"]), set(yaml.safe_load(file)))

    def test_the_chart_bundles_nothing(self):
        with open(os.path.join(CHART, "Chart.yaml"), encoding="utf-8") as file:
            chart = yaml.safe_load(file)
        self.assertEqual(chart["apiVersion"], "v2")
        self.assertNotIn("dependencies", chart)
        images = {c["image"] for w in of_kind(objects(MINIMAL), *WORKLOADS)
                  for c in containers(pod_of(w))}
        self.assertEqual(images, {f"tidegate/{s}:{chart['appVersion']}" for s in SERVICES})


def main():
    if not HELMS:
        print("SKIPPED chart_test: helm is missing; run ./dev setup --proof")
        sys.exit(SKIPPED)
    if yaml is None:
        print("SKIPPED chart_test: python3-yaml is missing; run ./dev setup")
        sys.exit(SKIPPED)
    if field_faults("") is None:
        print("SKIPPED chart_test: fields are not held against schemas, since kubeconform or its "
              "schemas are missing; run ./dev setup --proof")
    unittest.main()


if __name__ == "__main__":
    main()
