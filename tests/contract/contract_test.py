"""Rules of the tree: who may include whom, what is built, what is commented, what the README says."""

import os
import re
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVICES = ("ingestion", "tagging", "segmentation", "dispatch", "wecom_simulator")
CORE_MAY = ("common/base/", "common/core/", "common/definitions/definitions_fold.h",
            "common/expression/", "common/wecom_table/", "common/log/log.h", "tidegate/log/v1/")
# Why: ingestion's core turns the two edge formats into events, so it has to know them.
CORE_EXCEPTIONS = {"ingestion": ("common/wecom/callback_xml.h", "tidegate/ingestion/v1/")}
IO_LIBRARIES = {"boost/beast": ("common/http/server.cc", "common/http/client.cc"),
                "boost/asio": ("common/http/server.cc", "common/http/client.cc"),
                "rocksdb/": ("common/log/embedded_log.cc",),
                "librdkafka/": ("common/log/kafka_",),
                "yaml-cpp/": ("common/config/settings_yaml.",),
                "pugixml": ("common/wecom/callback_xml.cc",),
                "CLI/": ("common/process/main.cc", "services/tidegate/client/",
                         "services/wecom_simulator/"),
                "spdlog/": ("common/base/log.cc",)}


def sources():
    for folder in ("common", "services", "tests"):
        for path, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith((".h", ".cc")):
                    yield os.path.relpath(os.path.join(path, name), ROOT)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def includes(path):
    return re.findall(r'^#include [<"]([^>"]+)[>"]', read(path), re.M)


class IncludeTest(unittest.TestCase):
    def test_cores_know_no_input_or_output(self):
        for path in sources():
            match = re.match(r"services/(\w+)/core/", path)
            if not match or match[1] == "wecom_simulator":
                continue
            allowed = CORE_MAY + CORE_EXCEPTIONS.get(match[1], ()) + (f"services/{match[1]}/core/",)
            for name in includes(path):
                if name.startswith(("common/", "services/", "tidegate/", "tests/")):
                    self.assertTrue(name.startswith(allowed), f"{path} includes {name}")
                self.assertFalse(name.startswith(("grpc", "rocksdb", "boost/beast", "boost/asio",
                                                  "prometheus")), f"{path} includes {name}")

    def test_no_service_includes_another(self):
        for path in sources():
            match = re.match(r"services/(\w+)/", path)
            if not match or match[1] == "tidegate":
                continue
            for name in includes(path):
                other = re.match(r"services/(\w+)/", name)
                if other:
                    self.assertEqual(other[1], match[1], f"{path} includes {name}")

    def test_common_includes_no_service_and_nothing_includes_tests(self):
        for path in sources():
            for name in includes(path):
                if path.startswith("common/"):
                    self.assertFalse(name.startswith("services/"), f"{path} includes {name}")
                if not path.startswith("tests/"):
                    self.assertFalse(name.startswith("tests/"), f"{path} includes {name}")

    def test_the_witness_shares_no_code_with_what_it_witnesses(self):
        for path in sources():
            if not path.startswith("services/wecom_simulator/"):
                continue
            for name in includes(path):
                self.assertFalse(name.startswith(("services/dispatch/", "common/wecom/",
                                                  "common/wecom_table/")), f"{path} includes {name}")

    def test_each_foreign_library_is_wrapped_in_one_place(self):
        for path in sources():
            if path.startswith("tests/"):
                continue
            for name in includes(path):
                for library, places in IO_LIBRARIES.items():
                    if name.startswith(library):
                        self.assertTrue(path.startswith(places), f"{path} includes {name}")


class TreeTest(unittest.TestCase):
    def test_every_test_file_is_built(self):
        for path in sources():
            if not path.endswith("_test.cc"):
                continue
            folder, named = os.path.dirname(path), False
            while folder and not named:
                lists = os.path.join(folder, "CMakeLists.txt")
                if os.path.exists(os.path.join(ROOT, lists)):
                    named = os.path.basename(path) in read(lists)
                folder = os.path.dirname(folder)
            self.assertTrue(named, f"{path} is in no CMakeLists.txt")

    def test_every_proto_element_has_a_comment(self):
        element = re.compile(r"^\s*(message|enum|service|rpc|oneof)\b|^\s*[\w.<>, ]+ \w+ = \d+\s*[;[]")
        for path, _, names in os.walk(os.path.join(ROOT, "proto", "tidegate")):
            for name in names:
                lines = read(os.path.join(path, name)).splitlines()
                for number, line in enumerate(lines):
                    if element.match(line) and not line.lstrip().startswith(("syntax", "//")):
                        self.assertTrue(lines[number - 1].lstrip().startswith("//"),
                                        f"{name}:{number + 1}: {line.strip()}")

    def test_the_map_of_the_readme_is_true(self):
        for name in re.findall(r"^\| `([^`]+)`", read("README.md"), re.M):
            for path in re.split(r"`, `|,\s*", re.sub(r"\{([^}]*)\}.*", "", name)):
                if path.strip("/ "):
                    self.assertTrue(os.path.exists(os.path.join(ROOT, path.strip())), path)
        for link in re.findall(r"\]\(([^)#]+)\)", read("README.md")):
            if not link.startswith("http"):
                self.assertTrue(os.path.exists(os.path.join(ROOT, link)), link)

    def test_every_service_has_a_page(self):
        for service in SERVICES:
            self.assertTrue(os.path.exists(os.path.join(ROOT, "services", service, "README.md")))

    def test_every_pitfall_has_its_test(self):
        page = read("docs/proofs.md").split("## Pitfalls")[1].split("\n## ")[0]
        rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \| ([^|]*)\|$", page, re.M)
        self.assertEqual(sorted({int(number) for number, _, _ in rows}), list(range(1, 40)))
        for number, test, path in rows:
            if test.startswith("not built: "):
                continue
            suite, name = test.strip("`").split(".")
            path = path.strip(" `")
            found = (rf"class {suite}\b.*?^    def {name}\(" if path.endswith(".py")
                     else rf"^TEST(_F|_P)?\({suite},\s+{name}\)")
            self.assertRegex(read(path), re.compile(found, re.M | re.S), f"pitfall {number}: {path}")

    def test_scripts_parse(self):
        for script in ("dev", ".ci/run"):
            subprocess.run(["bash", "-n", os.path.join(ROOT, script)], check=True)


if __name__ == "__main__":
    unittest.main()
