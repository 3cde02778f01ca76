"""What every report of a benchmark tells: where and of what it was made, and figures of rounds."""

import os
import platform
import subprocess
import sys

import paths


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def machine():
    """What the figures were taken on."""
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpus": os.cpu_count(), "cpu": model, "memory_gb": round(memory / 1e9, 1),
            "kernel": platform.release(), "load_before": os.getloadavg()[0]}


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", paths.REPOSITORY, *arguments], capture_output=True,
                              text=True, check=False).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + ("-changed" if git("status", "--porcelain")
                                                     else "")


def spread(figure, digits):
    return (f"{figure['median']:,.{digits}f} "
            f"({figure['min']:,.{digits}f}..{figure['max']:,.{digits}f})")
