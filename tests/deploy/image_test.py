"""The Dockerfile and what is around it, without building anything."""

import contextlib
import io
import os
import re
import subprocess
import tempfile
import unittest
from unittest import mock

import image
import tools


def read(path):
    with open(os.path.join(image.REPOSITORY, path), encoding="utf-8") as file:
        return file.read()


def instructions(dockerfile):
    """[(name, rest)] with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", "", text)
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def last_stage(dockerfile):
    rows = instructions(dockerfile)
    begin = max(number for number, (name, _) in enumerate(rows) if name == "FROM")
    return rows[begin:]


class DockerfileTest(unittest.TestCase):
    def setUp(self):
        self.text = read("Dockerfile")
        self.last = last_stage(self.text)

    def test_it_runs_as_nobody(self):
        self.assertIn(("USER", f"{image.UID}:{image.UID}"), self.last)

    def test_the_service_is_process_1(self):
        entry = [rest for name, rest in self.last if name == "ENTRYPOINT"]
        self.assertEqual(entry, ['["/usr/local/bin/service"]'])

    def test_nothing_that_old_builders_do_not_know(self):
        self.assertNotIn("<<", self.text)
        self.assertNotIn("--link", self.text)

    def test_the_image_describes_itself(self):
        labels = " ".join(rest for name, rest in self.last if name == "LABEL")
        for label in ("title", "description", "licenses", "version", "revision"):
            self.assertIn(f"org.opencontainers.image.{label}=", labels)

    def test_the_default_ports_are_told(self):
        self.assertIn(("EXPOSE", "7600 7601 7602"), self.last)

    def test_the_build_is_that_of_the_tests(self):
        self.assertIn("cmake --preset dev", self.text)
        self.assertIn("./dev setup", self.text)

    def test_a_first_stage_that_compiles_nothing_leaves_the_rest_as_it_is(self):
        text = image.without_compiling(self.text)
        self.assertNotIn("cmake", text)
        self.assertIn("FROM ${BASE} AS build\nCOPY out /out\n", text)
        rest = self.text[self.text.index("FROM ${BASE} AS runtime"):]
        self.assertTrue(text.endswith(rest))

    def test_another_shape_of_the_dockerfile_is_told(self):
        with self.assertRaisesRegex(image.ImageError, "no stage `build`"):
            image.without_compiling("FROM x\nRUN y\n")

    def test_hadolint_has_nothing_to_say(self):
        if not tools.path_of("hadolint"):
            print("SKIPPED image_test: hadolint is missing; python3 tests/deploy/tools.py hadolint",
                  flush=True)
            self.skipTest("hadolint is missing")
        done = subprocess.run(
            [tools.path_of("hadolint"), os.path.join(image.REPOSITORY, "Dockerfile")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))


class ContextTest(unittest.TestCase):
    def test_what_the_build_reads_is_sent_to_it(self):
        allowed = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
        text = read("CMakeLists.txt").split("if(TIDEGATE_TESTS)\n  add_subdirectory", 1)[0]
        for folder in re.findall(r"add_subdirectory\((\w+)\)", text):
            self.assertIn(folder, allowed)
        for path in allowed:
            self.assertTrue(os.path.exists(os.path.join(image.REPOSITORY, path)), path)

    def test_tests_documents_and_results_are_not(self):
        lines = read(".dockerignore").splitlines()
        self.assertIn("*", lines)
        for name in ("tests", "docs", "helm", "build", ".git", ".cache"):
            self.assertNotIn(f"!{name}", lines)


class CollectTest(unittest.TestCase):
    def test_every_service_has_an_image(self):
        said = re.search(r"^SERVICES=\((.*)\)$", read("deploy/image/collect"), re.MULTILINE)[1]
        self.assertEqual(set(said.split()), set(image.SERVICES))

    def test_the_scripts_are_good_bash(self):
        for name in ("collect", "ready"):
            path = os.path.join(image.REPOSITORY, "deploy", "image", name)
            self.assertTrue(os.access(path, os.X_OK), path)
            subprocess.run(["bash", "-n", path], check=True)


class FaultsTest(unittest.TestCase):
    GOOD = {"uid": 65534, "read_only": True, "cap_eff": "0" * 16, "no_new_privileges": True,
            "exit_code": 0, "size_mb": 300.0}

    def test_good_is_good(self):
        self.assertEqual(image.faults(self.GOOD), [])

    def test_each_fault_is_named(self):
        for key, value in (("uid", 0), ("read_only", False), ("cap_eff", "00000000a80425fb"),
                           ("no_new_privileges", False), ("exit_code", 143), ("exit_code", None)):
            found = image.faults({**self.GOOD, key: value})
            self.assertEqual(len(found), 1)
            self.assertIn(f"{key} is {value}, not ", found[0])


class SkippedTest(unittest.TestCase):
    def test_a_missing_tool_is_one_line_and_exit_code_77(self):
        said = io.StringIO()
        with mock.patch.object(tools, "path_of", return_value=None), \
                contextlib.redirect_stdout(said):
            code = image.main(["all"])
        self.assertEqual((code, said.getvalue()), (
            77, "SKIPPED image: buildah is missing; python3 tests/deploy/tools.py image light\n"))

    def test_wrong_flags_are_exit_code_2(self):
        for arguments in (["no-such-service"], ["--prebuilt", "no-such-folder"]):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as ended:
                image.main(arguments)
            self.assertEqual(ended.exception.code, 2)


class SlimTest(unittest.TestCase):
    def test_documents_go_and_licences_stay(self):
        with tempfile.TemporaryDirectory() as root:
            for path in ("usr/share/doc/a/copyright", "usr/share/doc/a/changelog.gz",
                         "usr/share/man/man1/a.1", "var/lib/apt/lists/x", "usr/bin/a"):
                tools.write(os.path.join(root, path), "x")
            os.symlink("a", os.path.join(root, "usr/share/doc/b"))
            image.make_slim(root)
            left = {path for path in ("usr/share/doc/a/copyright", "usr/share/doc/a/changelog.gz",
                                      "usr/share/man/man1", "var/lib/apt/lists/x", "usr/bin/a")
                    if os.path.exists(os.path.join(root, path))}
            self.assertEqual(left, {"usr/share/doc/a/copyright", "usr/bin/a"})


class VersionTest(unittest.TestCase):
    def test_it_is_the_projects(self):
        self.assertRegex(image.version(), r"^\d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main()
