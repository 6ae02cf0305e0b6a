"""The public names are a promise: this is their snapshot."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fanlight


def test_public_names() -> None:
    assert fanlight.__all__ == [
        "CropRule", "Face", "InputError", "Markup", "Predictor",
        "load", "read_image", "write_csv", "write_json", "write_pts",
    ]  # fmt: skip
    for name in fanlight.__all__:
        assert getattr(fanlight, name).__name__ == name


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        fanlight.lode  # noqa: B018


def test_the_command_is_read_without_pytorch() -> None:
    code = "import sys, fanlight.cli; sys.exit('torch' in sys.modules or 'albumentations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_network_is_there_without_pytorchs_compiler() -> None:
    asked = "'sympy' in sys.modules or 'torch._dynamo' in sys.modules"
    code = f"import sys, fanlight; fanlight.load(); sys.exit({asked})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
