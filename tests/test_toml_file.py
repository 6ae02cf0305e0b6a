"""TOML that people write: what cannot be read is told, whatever it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fanlight.config import load_recipe
from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.model import FANOptions
from fanlight.models import find
from fanlight.toml_file import MAX_BYTES, read_toml


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a = " + b"[" * 5000, "too deep inside each other"),
        (b"a = " + b"9" * 5000, "beyond 64 bits"),
        (b"a = 0x" + b"f" * 5000, "beyond 64 bits"),
        (b"a = [{b = 9223372036854775808}]", "beyond 64 bits"),
        (b'a = "\\u0000"', "NUL"),
        (b'"\\u0000" = 1', "NUL"),
        (b"a = 1\nb\n", r"not TOML: .*\(at line 2.*: correct it there"),
        (b"a = 1\n\xff", "line 2 is not UTF-8: save it as UTF-8"),
        (b"#" * (MAX_BYTES + 1), "larger than 4 MiB"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"x\.toml: cannot read the recipe: .*{told}"):
        read_toml(path, "the recipe")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, told in (
        ("none", "no such file"),
        ("x" * 5000, "no such file"),
        ("\0", "no such file"),
        ("pipe", "not a file"),
    ):
        with pytest.raises(InputError, match=f"cannot read the recipe: .*{told}"):
            read_toml(tmp_path / name, "the recipe")


def test_one_change_by_set_changes_one_setting(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[data]\nindex = "x"\ntrain = ["a/b"]\nval = ["c/d"]\n')
    with pytest.raises(InputError, match="more than one value: repeat --set"):
        load_recipe(path, ["train.epochs=3\nother=4"])
    assert load_recipe(path, ["train.epochs=3 # three"]).train.epochs == 3


def test_options_that_would_exhaust_the_machine_are_refused() -> None:
    for name, value in (("depth", 10**9), ("stacks", 10**9), ("features", 4 * 10**9), ("points", 10**9)):
        with pytest.raises(InputError, match=f"{name} = {value}: must be at most"):
            FANOptions(**{name: value})


def test_a_mark_up_of_very_many_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.toml"
    for count, extra, told in (
        (10_001, "", "at most 10000"),
        (9_000, '"0..8999", ' * 200, "too many references"),
    ):
        names = ", ".join(f'"p{i}"' for i in range(count))
        path.write_text(f'name = "m"\nsource = "x"\npoints = [{names}]\nmirror = []\nlines = [[{extra}]]\n')
        with pytest.raises(InputError, match=told) as caught:
            Markup.load(path)
        assert len(caught.value.problems[0]) < 200


def test_a_name_too_long_for_a_file_is_no_network() -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        find("x" * 5000)
