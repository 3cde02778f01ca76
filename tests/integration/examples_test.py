"""The examples of docs/examples: made from the protos alone, run against the real product."""

import glob
import os
import shutil
import subprocess
import unittest

from product import CORP, ROOT, ProductTest

EXAMPLES = os.path.join(ROOT, "docs", "examples")
PROTO = os.path.join(ROOT, "proto")
SERVICE = "tidegate/dispatch/v1/dispatch_service.proto"
PLUGINS = ("google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11",
           "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1")
SECONDS = 240


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS,
                          stdin=subprocess.DEVNULL, **options)


class ExamplesTest(ProductTest):
    def setUp(self):
        self.out = os.path.join(self.folder, self.id().rsplit(".", 1)[1])
        os.makedirs(self.out)

    def check(self, *command, **options):
        """Sends to three customers; all must be told as sent."""
        done = run(*command, self.server.ports["grpc"], CORP, "m0", "wm0", "wm4", "wm8", **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("3 acknowledged", done.stdout)
        for customer in ("wm0", "wm4", "wm8"):
            self.assertIn(f"{customer} TOUCH_STATE_SENT", done.stdout)

    def test_python(self):
        plugin = shutil.which("grpc_python_plugin")
        if plugin is None:
            self.skipTest("grpc_python_plugin is missing")
        done = run("protoc", "-I", PROTO, f"--python_out={self.out}", f"--grpc_out={self.out}",
                   f"--plugin=protoc-gen-grpc={plugin}", os.path.join(PROTO, SERVICE))
        self.assertEqual(done.returncode, 0, done.stderr)
        # Debian's own, which has the library.
        python = "/usr/bin/python3"
        if run(python, "-c", "import grpc, google.protobuf").returncode:
            self.skipTest("python3-grpcio or python3-protobuf is missing")
        self.check(python, os.path.join(EXAMPLES, "python", "send_messages.py"),
                   env={**os.environ, "PYTHONPATH": self.out})

    def test_go(self):
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            self.skipTest("go is missing")
        environment = {**os.environ, "GOBIN": os.path.join(self.out, "bin"), "GOFLAGS": "-mod=mod",
                       "GOTOOLCHAIN": "local"}
        for plugin in PLUGINS:
            done = run(go, "install", plugin, env=environment)
            if done.returncode:
                self.skipTest(f"{plugin} cannot be had: {done.stderr.splitlines()[-1:]}")
        environment["PATH"] = environment["GOBIN"] + os.pathsep + environment["PATH"]
        for path in glob.glob(os.path.join(EXAMPLES, "go", "*")):
            shutil.copy(path, self.out)
        names = [f"M{SERVICE}=example/{os.path.dirname(SERVICE)}", "module=example"]
        done = run("protoc", "-I", PROTO, f"--go_out={self.out}", f"--go-grpc_out={self.out}",
                   *(f"--{kind}_opt={name}" for kind in ("go", "go-grpc") for name in names),
                   os.path.join(PROTO, SERVICE), env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = run(go, "build", "-o", "example", ".", cwd=self.out, env=environment)
        if done.returncode and "dial" in done.stderr:
            self.skipTest("the modules cannot be had")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(os.path.join(self.out, "example"), env=environment)


if __name__ == "__main__":
    unittest.main()
