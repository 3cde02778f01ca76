"""The pure parts of cluster.py, its flags, and what it says without its tools. No cluster is started."""

import contextlib
import io
import json
import os
import tempfile
import unittest
from unittest import mock

import cluster
import tools


def pod(name, service, ready=True, uid=None, spec=None, leaves=False):
    metadata = {"name": name, "uid": uid or name,
                "labels": {"app.kubernetes.io/component": service}}
    if leaves:
        metadata["deletionTimestamp"] = "now"
    return {"metadata": metadata, "spec": spec or {},
            "status": {"conditions": [{"type": "Ready", "status": str(ready)}]}}


def event(kind, *arguments, **options):
    return {"type": kind, "object": pod(*arguments, **options)}


def service(name, component, *ports):
    return {"metadata": {"name": name, "labels": {"app.kubernetes.io/component": component}},
            "spec": {"ports": [{"name": port} for port in ports]}}


def slice_of(name, endpoints, *ports):
    return {"metadata": {"labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{}] * endpoints, "ports": [{"name": port} for port in ports]}


class NodesTest(unittest.TestCase):
    def test_workers_are_in_zones_of_their_own_and_egress_nodes_are_tainted(self):
        nodes = cluster.all_nodes()
        workers = [each for each in nodes if not each["spec"]]
        zones = {each["metadata"]["labels"]["topology.kubernetes.io/zone"] for each in workers}
        self.assertEqual((len(workers), len(zones)), (cluster.WORKERS, cluster.WORKERS))
        for each in nodes:
            self.assertEqual(each["metadata"]["annotations"], {"kwok.x-k8s.io/node": "fake"})
            self.assertEqual("taints" in each["spec"], "egress" in each["metadata"]["labels"])

    def test_the_namespace_enforces_the_restricted_class(self):
        labels = cluster.guarded_namespace()["metadata"]["labels"]
        self.assertEqual(labels["pod-security.kubernetes.io/enforce"], "restricted")


class PlantTest(unittest.TestCase):
    def test_only_the_first_is_misspelt(self):
        self.assertEqual(cluster.plant("a: 1\na: 2\n", "a:", "b:"), "b: 1\na: 2\n")

    def test_nothing_to_misspell_is_a_failure(self):
        with self.assertRaisesRegex(cluster.Failure, "c:"):
            cluster.plant("a: 1\n", "c:", "d:")

    def test_every_planted_fault_names_a_file_of_ci(self):
        for path, old, new, field in cluster.PLANTED:
            self.assertIn(path, cluster.CI)
            self.assertNotEqual(old, new)
            self.assertIn(field, new)


class PodsTest(unittest.TestCase):
    def test_a_pod_that_leaves_is_not_ready(self):
        self.assertTrue(cluster.is_ready(pod("a", "tagging")))
        self.assertFalse(cluster.is_ready(pod("a", "tagging", leaves=True)))
        self.assertFalse(cluster.is_ready(pod("a", "tagging", ready=False)))

    def test_the_pod_of_the_test_belongs_to_no_service(self):
        found = cluster.by_service([pod("b", "tagging"), pod("a", "tagging"), pod("t", "test")])
        self.assertEqual([each["metadata"]["name"] for each in found["tagging"]], ["a", "b"])
        self.assertEqual(set(found), set(cluster.SERVICES))

    def test_events_without_an_unfinished_end(self):
        self.assertEqual(cluster.events_in('{"a": 1}\n {"b":\n2}\n{"c": '), [{"a": 1}, {"b": 2}])
        self.assertEqual(cluster.events_in(""), [])

    def test_the_worst_moment_counts_from_when_all_were_ready(self):
        start = [event("ADDED", "a", "tagging"), event("ADDED", "b", "tagging")]
        self.assertEqual(cluster.least_ready(start, {"tagging": 2}), {"tagging": 2})
        one = [*start, event("MODIFIED", "b", "tagging", leaves=True),
               event("DELETED", "b", "tagging"), event("ADDED", "c", "tagging")]
        self.assertEqual(cluster.least_ready(one, {"tagging": 2}), {"tagging": 1})
        none = [*one, event("DELETED", "a", "tagging"), event("DELETED", "c", "tagging")]
        self.assertEqual(cluster.least_ready(none, {"tagging": 2}), {"tagging": 0})
        self.assertEqual(cluster.least_ready(start[:1], {"tagging": 2}), {})

    def test_unsettled_says_which_number_is_not_there_yet(self):
        whole = {"metadata": {"name": "w", "generation": 2}, "spec": {"replicas": 2},
                 "status": {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
                            "observedGeneration": 2}}
        self.assertEqual(cluster.unsettled([whole]), [])
        whole["status"].update(updatedReplicas=1, observedGeneration=1)
        self.assertEqual(cluster.unsettled([whole]),
                         ["w: updatedReplicas is 1 of 2",
                          "w: the controller has not seen the last change"])


SETTINGS = """\
log:
  kafka:
    append_timeout_ms: 120000
peers:
  segmentation:
    - "s-0:7600"
  dispatch:
    - "d-0:7600"
    - "d-1:7600"
  tls:
    ca_file: "/run/tidegate/tls/peers/ca.crt"
former_owner:
  policy: same_host
send: true
"""


class SettingsTest(unittest.TestCase):
    def test_values(self):
        self.assertEqual(cluster.value_in(SETTINGS, "append_timeout_ms"), "120000")
        self.assertEqual(cluster.value_in(SETTINGS, "policy"), "same_host")
        self.assertIsNone(cluster.value_in(SETTINGS, "timeout_ms"))

    def test_peers_of_one_service(self):
        self.assertEqual(cluster.peers_in(SETTINGS, "dispatch"), ["d-0:7600", "d-1:7600"])
        self.assertEqual(cluster.peers_in(SETTINGS, "segmentation"), ["s-0:7600"])
        self.assertEqual(cluster.peers_in(SETTINGS, "tagging"), [])
        self.assertEqual(cluster.peers_in("send: true\n", "tagging"), [])

    def test_files_that_the_secrets_lack(self):
        folders = {"/run/tidegate/tls/peers": "tls"}
        self.assertEqual(cluster.unread_files(SETTINGS, {"tls": {"ca.crt": ""}}, folders), [])
        self.assertRegex(cluster.unread_files(SETTINGS, {"tls": {}}, folders)[0], "no key ca.crt")
        self.assertRegex(cluster.unread_files(SETTINGS, {}, {})[0], "nothing is mounted")

    def test_the_shell_line_of_a_pod(self):
        script = ("set -e\nread -r count < /etc/tidegate/replicas\n"
                  'exec tidegate-tagging --replica "${POD_NAME##*-}/$count"\n')
        mine = pod("x-tagging-2", "tagging",
                   spec={"containers": [{"command": ["/bin/sh", "-c", script]}]})
        with tempfile.TemporaryDirectory() as folder:
            self.assertNotIn("--replica", cluster.started_as(mine, folder))
            tools.write(os.path.join(folder, "replicas"), "3\n")
            self.assertEqual(cluster.started_as(mine, folder), "--replica 2/3")


class ReferencesTest(unittest.TestCase):
    def test_secrets_keys_and_settings_that_are_not_there(self):
        spec = {"imagePullSecrets": [{"name": "pull"}], "volumes": [
            {"name": "config", "configMap": {"name": "settings"}},
            {"name": "corps", "secret": {"secretName": "corps", "items": [{"key": "all.json"}]}},
            {"name": "tmp", "emptyDir": {}}]}
        pods = [pod("a", "tagging", spec=spec)]
        there = {"corps": {"all.json": ""}, "pull": {}}
        self.assertEqual(cluster.dangling(pods, there, {"settings": {}}), [])
        self.assertEqual(cluster.dangling(pods, {"corps": {}}, {}), [
            "a: secret corps has no key all.json", "a: there is no ConfigMap settings",
            "a: there is no secret pull"])

    def test_the_corps_folder_is_filled_from_its_secret(self):
        spec = {"volumes": [{"name": "corps-secret", "secret": {"secretName": "c"}},
                            {"name": "corps", "emptyDir": {}},
                            {"name": "tls-grpc", "secret": {"secretName": "t"}}],
                "containers": [{"volumeMounts": [{"name": "corps", "mountPath": "/corps"},
                                                 {"name": "tls-grpc", "mountPath": "/tls"}]}]}
        self.assertEqual(cluster.secret_folders({"spec": spec}), {"/corps": "c", "/tls": "t"})

    def test_services_that_lead_nowhere(self):
        pods = [pod("a", "tagging"), pod("b", "tagging")]
        mine = service("s", "tagging", "grpc")
        self.assertEqual(cluster.unreached([mine], [slice_of("s", 2, "grpc")], pods), [])
        self.assertEqual(cluster.unreached([mine], [slice_of("s", 1, "grpc")], pods),
                         ["s leads to 1 of 2 pods"])
        self.assertEqual(cluster.unreached([mine], [slice_of("s", 2, "admin")], pods),
                         ["s: port grpc is none of the pods'"])

    def test_what_a_service_monitor_chooses(self):
        monitor = {"spec": {"selector": {"matchLabels": {"app.kubernetes.io/component": "tagging"}},
                            "endpoints": [{"port": "admin"}]}}
        services = [service("one", "tagging", "grpc"), service("two", "tagging", "grpc", "admin"),
                    service("three", "dispatch", "admin")]
        self.assertEqual(cluster.scraped(monitor, services), ["two"])


class StepsTest(unittest.TestCase):
    def setUp(self):
        self.steps = cluster.Steps()

    def run_step(self, error=None):
        with contextlib.redirect_stderr(io.StringIO()), self.steps.step("one") as notes:
            notes.append("first")
            if error:
                raise error

    def test_a_good_step(self):
        self.run_step()
        self.assertEqual([(row["name"], row["ok"], row["detail"]) for row in self.steps.rows],
                         [("one", True, "first")])
        self.assertEqual(self.steps.failures, [])

    def test_a_failure_is_noted_and_ends_the_part(self):
        for error in (cluster.Failure("why"), KeyError("why"), OSError("why")):
            with self.assertRaises(cluster.Broken):
                self.run_step(error)
            self.assertFalse(self.steps.rows[-1]["ok"])
            self.assertIn("why", self.steps.failures[-1])

    def test_an_interrupt_is_no_failure_of_the_chart(self):
        with self.assertRaises(SystemExit):
            self.run_step(SystemExit(143))
        self.assertFalse(self.steps.rows[-1]["ok"])
        self.assertEqual(self.steps.failures, [])


RESULT = {"kubernetes": "1.0", "helm": "4.0", "skipped": ["x"], "failures": [], "not_proved": ["y"],
          "steps": [{"name": "install", "seconds": 1.5, "ok": True, "detail": "two\nlines"}]}


class CommandTest(unittest.TestCase):
    def main(self, *arguments):
        said, signals = io.StringIO(), {}
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()), \
                mock.patch.object(cluster.signal, "signal", signals.__setitem__):
            code = cluster.main(list(arguments))
        return code, said.getvalue()

    def test_wrong_flags_end_with_2(self):
        with self.assertRaises(SystemExit) as end, contextlib.redirect_stderr(io.StringIO()):
            cluster.parse(["--nodes"])
        self.assertEqual(end.exception.code, 2)

    def test_a_missing_tool_is_one_line_and_77(self):
        with mock.patch.object(cluster, "custom_definitions", dict), \
                mock.patch.object(cluster, "own_network", bool), \
                mock.patch.object(tools, "path_of", lambda name: name != "kwok" and "/bin/true"):
            self.assertEqual(self.main(), (
                77, "SKIPPED cluster: kwok is missing; run ./dev setup --proof\n"))

    def test_json_and_table(self):
        with mock.patch.object(cluster, "prove", lambda folder: RESULT):
            code, said = self.main("--json")
            self.assertEqual((code, json.loads(said)), (0, RESULT))
            code, said = self.main()
        self.assertEqual(code, 0)
        for line in (r"install +1\.5 ok +two lines", "skipped: x", "not proved: y"):
            self.assertRegex(said, line)

    def test_a_failure_ends_with_1(self):
        with mock.patch.object(cluster, "prove", lambda folder: {**RESULT, "failures": ["no"]}):
            self.assertEqual(self.main("--json")[0], 1)

    def test_the_folder_is_gone_afterwards_unless_it_is_kept(self):
        seen = []
        with mock.patch.object(cluster, "prove", lambda folder: seen.append(folder) or RESULT):
            self.main()
            self.assertFalse(os.path.exists(seen[-1]))
            self.main("--keep")
            self.assertTrue(os.path.isdir(seen[-1]))
            os.rmdir(seen[-1])

    def test_what_is_not_proved_is_in_the_help(self):
        for line in cluster.NOT_PROVED:
            self.assertIn(line, cluster.__doc__)

    def test_helm_says_less_than_what_was_installed(self):
        self.assertEqual(cluster.helm_version("4.3", "4.3.1"), "4.3.1")
        self.assertEqual(cluster.helm_version("4.4", "4.3.1"), "4.4")


if __name__ == "__main__":
    unittest.main()
