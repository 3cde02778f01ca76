"""docker-compose.yml and the settings beside it, as docker compose understands them; nothing is
started. Without docker compose one SKIPPED line, and only what needs none of it."""

import contextlib
import io
import json
import os
import re
import subprocess
import tempfile
import unittest
from unittest import mock

import compose
import image
import jars
import tools

DEPLOY = os.path.join(tools.REPOSITORY, "deploy")
MANY = ("ingestion", "tagging-0", "tagging-1", "segmentation-0", "segmentation-1", "dispatch-0",
        "dispatch-1")
BINARIES = os.environ.get("TIDEGATE_BIN", os.path.join(tools.REPOSITORY, "build", "dev", "bin"))


def read(*parts):
    with open(os.path.join(DEPLOY, *parts), encoding="utf-8") as file:
        return file.read()


class FileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not tools.path_of("docker-compose"):
            print("SKIPPED compose_test: docker compose is missing; "
                  "python3 tests/deploy/tools.py compose", flush=True)
            raise unittest.SkipTest("docker compose is missing")
        cls.services = compose.read_file("one")["services"]

    def test_both_shapes_are_understood(self):
        seen = compose.check_config()
        self.assertEqual(set(seen["one"]) - set(seen["none"]), {"one", "one-simulator", "one-demo"})

    def test_a_misspelt_key_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            more = os.path.join(folder, "more.yml")
            tools.write(more, "services:\n  ingestion:\n    read_onyl: true\n")
            with self.assertRaisesRegex(image.ImageError, "read_onyl"):
                compose.read_file(files=(compose.FILE, more))

    def test_every_container_is_confined(self):
        for name, service in self.services.items():
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges"], name)
            self.assertGreater(int(service["mem_limit"]), 0, name)
            self.assertNotIn("privileged", service)
            if name != "kafka":
                self.assertTrue(service.get("read_only"), name)

    def test_ours_run_as_nobody(self):
        for name, service in self.services.items():
            if "build" in service:
                self.assertEqual(service["user"], f"{image.UID}:{image.UID}", name)

    def test_ports_are_published_on_loopback_alone_and_once(self):
        published = [(port["host_ip"], port["published"]) for service in self.services.values()
                     for port in service.get("ports", [])]
        self.assertEqual({address for address, _ in published}, {"127.0.0.1"})
        self.assertEqual(len(set(published)), len(published))

    def test_ports_are_the_same_inside_and_outside(self):
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertEqual(port["published"], str(port["target"]), name)

    def test_images_are_pinned(self):
        for name, service in self.services.items():
            self.assertNotIn(service["image"].rpartition(":")[2], ("", "latest"), name)

    def test_kafka_is_the_one_of_the_tests(self):
        self.assertEqual(self.services["kafka"]["image"], f"apache/kafka:{jars.version()}")

    def test_what_goes_on_has_a_health_check(self):
        for name, service in self.services.items():
            if name not in ("secrets", "demo", "one-demo"):
                self.assertIn("test", service["healthcheck"], name)

    def test_every_image_that_is_built_is_one_of_the_dockerfile(self):
        for service in self.services.values():
            if "build" in service:
                self.assertIn(service["build"]["args"]["SERVICE"], image.SERVICES)
                self.assertEqual(service["image"],
                                 image.name_of(service["build"]["args"]["SERVICE"]))

    def test_replicas_are_whole(self):
        for name in MANY[1:]:
            self.assertEqual(self.services[name]["environment"]["TIDEGATE_REPLICA"],
                             f"{name[-1]}/2")

    def test_the_host_name_tells_the_replica_of_dispatch(self):
        self.assertIn("policy: same_host", read("compose", "tidegate.yaml"))
        for name in ("dispatch-0", "dispatch-1"):
            self.assertEqual(self.services[name]["hostname"], name)

    def test_peers_are_where_they_listen(self):
        listed = re.findall(r"^  (\w+): \[(.*)\]$", read("compose", "tidegate.yaml"), re.MULTILINE)
        peers = {service: addresses.split(", ") for service, addresses in listed}
        for name in MANY:
            service, _, ordinal = name.partition("-")
            self.assertEqual(peers[service][int(ordinal or 0)],
                             f"{name}:{self._port(name, 'GRPC')}")

    def test_prometheus_asks_every_process(self):
        targets = re.findall(r"[\w.-]+:\d+", " ".join(
            re.findall(r"targets: \[(.*)\]", read("prometheus.yml"))))
        self.assertEqual(sorted(targets), sorted(
            ["127.0.0.1:9090", *(f"{name}:{self._port(name, 'ADMIN')}" for name in MANY)]))

    def test_the_demos_client_knows_one_replica_of_each(self):
        for entry in self.services["demo"]["environment"]["TIDEGATE_GRPC"].split(","):
            service, _, address = entry.partition("=")
            name = address.partition(":")[0]
            self.assertEqual((name.partition("-")[0], address),
                             (service, f"{name}:{self._port(name, 'GRPC')}"))

    def test_mounted_files_exist(self):
        for service in self.services.values():
            for volume in service.get("volumes", []):
                if volume["type"] == "bind":
                    self.assertTrue(os.path.exists(volume["source"]), volume["source"])
                    self.assertTrue(volume["read_only"], volume["source"])

    def _port(self, name, listener):
        return self.services[name]["environment"][f"TIDEGATE_LISTEN__{listener}"].rpartition(":")[2]


class SettingsTest(unittest.TestCase):
    def check(self, program, *arguments):
        path = os.path.join(BINARIES, program)
        if not os.access(path, os.X_OK):
            self.skipTest(f"{path} is missing")
        # Settings of this machine's own must not count.
        clean = {key: value for key, value in os.environ.items() if "TIDEGATE_" not in key}
        done = subprocess.run([path, *arguments, "--check-config"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, env=clean)
        self.assertEqual((done.returncode, done.stdout), (0, "the settings are good\n"))

    def test_the_services_take_theirs(self):
        for service in ("ingestion", "tagging", "segmentation", "dispatch"):
            self.check(f"tidegate-{service}", "--config",
                       os.path.join(DEPLOY, "compose", "tidegate.yaml"),
                       "--replica", "0/1" if service == "ingestion" else "1/2",
                       "--set", "listen.grpc=0.0.0.0:7600")

    def test_the_one_process_takes_its_own(self):
        self.check("tidegate", "serve", "--config", os.path.join(DEPLOY, "compose", "one.yaml"))

    def test_limits_and_the_example_of_corps_are_json(self):
        self.assertIn("limits", json.loads(read("compose", "limits.json")))
        app = json.loads(read("corps.example.json"))["corps"][0]["apps"][0]
        self.assertEqual(set(app), {"agent_id", "secret_file", "token", "aes_key_file"})


class ScriptTest(unittest.TestCase):
    def test_they_are_good_bash_and_may_be_run(self):
        for name in ("demo.sh", "make-secrets.sh"):
            path = os.path.join(DEPLOY, "compose", name)
            self.assertTrue(os.access(path, os.X_OK), path)
            subprocess.run(["bash", "-n", path], check=True)

    def test_secrets_are_private_made_once_and_each_time_others(self):
        made = [self._secrets(), self._secrets()]
        self.assertNotEqual(made[0]["secret-1000002"], made[1]["secret-1000002"])
        self.assertEqual({name: len(text.strip()) for name, text in made[0].items()
                          if name != "corps.json"},
                         {"secret-1000002": 43, "aes-1000002": 43, "token-1000002": 24})
        corps = json.loads(made[0]["corps.json"])["corps"][0]
        self.assertEqual(corps["apps"][0]["token"], made[0]["token-1000002"].strip())

    def _secrets(self):
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):  # the second time changes nothing
                subprocess.run([os.path.join(DEPLOY, "compose", "make-secrets.sh"), folder],
                               check=True, stdout=subprocess.DEVNULL)
                texts = {}
                for name in os.listdir(folder):
                    path = os.path.join(folder, name)
                    self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
                    with open(path, encoding="ascii") as file:
                        texts[name] = file.read()
                self.assertEqual(texts, getattr(self, "_first", texts))
                self._first = texts
            del self._first
            return texts


class SkippedTest(unittest.TestCase):
    def test_missing_tools_are_one_line_and_exit_code_77(self):
        for verb, missing in (("config", "docker compose"), ("up", "buildah")):
            said = io.StringIO()
            with mock.patch.object(tools, "path_of", return_value=None), \
                    contextlib.redirect_stdout(said):
                code = compose.main([verb])
            self.assertEqual(code, 77)
            self.assertRegex(said.getvalue(), f"^SKIPPED compose: {missing} is missing; .*\\n$")


class ProofTest(unittest.TestCase):
    SERVICES = {"a": {"depends_on": {"b": {}}}, "b": {}, "c": {"network_mode": "none"}}

    def test_only_what_is_needed_is_built(self):
        self.assertEqual(set(compose.closure(self.SERVICES, ["a"])), {"a", "b"})

    def test_every_container_but_those_without_network_shares_one_loopback(self):
        text = compose.override(self.SERVICES, "hosts")
        self.assertEqual(text.count('network_mode: "service:net"'), 2)
        self.assertNotIn("  c:", text)
        self.assertEqual(compose.hosts_text({"b": {}, "a": {}}),
                         "127.0.0.1 localhost\n127.0.0.1 a\n127.0.0.1 b\n")

    def test_the_report_is_found_among_other_lines(self):
        text = 'rows 3\n{"x": 1}\n{"touches_planned":200,"calls":20}\nAPI\n'
        self.assertEqual(compose.report_in(text), {"touches_planned": 200, "calls": 20})
        self.assertIsNone(compose.report_in("nothing\n"))

    def test_a_container_with_a_capability_is_a_fault(self):
        good = {"uid": 65534, "read_only": True, "cap_eff": "0" * 16, "no_new_privileges": True}
        self.assertEqual(compose.faults({"one": good}), [])
        self.assertEqual(compose.faults({"kafka": {**good, "uid": 1000, "read_only": False}}), [])
        self.assertEqual(compose.faults({"one": {**good, "cap_eff": "1"}}),
                         ["one: cap_eff is 1, not 0000000000000000"])


if __name__ == "__main__":
    unittest.main()
