"""Starting, watching and ending the demo's processes, always by process id."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

POLL_SECONDS = 0.002


class DemoError(Exception):
    """Something the demo needs did not happen; the text says what and where to look."""


class Processes:
    """All children of the demo. Thread-safe."""

    def __init__(self, folder):
        self._folder = folder
        self._lock = threading.Lock()
        self._running = {}  # pid -> Popen
        self._closed = False

    def start(self, name, arguments, log_path=None, environment=None):
        """Runs in the background; its output goes to <name>.log, appended, or to a file of its own
        whose path `log_path` makes of the pid. `environment`: variables beside the usual ones."""
        path = os.path.join(self._folder, name + ".log")
        with open(path, "ab") as log:
            process = self._register(lambda: subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, **(environment or {})}))
        if log_path:
            os.rename(path, log_path(process.pid))
        return process

    def run(self, arguments, stderr=subprocess.PIPE):
        """Runs to the end: (exit code, standard output, standard error)."""
        process = self._register(lambda: subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
            start_new_session=True))
        out, err = process.communicate()
        self.forget(process)
        return process.returncode, out, err or ""

    def forget(self, process):
        with self._lock:
            self._running.pop(process.pid, None)

    def kill_all(self):
        """SIGKILL to whatever still runs; nothing can be started afterwards."""
        with self._lock:
            self._closed = True
            left = list(self._running.values())
            self._running.clear()
        for process in left:
            if process.poll() is None:
                process.kill()
        for process in left:
            process.wait()

    def _register(self, launch):
        with self._lock:
            if self._closed:
                raise DemoError("the demo is ending")
            process = launch()
            self._running[process.pid] = process
            return process


class Service:
    """One long-running program that writes a ports file when it is ready."""

    def __init__(self, processes, folder, name, arguments):
        self._processes = processes
        self._log = os.path.join(folder, name + ".log")
        self._name = name
        self._arguments = arguments  # without addresses and ports file
        self.ports_file = os.path.join(folder, name + "-ports.json")
        self._process = None
        self.environment = {}  # of its next process, beside the usual variables
        self.ports = {}
        self.started_raw_ns = 0

    @property
    def process(self):
        return self._process

    @property
    def arguments(self):
        return self._arguments

    @property
    def log_path(self):
        return self._log

    @property
    def pid(self):
        return self._process.pid

    def start(self, addresses, seconds=20):
        """Until its ports file is there; how long that took, in milliseconds."""
        begin = time.monotonic()
        self.spawn([*addresses, "--ports-file", self.ports_file])
        self.await_ports(seconds)
        return (time.monotonic() - begin) * 1000

    def spawn(self, arguments, log_path=None):
        """Starts it without waiting."""
        if os.path.exists(self.ports_file):
            os.unlink(self.ports_file)
        self.started_raw_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        self._process = self._processes.start(self._name, [*self._arguments, *arguments], log_path,
                                              self.environment)
        if log_path:
            self._log = log_path(self._process.pid)

    def await_ports(self, seconds):
        begin = time.monotonic()
        while not os.path.exists(self.ports_file):
            self._expect_running()
            if time.monotonic() - begin > seconds:
                raise DemoError(f"{self._name} was not ready within {seconds} s; see {self._log}")
            time.sleep(POLL_SECONDS)
        with open(self.ports_file, encoding="utf-8") as file:
            self.ports = json.load(file)

    def wait_ready(self, seconds=10):
        """Until /readyz of the admin port answers 200."""
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            try:
                with urllib.request.urlopen(f"http://{self.ports['admin']}/readyz", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                self._expect_running()
                time.sleep(POLL_SECONDS * 5)
        raise DemoError(f"{self._name} was not ready ({seconds} s); see {self._log}")

    def _expect_running(self):
        if self._process.poll() is not None:
            raise DemoError(f"{self._name} ended with exit code {self._process.returncode}:\n"
                            + self.last_lines())

    def kill(self):
        """SIGKILL; DemoError if it had ended by itself, which nobody would notice otherwise."""
        self._process.kill()
        code = self._process.wait()
        self._processes.forget(self._process)
        if code != -signal.SIGKILL:
            raise DemoError(f"{self._name}, pid {self.pid}, ended by itself with exit code {code}; "
                            f"see {self._log}")

    def terminate(self, seconds=20):
        """SIGTERM; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"{self._name} did not end within {seconds} s of SIGTERM; "
                            f"see {self._log}") from error
        self._processes.forget(self._process)
        return code

    def last_lines(self, count=15):
        with open(self._log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-count:])
