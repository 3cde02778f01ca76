#!/usr/bin/env python3
"""Builds the container images and proves that one runs as it should: no root, nothing writable, no
capability, no network, and an orderly end on SIGTERM.

Images are built by buildah from a Debian base that debootstrap makes once; both, and their storage,
are in .cache/proof/containers. Needs root. Prints one JSON object. Exit code 0: all is as it should
be. 1: something is not; the text says what. 2: wrong flags. 77: SKIPPED, since a tool is missing.

Examples:
  python3 tests/deploy/image.py                           builds tidegate and runs it
  python3 tests/deploy/image.py all                       builds all six
  python3 tests/deploy/image.py all --prebuilt build/dev  from binaries that are there already
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import tools

REPOSITORY = tools.REPOSITORY
SERVICES = ("ingestion", "tagging", "segmentation", "dispatch", "wecom_simulator", "tidegate")
BASE = "debian:bookworm-slim"
RELEASE = "bookworm"
UID = 65534
NO_CAPABILITIES = "0" * 16
STOP_SECONDS = 15
READY_SECONDS = 60
EXIT_SKIPPED = 77
STORAGE = os.path.join(tools.PROOF, "containers")
# Sockets have short names only, so not below the repository.
RUN = "/run/tidegate-proof"


class ImageError(Exception):
    """Something is not as it should be; the text says what and what to do."""


class Missing(Exception):
    """It cannot be proved on this machine; the text is one line: why; what to do."""


def say(text):
    print(f"image: {text}", file=sys.stderr, flush=True)


def need(*programs):
    """Raises Missing unless this is root and each program is there."""
    for program in programs:
        if not tools.path_of(program):
            raise Missing(f"{program} is missing; python3 tests/deploy/tools.py image light")
    if os.geteuid() != 0:
        raise Missing("building and running containers needs root here; run it as root")


# The limits and the runtime are for machines where the usual ones are refused.
CONTAINERS_CONF = f"""\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
compat_api_enforce_docker_hub = false
tmp_dir = "{RUN}/libpod"
"""
STORAGE_CONF = f"""\
[storage]
driver = "overlay"
graphroot = "{STORAGE}/storage"
runroot = "{RUN}/storage"
"""
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'


class Engine:
    """buildah and podman with a storage and settings of their own."""

    def __init__(self):
        tools.write(os.path.join(STORAGE, "containers.conf"), CONTAINERS_CONF)
        tools.write(os.path.join(STORAGE, "storage.conf"), STORAGE_CONF)
        # Plain names mean images of this storage; nothing is ever pulled.
        tools.write(os.path.join(STORAGE, "registries.conf"),
                    "unqualified-search-registries = []\n")
        self.policy = os.path.join(STORAGE, "policy.json")
        tools.write(self.policy, POLICY)
        self.environment = {
            **os.environ, "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_CONF": os.path.join(STORAGE, "containers.conf"),
            "CONTAINERS_STORAGE_CONF": os.path.join(STORAGE, "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": os.path.join(STORAGE, "registries.conf")}

    def podman(self, *arguments, check=True, seconds=120):
        return self._run([tools.path_of("podman"), *arguments], check, seconds)

    def buildah(self, *arguments, check=True, seconds=3600):
        return self._run([tools.path_of("buildah"), *arguments], check, seconds)

    def has(self, image):
        return self.buildah("inspect", "--type", "image", image, check=False).returncode == 0

    def _run(self, command, check, seconds):
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, errors="replace",
                                  timeout=seconds, env=self.environment, check=False)
        except subprocess.TimeoutExpired:
            raise ImageError(f"`{words(command)}` did not end within {seconds} s") from None
        if check and done.returncode:
            raise ImageError(f"`{words(command)}` ended with exit code {done.returncode}:\n"
                             + "\n".join((done.stdout + done.stderr).splitlines()[-15:]))
        return done


def words(command):
    return " ".join([os.path.basename(command[0]), *command[1:3]])


# --- Building.

def make_base(engine):
    """The base image under its usual name, from the mirror that apt uses here."""
    if engine.has(BASE):
        return
    say(f"making {BASE} with debootstrap, about a minute")
    with tempfile.TemporaryDirectory(dir=STORAGE) as folder:
        root = os.path.join(folder, "root")
        tools.run([tools.path_of("debootstrap"), "--variant=minbase", "--include=ca-certificates",
                   RELEASE, root, mirror()])
        make_slim(root)
        archive = os.path.join(folder, "base.tar")
        tools.run(["tar", "-C", root, "-cf", archive, "."])
        container = engine.buildah("from", "scratch").stdout.strip()
        try:
            engine.buildah("add", "-q", container, archive, "/")
            engine.buildah("config", "--cmd", "bash", container)
            engine.buildah("commit", "-q", container, f"localhost/{BASE}")
        finally:
            engine.buildah("rm", container, check=False)


# As the official slim image has it: packages without documents, and no caches of apt.
DPKG_SLIM = """\
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
"""
APT_SLIM = """\
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""


def make_slim(root):
    """Makes the tree of debootstrap as small as the official image."""
    tools.write(os.path.join(root, "etc", "dpkg", "dpkg.cfg.d", "slim"), DPKG_SLIM)
    tools.write(os.path.join(root, "etc", "apt", "apt.conf.d", "slim"), APT_SLIM)
    for path in glob.glob(os.path.join(root, "usr", "share", "doc", "*", "*")):
        if os.path.basename(path) != "copyright":
            remove(path)
    for pattern in ("usr/share/man/*", "usr/share/info/*", "usr/share/locale/*",
                    "var/lib/apt/lists/*", "var/cache/apt/*", "var/log/*.log"):
        for path in glob.glob(os.path.join(root, pattern)):
            remove(path)


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):  # some folders are links to others
        os.remove(path)


def mirror():
    """Where apt gets Debian itself from on this machine."""
    said = tools.run(["apt-get", "indextargets", "--format", "$(REPO_URI)",
                      f"Codename: {RELEASE}", "Created-By: Packages"])
    if not said.split():
        raise Missing(f"apt knows no mirror of {RELEASE}; images are built on Debian 12 here")
    return said.split()[0]


def version():
    with open(os.path.join(REPOSITORY, "CMakeLists.txt"), encoding="utf-8") as file:
        return re.search(r"^project\(tidegate VERSION (\S+)", file.read(), re.MULTILINE)[1]


def revision():
    done = subprocess.run(["git", "-C", REPOSITORY, "rev-parse", "HEAD"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() or "unknown"


def name_of(service):
    return f"tidegate/{service}:dev"


def build(engine, services, prebuilt=None):
    """Builds the images; {service: seconds}. prebuilt: a build folder, whose binaries are taken
    instead of compiling."""
    if not prebuilt:
        return {service: _bud(engine, service, REPOSITORY) for service in services}
    with tempfile.TemporaryDirectory(dir=STORAGE) as folder:
        tools.run([os.path.join(REPOSITORY, "deploy", "image", "collect"),
                   os.path.join(prebuilt, "bin"), os.path.join(folder, "out")])
        with open(os.path.join(REPOSITORY, "Dockerfile"), encoding="utf-8") as file:
            tools.write(os.path.join(folder, "Dockerfile"), without_compiling(file.read()))
        return {service: _bud(engine, service, folder) for service in services}


def without_compiling(dockerfile):
    """The Dockerfile with a first stage that only copies what was collected outside."""
    copied = "FROM ${BASE} AS build\nCOPY out /out\n\n"
    text, count = re.subn(r"^FROM \S+ AS build\n.*?^(?=FROM )", copied.replace("\\", r"\\"),
                          dockerfile, flags=re.MULTILINE | re.DOTALL)
    if count != 1:
        raise ImageError("the Dockerfile has no stage `build` that another one follows")
    return text


def _bud(engine, service, context):
    say(f"building {name_of(service)}")
    began = time.monotonic()
    engine.buildah(
        "bud", "--format", "docker", "--pull-never", "--layers",
        "--signature-policy", engine.policy, "--build-arg", f"SERVICE={service}",
        "--build-arg", f"VERSION={version()}", "--build-arg", f"REVISION={revision()}",
        "--build-arg", f"JOBS={tools.jobs()}", "-t", f"localhost/{name_of(service)}", context)
    return round(time.monotonic() - began, 1)


def size_mb(engine, image):
    said = engine.podman("image", "inspect", "--format", "{{.Size}}", image).stdout
    return round(int(said) / 1e6, 1)


# --- Running.

HARD = ("--network", "none", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all",
        "--security-opt", "no-new-privileges")


def start_alone(engine, image):
    """The binary with the libraries that it names: it must show its help, in the hardened box."""
    engine.podman("run", "--rm", *HARD, image, "--help")


def commit_of(engine, image):
    """What the binary says it was built from."""
    said = engine.podman("run", "--rm", *HARD, image, "version", "--output", "json").stdout
    return json.loads(said)["git"]


def run_serve(engine, image):
    """Runs all services in one process; what was seen of it."""
    folder = tempfile.mkdtemp(dir=STORAGE)
    container = None
    try:
        _demo_corps(folder)
        container = engine.podman(
            "run", "-d", *HARD, "--memory", "512m",
            # As an emptyDir of a pod.
            "--tmpfs", "/var/lib/tidegate:rw,size=256m",
            "-v", f"{folder}:/run/tidegate:ro", image, "serve",
            "--corps-file", "/run/tidegate/corps.json",
            "--data-dir", "/var/lib/tidegate/log").stdout.strip()
        _await_ready(engine, container)
        seen = look_inside(engine, container)
        seen.update(_stop(engine, container))
        return seen
    finally:
        if container:
            engine.podman("rm", "-f", "-t", "0", container, check=False)
        shutil.rmtree(folder)


def _demo_corps(folder):
    """Secrets that are good for nothing, private to the user of the image."""
    tools.run([os.path.join(REPOSITORY, "deploy", "compose", "make-secrets.sh"), folder])
    for path in (folder, *(os.path.join(folder, name) for name in os.listdir(folder))):
        os.chown(path, UID, UID)


def _await_ready(engine, container):
    deadline = time.monotonic() + READY_SECONDS
    while engine.podman("exec", container, "tidegate-ready", check=False).returncode:
        state = engine.podman("inspect", "--format", "{{.State.Status}}", container).stdout.strip()
        if state != "running" or time.monotonic() > deadline:
            logs = engine.podman("logs", container, check=False)
            raise ImageError(f"it is {state} and not ready; it said:\n{logs.stdout}{logs.stderr}")
        time.sleep(0.2)


def look_inside(engine, container):
    """What holds for process 1 of a running container, as the kernel tells it."""
    status = dict(line.split(":", 1) for line in engine.podman(
        "exec", container, "cat", "/proc/1/status").stdout.splitlines())
    touched = engine.podman("exec", container, "touch", "/touched", check=False)
    return {"uid": int(status["Uid"].split()[0]),
            "read_only": "Read-only file system" in touched.stderr,
            "cap_eff": status["CapEff"].strip(),
            "no_new_privileges": status["NoNewPrivs"].strip() == "1",
            "seccomp": int(status["Seccomp"])}


def _stop(engine, container):
    began = time.monotonic()
    engine.podman("kill", "--signal", "TERM", container)
    try:
        code = int(engine.podman("wait", container, seconds=STOP_SECONDS).stdout)
    except ImageError:
        code = None
    return {"exit_code": code, "stop_seconds": round(time.monotonic() - began, 1)}


def faults(seen):
    """What of it is not as it should be, one line each."""
    wanted = {"uid": UID, "read_only": True, "cap_eff": NO_CAPABILITIES, "no_new_privileges": True,
              "exit_code": 0}
    return [f"{key} is {seen.get(key)}, not {value}" for key, value in wanted.items()
            if seen.get(key) != value]


def prove(engine, services, prebuilt):
    """Builds, starts each image alone, and runs tidegate; what is printed."""
    make_base(engine)
    seconds = build(engine, services, prebuilt)
    images = []
    for service in services:
        image = f"localhost/{name_of(service)}"
        start_alone(engine, image)
        row = {"image": name_of(service), "size_mb": size_mb(engine, image),
               "build_seconds": seconds[service]}
        if service == "tidegate":
            say("running it hardened")
            row.update(run_serve(engine, image))
            row["commit"] = commit_of(engine, image)
            row["faults"] = faults(row)
            if not prebuilt and not revision().startswith(row["commit"]):
                row["faults"].append(f"its version tells the commit {row['commit']}, "
                                     f"not {revision()}")
        images.append(row)
    return {"version": version(), "revision": revision(),
            "compiled": "before" if prebuilt else "in the image build", "images": images}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/deploy/image.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("services", nargs="*", metavar="SERVICE", default=["tidegate"],
                        help=f"of {', '.join(SERVICES)}, or all; default tidegate")
    parser.add_argument("--prebuilt", metavar="BUILD",
                        help="take the binaries of this build folder instead of compiling")
    options = parser.parse_args(arguments)
    if "all" in options.services:
        options.services = list(SERVICES)
    for service in options.services:
        if service not in SERVICES:
            parser.error(f"unknown service {service}; known: {', '.join(SERVICES)}, all")
    if options.prebuilt and not os.path.isdir(os.path.join(options.prebuilt, "bin")):
        parser.error(f"{options.prebuilt}/bin is missing: run ./dev build first")
    return options


def main(arguments=None):
    options = parse(arguments)
    try:
        need("buildah", "podman", "debootstrap")
        result = prove(Engine(), options.services, options.prebuilt)
    except (Missing, tools.Unavailable) as why:
        print(f"SKIPPED image: {why}")
        return EXIT_SKIPPED
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    failed = [f"{row['image']}: {fault}" for row in result["images"]
              for fault in row.get("faults", [])]
    for line in failed:
        print(f"image: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
