"""docs/deploy.md and docs/operate.md: every command of their blocks is run as it stands, those of sh
blocks beside a process that serves, and every address of their tables is asked."""

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request

import tools

PAGES = ("deploy.md", "operate.md")
BINARIES = os.environ.get("TIDEGATE_BIN", os.path.join(tools.REPOSITORY, "build", "dev", "bin"))
PATIENCE_SECONDS = 30
CORP = "wwdemo0123456789ab"  # of make-secrets.sh
POLL_SECONDS = 0.05


def page(name):
    with open(os.path.join(tools.REPOSITORY, "docs", name), encoding="utf-8") as file:
        return file.read()


def blocks_of(text, language):
    """The fenced blocks of that language, or of none."""
    return [block for name, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
            if name == language]


def commands_of(text, language=""):
    """Their lines, without comments."""
    lines = [line for block in blocks_of(text, language) for line in block.splitlines()]
    return [command for command in (re.sub(r"\s+#.*", "", line) for line in lines) if command]


class DocumentsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        subprocess.run([os.path.join(tools.REPOSITORY, "deploy", "compose", "make-secrets.sh"),
                        self.folder], check=True, stdout=subprocess.DEVNULL)
        self.ports_file = os.path.join(self.folder, "ports")
        tools.write(os.path.join(self.folder, "tidegate.yaml"),
                    "corps_file: corps.json\n"
                    "log: {data_dir: data}\n"
                    "wecom: {url: 'http://127.0.0.1:9'}\n"
                    "listen: {grpc: '127.0.0.1:0', callback: '127.0.0.1:0', "
                    f"admin: '127.0.0.1:0', ports_file: {self.ports_file}}}\n")
        # Settings of this machine's own must not count.
        self.environment = {key: value for key, value in os.environ.items()
                            if "TIDEGATE_" not in key}
        self.environment["PATH"] = BINARIES + os.pathsep + self.environment["PATH"]

    def start(self, command):
        process = subprocess.Popen(shlex.split(command), cwd=self.folder, env=self.environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def serves(self, process, port="admin"):
        """Until it listens; the address of one of its ports."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if os.path.exists(self.ports_file):
                with open(self.ports_file, encoding="ascii") as file:
                    return json.load(file)[port]
            time.sleep(POLL_SECONDS)
        process.kill()
        self.fail(f"it does not serve:\n{process.stdout.read()}")

    def ready(self, admin):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://{admin}/readyz", timeout=5):
                    return
            except OSError:
                self.assertLess(time.monotonic(), deadline, "not ready")
                time.sleep(POLL_SECONDS)

    def test_every_command_does_what_the_page_says(self):
        for name in PAGES:
            commands = commands_of(page(name))
            self.assertTrue(commands, name)
            for command in commands:
                with self.subTest(page=name, command=command):
                    process = self.start(command)
                    if re.match(r"tidegate serve (?!.*--check-config)", command):
                        self.ready(self.serves(process))
                        process.send_signal(signal.SIGTERM)
                    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
                    self.assertEqual(process.returncode, 0, said)

    def test_every_command_beside_a_server_does_what_the_page_says(self):
        [own] = blocks_of(page("operate.md"), "json")
        tools.write(os.path.join(self.folder, "own.json"), own)
        server = self.start("tidegate serve --config tidegate.yaml")
        self.environment["TIDEGATE_GRPC"] = self.serves(server, "grpc")
        self.ready(self.serves(server))
        commands = commands_of(page("operate.md"), "sh")
        self.assertTrue(commands)
        for command in commands:
            with self.subTest(command=command):
                process = self.start(command.replace("CORP", CORP))
                said, _ = process.communicate(timeout=PATIENCE_SECONDS)
                self.assertEqual(process.returncode, 0, said)

    def test_every_address_answers(self):
        paths = re.findall(r"`http://ADMIN(/\S+)`", page("operate.md"))
        self.assertEqual(len(paths), 3)
        admin = self.serves(self.start("tidegate serve --config tidegate.yaml"))
        self.ready(admin)
        for path in paths:
            with urllib.request.urlopen(f"http://{admin}{path}", timeout=5) as answer:
                self.assertEqual(answer.status, 200, path)
                self.assertTrue(answer.read(), path)

    def test_wrong_settings_end_with_2(self):
        self.assertIn("2 wrong flags or settings", page("operate.md"))
        tools.write(os.path.join(self.folder, "tidegate.yaml"), "partition: 4\n")
        process = self.start("tidegate serve --config tidegate.yaml --check-config")
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(process.returncode, 2, said)
        self.assertIn('did you mean "partitions"?', said)


def main():
    if not os.access(os.path.join(BINARIES, "tidegate"), os.X_OK):
        print("SKIPPED documents_test: tidegate is not built; run ./dev build", flush=True)
        raise SystemExit(77)
    unittest.main()


if __name__ == "__main__":
    main()
