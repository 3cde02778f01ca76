#!/usr/bin/env python3
"""Checks docker-compose.yml, and brings it up on this machine until its demo has reported.

`config` asks docker compose whether it understands the file, with and without the profile `one`.
`up` runs the containers by podman on one loopback without any other network. Three things differ
from a usual `docker compose up`: apache/kafka is a stand-in made of the same version's jars,
prom/prometheus one made of Debian's package, and Grafana is left out, since none is to be had. Our
images, the settings, names, ports, secrets and scripts are those of the file. Needs root; all
containers and volumes are removed at the end, also after a failure. --then runs a command of yours
where the containers' ports are, after the demo has reported; its exit code counts.
Exit code 0: all is as it should be. 1: something is not; the text says what. 2: wrong flags.
77: SKIPPED, since a tool is missing.

Examples:
  python3 tests/deploy/compose.py config
  python3 tests/deploy/compose.py up --prebuilt build/dev
  python3 tests/deploy/compose.py up --profile one --prebuilt build/dev
  python3 tests/deploy/compose.py up --prebuilt build/dev \\
      --then 'python3 tests/deploy/live.py --prometheus http://127.0.0.1:9090 --minutes 2'
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import image
import tools
from image import ImageError, Missing

sys.path.append(os.path.join(tools.REPOSITORY, "tests", "kafka"))
import jars  # noqa: E402

FILE = os.path.join(tools.REPOSITORY, "docker-compose.yml")
PROJECT = "tidegate-proof"
# Which service ends the run, and which others are started beside what it needs.
SHAPES = {"many": ("demo", ["demo", "prometheus"]), "one": ("one-demo", ["one-demo"])}
LEFT_OUT = {"grafana": "no Grafana is to be had from the package registries"}
OURS = ("tidegate/",)
UP_SECONDS = 300
DEMO_SECONDS = 300
HEALTH_POLL_SECONDS = 1
EXIT_SKIPPED = 77


def say(text):
    print(f"compose: {text}", file=sys.stderr, flush=True)


def compose_program():
    program = tools.path_of("docker-compose")
    if not program:
        raise Missing("docker compose is missing; python3 tests/deploy/tools.py compose")
    return program


def compose(*arguments, files=(FILE,), environment=None, seconds=120):
    """Runs docker compose and returns its standard output."""
    command = [compose_program(), "--project-directory", tools.REPOSITORY,
               "--project-name", PROJECT]
    for path in files:
        command += ["-f", path]
    try:
        done = subprocess.run([*command, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace", timeout=seconds, check=False,
                              env={**(environment or os.environ), "COMPOSE_PROGRESS": "plain"})
    except subprocess.TimeoutExpired:
        raise ImageError(f"`docker compose {arguments[0]}` did not end within "
                         f"{seconds} s") from None
    if done.returncode:
        raise ImageError(f"`docker compose {' '.join(arguments[:3])}` ended with exit code "
                         f"{done.returncode}:\n" + "\n".join(done.stderr.splitlines()[-15:]))
    return done.stdout


def read_file(profile=None, files=(FILE,)):
    """docker-compose.yml as docker compose understands it."""
    profiles = ["--profile", profile] if profile else []
    return json.loads(compose(*profiles, "config", "--format", "json", files=files))


def check_config():
    """Both profiles; {profile: services}."""
    seen = {}
    for name, profiles in (("none", []), ("one", ["--profile", "one"])):
        compose(*profiles, "config", "-q")
        seen[name] = sorted(read_file(*profiles[1:])["services"])
    return seen


# --- Stand-ins for images of others, under their names.

# The package of Java wants the folder of its manual page, which slim images lack.
KAFKA_DOCKERFILE = """\
FROM debian:bookworm-slim
RUN mkdir -p /usr/share/man/man1 && apt-get update && \\
    apt-get install -y --no-install-recommends openjdk-17-jre-headless && \\
    useradd --uid 1000 appuser && \\
    install -d -o appuser /opt/kafka/config /opt/kafka/logs /var/lib/kafka/data
COPY libs /opt/kafka/libs
COPY --chmod=0755 run /etc/kafka/docker/run
USER appuser
CMD ["/etc/kafka/docker/run"]
"""
# As the official image: KAFKA_NODE_ID becomes node.id, and so on; the storage is formatted once.
KAFKA_RUN = """\
#!/usr/bin/env bash
set -euo pipefail
settings=/opt/kafka/config/server.properties
env | grep '^KAFKA_' | grep -v '^KAFKA_HEAP_OPTS=' | while IFS='=' read -r name value; do
  name=${name#KAFKA_}
  name=${name,,}
  echo "${name//_/.}=$value"
done >"$settings"
java -Xmx128m -cp '/opt/kafka/libs/*' kafka.tools.StorageTool \\
  format --ignore-formatted -t "$CLUSTER_ID" -c "$settings"
read -ra heap <<<"${KAFKA_HEAP_OPTS:-}"
exec java "${heap[@]}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=WARN \\
  -cp '/opt/kafka/libs/*' kafka.Kafka "$settings"
"""
PROMETHEUS_DOCKERFILE = """\
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends wget && \\
    install -d -o 65534 -g 65534 /prometheus /etc/prometheus
COPY prometheus promtool /usr/bin/
USER 65534
ENTRYPOINT ["/usr/bin/prometheus"]
"""


def make_stand_in(engine, name, dockerfile, add):
    """add(folder) puts what the Dockerfile copies beside it."""
    if engine.has(name):
        return
    say(f"making a stand-in for {name}")
    with tempfile.TemporaryDirectory(dir=image.STORAGE) as folder:
        tools.write(os.path.join(folder, "Dockerfile"), dockerfile)
        add(folder)
        engine.buildah("bud", "--format", "docker", "--pull-never", "--layers",
                       "--signature-policy", engine.policy, "-t", f"localhost/{name}", folder)


def add_kafka(folder):
    os.mkdir(os.path.join(folder, "libs"))
    for jar in sorted(jars.wanted_checksums()):
        shutil.copy(os.path.join(os.path.dirname(jars.ready()), jar), os.path.join(folder, "libs"))
    tools.write(os.path.join(folder, "run"), KAFKA_RUN)


def add_prometheus(folder):
    for program in ("prometheus", "promtool"):
        shutil.copy(tools.path_of(program), folder)


STAND_INS = {"apache/kafka": (KAFKA_DOCKERFILE, add_kafka),
             "prom/prometheus": (PROMETHEUS_DOCKERFILE, add_prometheus)}


def make_images(engine, services, prebuilt):
    """All images of these services, as the file describes them; the names of the stand-ins."""
    image.make_base(engine)
    names = {service["image"] for service in services.values()}
    ours = sorted({service["build"]["args"]["SERVICE"] for service in services.values()
                   if "build" in service})
    image.build(engine, ours, prebuilt)
    stand_ins = []
    for name in sorted(names):
        repository = name.partition(":")[0]
        if repository in STAND_INS:
            make_stand_in(engine, name, *STAND_INS[repository])
            stand_ins.append(name)
        elif not name.startswith(OURS):
            raise ImageError(f"there is no stand-in for {name}: add one to {__file__}")
    return stand_ins


# --- One loopback for all containers.

def closure(services, names):
    """The named services and all that they depend on."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = services[name]
            waiting += services[name].get("depends_on") or {}
    return found


def override(services, hosts):
    """The file that puts every container into the network of `net`, which has a loopback alone."""
    lines = ["services:", "  net:", f"    image: {image.name_of('tidegate')}",
             "    entrypoint: [sleep, infinity]", "    network_mode: none", "    init: true"]
    for name, service in sorted(services.items()):
        if service.get("network_mode") == "none":
            continue
        lines += [f"  {name}:", '    network_mode: "service:net"', "    ports: !reset []",
                  "    networks: !reset null", "    hostname: !reset null",
                  f'    volumes: ["{hosts}:/etc/hosts:ro"]']
    return "\n".join(lines) + "\n"


def hosts_text(services):
    return "".join(f"127.0.0.1 {name}\n" for name in ["localhost", *sorted(services)])


class Service:
    """podman behind the interface that docker compose speaks to."""

    def __init__(self, engine):
        self._engine = engine
        os.makedirs(image.RUN, exist_ok=True)
        self._socket = os.path.join(image.RUN, "docker.sock")
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._socket)
        self._log = open(os.path.join(image.STORAGE, "podman-service.log"), "w", encoding="utf-8")
        self._process = subprocess.Popen(
            [tools.path_of("podman"), "system", "service", "--time", "0", f"unix://{self._socket}"],
            env=engine.environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            start_new_session=True)  # Ctrl-C is not meant for it
        self.environment = {**engine.environment, "DOCKER_HOST": f"unix://{self._socket}"}
        self._await()
        self._over = threading.Event()
        self._checker = threading.Thread(target=self._check_health, daemon=True)
        self._checker.start()

    def close(self):
        self._over.set()
        self._checker.join()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _await(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(self._socket) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise ImageError(f"`podman system service` does not answer; see {self._log.name}")

    def _check_health(self):
        """podman leaves this to timers of systemd, and there may be none."""
        while not self._over.wait(HEALTH_POLL_SECONDS):
            with contextlib.suppress(ImageError):
                waiting = self._engine.podman("ps", "-q", "--filter", "health=starting",
                                              check=False)
                for container in waiting.stdout.split():
                    self._engine.podman("healthcheck", "run", container, check=False, seconds=30)


def containers_of(engine):
    """{service: container} of the project, ended ones too."""
    said = engine.podman("ps", "-a", "--filter", f"label=com.docker.compose.project={PROJECT}",
                         "--format",
                         '{{index .Labels "com.docker.compose.service"}} {{.ID}}').stdout
    return dict(line.split() for line in said.splitlines())


def up(profile, prebuilt, then=""):
    image.need("buildah", "podman", "debootstrap", "prometheus", "docker-compose")
    last, names = SHAPES[profile]
    file = read_file("one" if profile == "one" else None)
    services = closure(file["services"], names)
    engine = image.Engine()
    stand_ins = make_images(engine, services, prebuilt)
    folder = tempfile.mkdtemp(dir=image.STORAGE)
    hosts, more = os.path.join(folder, "hosts"), os.path.join(folder, "override.yml")
    tools.write(hosts, hosts_text(services))
    tools.write(more, override(services, hosts))
    files = (FILE, more)
    profiles = ["--profile", "one"] if profile == "one" else []
    service = None
    try:
        wipe(engine)  # what a killed run left
        service = Service(engine)
        say("docker compose up")
        began = time.monotonic()
        compose(*profiles, "up", "-d", "--no-build", *names, files=files,
                environment=service.environment, seconds=UP_SECONDS)
        started = round(time.monotonic() - began, 1)
        say(f"all healthy after {started} s; waiting for {last}")
        result = {"profile": profile, "containers": len(services), "up_seconds": started,
                  "stand_ins": stand_ins,
                  "left_out": LEFT_OUT if profile == "many" else {}}
        result.update(_watch(engine, last))
        if then:
            result["then"] = _run_inside(engine, hosts, then)
            if result["then"]:
                result["faults"].append(f"`{then}` ended with exit code {result['then']}")
        compose("--profile", "*", "stop", "--timeout", str(image.STOP_SECONDS), files=files,
                environment=service.environment)
        result["exit_codes"] = _exit_codes(engine, services)
        result["faults"] += [f"{name} ended with exit code {code}"
                             for name, code in result["exit_codes"].items() if code != 0]
        return result
    except ImageError as error:
        raise ImageError(f"{error}\n{_last_words(engine)}") from None
    finally:
        wipe(engine)
        if service:
            service.close()
        shutil.rmtree(folder, ignore_errors=True)


def wipe(engine):
    """Removes all containers and volumes of the project, without asking docker compose: it may have
    been interrupted together with this program."""
    mine = ("--filter", f"label=com.docker.compose.project={PROJECT}")
    for _ in range(3):  # the one whose network the others use cannot go before them
        containers = engine.podman("ps", "-a", "-q", *mine).stdout.split()
        if not containers:
            break
        engine.podman("rm", "-f", "-t", "2", *containers, check=False)
    else:
        say(f"some containers could not be removed: {' '.join(containers)}")
    volumes = engine.podman("volume", "ls", "-q", *mine).stdout.split()
    if volumes:
        engine.podman("volume", "rm", "-f", *volumes, check=False)


def _watch(engine, last):
    """Until the demo has ended: its report, and how the containers are confined."""
    containers = containers_of(engine)
    began = time.monotonic()
    confined = {name: image.look_inside(engine, container)
                for name, container in containers.items() if name not in ("net", "secrets", last)}
    code = int(engine.podman("wait", containers[last], seconds=DEMO_SECONDS).stdout)
    said = engine.podman("logs", containers[last], check=False)
    report = report_in(said.stdout)
    if code or not report:
        raise ImageError(f"{last} ended with exit code {code}:\n{said.stdout}{said.stderr}")
    result = {"demo_seconds": round(time.monotonic() - began, 1), "report": report,
              "confined": confined, "faults": faults(confined)}
    if "prometheus" in containers:
        result["targets_up"] = _targets_up(engine, containers["prometheus"])
        if result["targets_up"] != 7:
            result["faults"].append(f"Prometheus reaches {result['targets_up']} of 7 processes")
    return result


def _exit_codes(engine, services):
    """Of our containers, after SIGTERM or by themselves."""
    return {name: int(engine.podman("inspect", "--format", "{{.State.ExitCode}}", container).stdout)
            for name, container in sorted(containers_of(engine).items())
            if "build" in services.get(name, {})}


def _run_inside(engine, hosts, command):
    """The exit code of a program of this machine that sees the containers' loopback as its own, and
    knows their names."""
    net = containers_of(engine)["net"]
    pid = engine.podman("inspect", "--format", "{{.State.Pid}}", net).stdout
    with_names = f'mount --bind {shlex.quote(hosts)} /etc/hosts && exec "$@"'
    return subprocess.run(["nsenter", "--target", pid.strip(), "--net", "unshare", "--mount", "sh",
                           "-c", with_names, "sh", *shlex.split(command)],
                          stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd=tools.REPOSITORY,
                          check=False).returncode


def report_in(text):
    """The campaign's report, as the client prints it in one line of JSON."""
    for line in text.splitlines():
        if line.startswith("{") and '"touches_planned"' in line:
            return json.loads(line)
    return None


def faults(confined):
    """Kafka's root is writable, and images of others have users of their own."""
    lines = []
    for name, seen in sorted(confined.items()):
        wanted = {"cap_eff": image.NO_CAPABILITIES, "no_new_privileges": True}
        if name != "kafka":
            wanted.update(uid=image.UID, read_only=True)
        lines += [f"{name}: {key} is {seen[key]}, not {value}" for key, value in wanted.items()
                  if seen[key] != value]
    return lines


def _targets_up(engine, container):
    said = engine.podman("exec", container, "promtool", "query", "instant",
                         "http://127.0.0.1:9090", 'sum(up{job="tidegate"})').stdout
    match = re.search(r"=> (\d+)", said)
    return int(match[1]) if match else 0


def _last_words(engine):
    """The end of what each container said that ended badly or is not well."""
    text = []
    with contextlib.suppress(ImageError):
        for name, container in sorted(containers_of(engine).items()):
            state = engine.podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}",
                                  container, check=False).stdout.strip()
            if state == "exited 0":
                continue
            logs = engine.podman("logs", "--tail", "8", container, check=False)
            text.append(f"-- {name} ({state})\n{logs.stdout}{logs.stderr}".rstrip())
    return "\n".join(text)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/deploy/compose.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="config|up")
    verbs.add_parser("config", help="whether docker compose understands the file")
    run = verbs.add_parser("up", help="run it until the demo has reported")
    run.add_argument("--profile", choices=SHAPES, default="many",
                     help="many: four services on Kafka; one: all in one process; default many")
    run.add_argument("--prebuilt", metavar="BUILD",
                     help="take the binaries of this build folder instead of compiling")
    run.add_argument("--then", metavar="COMMAND", default="",
                     help="run this beside the containers before they are stopped")
    options = parser.parse_args(arguments)
    if options.verb == "up" and options.prebuilt and not os.path.isdir(
            os.path.join(options.prebuilt, "bin")):
        parser.error(f"{options.prebuilt}/bin is missing: run ./dev build first")
    return options


def main(arguments=None):
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if options.verb == "config":
            print(json.dumps({"services": check_config()}))
            return 0
        result = up(options.profile, options.prebuilt, options.then)
    except (Missing, tools.Unavailable, jars.KafkaUnavailable) as why:
        print(f"SKIPPED compose: {why}")
        return EXIT_SKIPPED
    except (ImageError, jars.KafkaError) as error:
        print(f"compose: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted; all containers are removed")
        return 128 + signal.SIGINT
    print(json.dumps(result))
    for line in result["faults"]:
        print(f"compose: {line}", file=sys.stderr)
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
