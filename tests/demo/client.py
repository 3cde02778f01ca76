"""The command line client, called as a person would; answers come as JSON."""

import json
import subprocess
import sys

from processes import DemoError


class Client:
    def __init__(self, processes, binary, address, log, wait_seconds):
        self._processes = processes
        self._binary = binary
        self._always = ["--grpc", address, "--output", "json", "--client-log", log,
                        "--wait", str(wait_seconds)]

    def ask(self, *arguments):
        """Quietly."""
        return self._call([*arguments, *self._always, "--quiet"], subprocess.PIPE)

    def work(self, *arguments):
        """With the client's own progress on standard error."""
        return self._call([*arguments, *self._always], sys.stderr)

    def export(self, data_dir, folder):
        self._call(["journal", "export", "--data-dir", data_dir, "--out", folder],
                   subprocess.PIPE, parse=False)

    def _call(self, arguments, stderr, parse=True):
        code, out, err = self._processes.run([self._binary, *arguments], stderr)
        if code != 0:
            raise DemoError(f"`tidegate {' '.join(arguments[:3])} ...` ended with exit code {code}"
                            + (":\n" + err.strip() if err.strip() else ""))
        if not parse:
            return None
        try:
            return json.loads(out)
        except ValueError as error:
            raise DemoError(f"`tidegate {' '.join(arguments[:3])} ...` printed no JSON object: "
                            f"{out[:200]!r}") from error
