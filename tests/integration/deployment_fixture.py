"""Four services, two replicas each, on a Kafka of their own: mutual TLS, two corps on two lanes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "demo"))

import lanes  # noqa: E402
import settings  # noqa: E402
from deployment import SERVICES, ManyProcesses  # noqa: E402
from grpc_caller import Api, Caller  # noqa: E402
from processes import Processes, Service  # noqa: E402
from simulator import Simulator  # noqa: E402

BUILD = os.path.dirname(os.environ["TIDEGATE_BIN"])
REPLICAS = 2
AGENT = "1000002"
MEMBERS = 12
POLL_SECONDS = 0.005
LIMITS = {
    "limits": [{"api": "add_msg_template", "scope": "corp", "amount": 5, "window_ms": 1000,
                "lockout_ms": 1000}],
    "in_flight": [{"api": "add_msg_template", "amount": 3}],
    "http_deadline_ms": 2000,
    "settle": {"user_timeout_ms": 200, "hold_ms": 400, "list_lag_ms": 200, "skew_ms": 50,
               "factor": 1.5, "list_gap_ms": 100},
    "results": {"first_poll_ms": 200, "poll_ms": 300, "close_after_ms": 3000},
}
PROCESS_ID = "spiffe://tidegate/process"
SHOP_ID = "spiffe://tidegate/shop"  # may act for corp A only
# A processes' certificate is also a client's; 127.0.0.1 is where all of them listen.
PROCESS_NAMES = f"IP:127.0.0.1,URI:{PROCESS_ID}"


def corp_on_lane(lane):
    names = (f"wwtest{number:04}" for number in range(1000))
    return next(name for name in names if lanes.lane_of(name, REPLICAS) == lane)


CORP_A, CORP_B = (corp_on_lane(lane) for lane in range(REPLICAS))


def wait_for(condition, what, seconds=20):
    """What the condition returned when it was true at last."""
    deadline = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(POLL_SECONDS)


def http_get(url, seconds=5):
    """(status, text)."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Authority:
    """A certificate authority in a folder, by the openssl program."""

    def __init__(self, folder, name):
        self._folder, self._name = folder, name
        self.ca = os.path.join(folder, name + ".pem")
        self._make(name, "basicConstraints=critical,CA:TRUE")

    def issue(self, name, alternative_names):
        """(certificate, key) files; `alternative_names` as openssl writes them."""
        return self._make(name, "subjectAltName=" + alternative_names,
                          "-CA", self.ca, "-CAkey", self._path(self._name, "key"))

    def _make(self, name, extension, *more):
        cert, key = self._path(name, "pem"), self._path(name, "key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                        "-addext", extension, "-keyout", key, "-out", cert, *more],
                       check=True, capture_output=True)
        return cert, key

    def _path(self, name, kind):
        return os.path.join(self._folder, f"{name}.{kind}")


class Deployment:
    """All of it. What runs ends with close()."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="tidegate-processes-")
        self.processes = Processes(self.folder)
        self.many = None
        self.api = Api()
        self.authority = Authority(self.folder, "ca")
        cert, key = self.authority.issue("process", PROCESS_NAMES)
        self._tls = {"cert_file": cert, "key_file": key, "ca_file": self.authority.ca}
        self.files = self._write_files()

    def start(self):
        simulator = self._start_simulator()
        cert, key = self.authority.issue("callback", "IP:127.0.0.1")
        self.callback_tls = {"cert_file": cert, "key_file": key}
        tls = {"listen": {"tls": self._tls, "callback_tls": self.callback_tls},
               "peers": {"tls": self._tls},
               "callers": [{"identity": PROCESS_ID, "corps": ["*"]},
                           {"identity": SHOP_ID, "corps": [CORP_A]}]}
        self.many = ManyProcesses(self.processes, self.folder, BUILD, self.files, simulator, 1,
                                  REPLICAS, tls)
        self.many.start()
        # Itself a process of the deployment, for whom all corps are there.
        self.operator = Caller(self.api, self.authority.ca, self._tls["cert_file"],
                               self._tls["key_file"])
        self.shop = self.caller("shop", "URI:" + SHOP_ID)

    def close(self, keep):
        self.processes.kill_all()
        if self.many:
            self.many.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def caller(self, name, alternative_names, authority=None):
        cert, key = (authority or self.authority).issue(name, alternative_names)
        return Caller(self.api, self.authority.ca, cert, key)

    @property
    def cluster(self):
        return self.many.cluster

    @property
    def tls_flags(self):
        return ["--tls-ca", self.authority.ca, "--tls-cert", self._tls["cert_file"],
                "--tls-key", self._tls["key_file"]]

    @property
    def config(self):
        return os.path.join(self.folder, "tidegate.yaml")

    def replica(self, service, ordinal):
        return self.many.of(service)[ordinal]

    def address(self, service, ordinal):
        """Of the replica where its peers know it."""
        return self.many.address(service, ordinal, "grpc")

    def every_address(self):
        return [(service, ordinal, self.address(service, ordinal))
                for service in SERVICES for ordinal in range(REPLICAS)]

    def run(self, binary, *arguments, environment=None):
        """(exit code, standard output, standard error)."""
        done = subprocess.run([os.path.join(BUILD, "bin", binary), *arguments],
                              env={**os.environ, **(environment or {})}, capture_output=True,
                              text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        return path

    def _write_files(self):
        for name, text in (("secret", "s" * 43), ("aes", "a" * 43)):
            self.write(name, text)
        app = {"agent_id": AGENT, "secret_file": "secret", "token": "token",
               "aes_key_file": "aes"}
        corps = {"corps": [{"corp_id": corp, "apps": [app]} for corp in (CORP_A, CORP_B)]}
        return settings.Files(self.write("limits.json", json.dumps(LIMITS)),
                              self.write("corps.json", json.dumps(corps)))

    def _start_simulator(self):
        """Its address."""
        wecom = Service(self.processes, self.folder, "wecom_simulator", [
            os.path.join(BUILD, "bin", "wecom_simulator"), "--seed", "5", "--limits",
            self.files.limits, "--witness", os.path.join(self.folder, "witness.jsonl"),
            "--confirm-mean-ms", "100", "--confirm-never", "0", "--distributing-ms", "50"])
        wecom.start(["--address", "127.0.0.1:0"])
        self.simulator = Simulator(wecom.ports["address"])
        for corp in (CORP_A, CORP_B):
            self.simulator.post("/control/seed", {
                "corp_id": corp, "tags": ["probe"],
                "apps": [{"agent_id": AGENT, "secret": "s" * 43, "token": "token",
                          "aes_key": "a" * 43, "callback_url": "http://127.0.0.1:9/"}],
                "members": [f"m{m}" for m in range(MEMBERS)],
                "customers": [{"external_userid": f"wm{corp}{c}", "member": f"m{c % MEMBERS}"}
                              for c in range(2 * MEMBERS)]})
        return wecom.ports["address"]
