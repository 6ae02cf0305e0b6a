"""Where files come from: the command, the code, the versions and the machine that made them, as plain values.

Everything here is text and dicts of it, so that a checkpoint, a JSON file and a page can hold it. No date is part
of it: what is made again in the same way is the same again.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
_GIT_SECONDS = 10


def made_by() -> dict[str, Any]:
    """What this process is: enough to set up the like of it and to run it again.

    Returns:
        ``command``; ``fanlight``, its version; ``commit`` with a ``+`` where files differed from it, if it runs
        from a clone; ``code_sha256`` of its source; ``python``; ``packages``, the versions of all that it can use;
        ``system`` and ``processor``.
    """
    return {"command": command(sys.argv), **_surroundings()}


@functools.cache
def _surroundings() -> Mapping[str, Any]:
    commit = commit_of(PACKAGE)
    return {
        "fanlight": metadata.version("fanlight"),
        **({"commit": commit} if commit else {}),
        "code_sha256": code_digest(PACKAGE),
        "python": platform.python_version(),
        "packages": dict(_packages()),
        "system": platform.platform(),
        "processor": cpu_facts().get("model name") or platform.processor() or platform.machine(),
    }


def command(words: Sequence[str]) -> str:
    """A command line that a shell takes as it is, however fanlight was started.

    >>> command(["/opt/venv/bin/fanlight", "train", "my recipe.toml"])
    "fanlight train 'my recipe.toml'"
    """
    program, *arguments = words or [""]
    is_module = Path(program).name == "__main__.py" and Path(program).parent.name == "fanlight"
    ours = is_module or Path(program).stem == "fanlight"
    return shlex.join(["fanlight" if ours else program, *arguments])


def commit_of(package: Path) -> str | None:
    """The commit of the clone of fanlight that a package lies in, with a ``+`` where tracked files differ from it.

    None where it was installed, without git, and within a clone of something else.
    """
    root = package.parent.parent
    if not (root / ".git").exists() or _project(root / "pyproject.toml") != "fanlight":
        return None
    words = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # it only looks
    try:
        answer = subprocess.run(
            words, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS, env=quiet
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _project(path: Path) -> str | None:
    """The name of a project by its pyproject.toml."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def code_digest(package: Path) -> str:
    """The SHA-256 of a package's modules and tables by their names and contents; line ends do not count."""
    digest = hashlib.sha256()
    found = [*package.rglob("*.py"), *package.rglob("*.toml")]
    for name, path in sorted((path.relative_to(package).as_posix(), path) for path in found):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def file_digest(path: str | PathLike[str]) -> str:
    """The SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packages() -> Iterator[tuple[str, str]]:
    """Installed packages that fanlight's own metadata names, those for its development left out."""
    needed = metadata.requires("fanlight") or []
    names = {
        re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed if not re.search(r"extra\W+dev\b", line)
    }
    for name in sorted(names - {"fanlight"}):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


@functools.cache
def cpu_facts() -> Mapping[str, str]:
    """What Linux says of the first processor, by its own names; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
