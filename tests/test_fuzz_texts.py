"""Label files, indexes and mark-ups damaged at random: what is read is what stands there, or a message tells."""

from __future__ import annotations

import math
import random
import re
import tomllib
from pathlib import Path

import numpy as np

from fanlight.data.index import Index
from fanlight.data.pts import format_pts, read_pts
from fanlight.data.tsv import COLUMNS, HEADER
from fanlight.markup import Markup
from fuzzing import TOKENS, Tally, few_or_many, spoilt

HEADER_FORMS = (
    "version: 1\nn_points: {n}\n{{\n",
    "n_points:{n}{{",
    "version:1 n_points: {n}\r\n{{\r\n",
    "\ufeffn_points: {n}\n{{\n",
)
ODD_NUMBERS = (
    "0", "-0", "+5", "1.", ".5", "1e3", "1E-3", "1e308", "-1e308", "1e309", "nan", "inf", "-inf",
    "Infinity", "0x1p3",
    "1_0", "٣", "²", "1,5", "--1", "1.2.3", "", "-", "+", ".", "e5", "1e", "00012", "9" * 30,
    "9" * 400, "1" * 5000,
    "0." + "3" * 400, "123456789012345.5", "1234567890123456789", "1\x00", "1 2", '"1"', "'1'", "=1",
    "1e-400", "4.9e-324",
)  # fmt: skip


def plainly(text: str) -> float:
    """A decimal number as anyone would read it; NaN where it is none."""
    return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) else math.nan


# ------------------------------------------------------------------ .pts


def pts_file(numbers: random.Random) -> bytes:
    """A file in one of the usual spellings, sometimes with odd numbers in it, then damaged or not."""
    count = numbers.choice([1, 2, 5, 68])
    if numbers.random() < 0.3:
        whole = format_pts([[numbers.uniform(-1e4, 1e4) for _ in "xy"] for _ in range(count)])
    else:
        said = numbers.choice([count] * 8 + [0, count + 1, 10**8, -1])
        lines = [
            [f"{numbers.uniform(-99, 999):.{numbers.randrange(5)}f}" for _ in "xy"] for _ in range(count)
        ]
        if numbers.random() < 0.6:
            lines[numbers.randrange(count)][numbers.randrange(2)] = numbers.choice(ODD_NUMBERS)
        end = numbers.choice(["\n", "\r\n", "\r", " \n\n", "\t\n"])
        body = end.join(numbers.choice([" ", "\t", "  "]).join(line) for line in lines)
        whole = (
            numbers.choice(HEADER_FORMS).format(n=said)
            + body
            + numbers.choice([end, ""])
            + "}"
            + numbers.choice(["", end])
        )
    data = whole.encode()
    return spoilt(data, numbers) if numbers.random() < 0.6 else data


def pts_plainly(data: bytes) -> list[list[float]]:
    """The same file read the slow and simple way; only for files that can be read."""
    text = re.sub(r"\r\n?", "\n", data.decode("utf-8-sig"))
    head, _, body = text.partition("{")
    rows = [line.split() for line in body.partition("}")[0].split("\n") if line.split()]
    assert len(rows) == int(head.rpartition(":")[2])
    return [[plainly(x) - 0.5, plainly(y) - 0.5] for x, y in rows]


@few_or_many(40, 6000)
def test_label_files(cases: int, tmp_path: Path) -> None:
    tally, path = Tally(".pts files"), tmp_path / "face.pts"
    for seed in range(cases):
        data = pts_file(random.Random(f"pts {seed}"))
        path.write_bytes(data)

        def read(data: bytes = data) -> None:
            np.testing.assert_array_equal(read_pts(path), pts_plainly(data))

        tally.take(seed, f"{path}:", read)
    print(tally)


# ------------------------------------------------------------------ indexes


ODD_NAMES = (
    "a.jpg", "../up.jpg", "/abs/olute.jpg", "ü b.jpg", "a" * 300, "a" * 70_000, "", " ", ".",
    "C:\\x.jpg", "con", "a\u2028b",
    "a\x00b", "a\x1fb", "a\rb", '"a.jpg"', "-rf", "$(touch sprung)", "<b>.jpg", "a/b/c", "\ufeffa", "\u0660",
)  # fmt: skip
PARTS = ("lfpw", "train", "val", "a/b", "ü", " ", "", "0", "x" * 999, "[red]")


def index_file(numbers: random.Random) -> bytes:
    rows = []
    for _ in range(numbers.choice([0, 1, 3, 8])):
        odd = numbers.random() < 0.4
        number = numbers.choice(ODD_NUMBERS) if odd and numbers.random() < 0.5 else "12.5"
        names = [
            numbers.choice(ODD_NAMES) if odd and numbers.random() < 0.3 else name
            for name in ("a.jpg", "a.pts")
        ]
        whose = [
            numbers.choice(PARTS) if odd and numbers.random() < 0.2 else name for name in ("set", "train")
        ]
        aug = numbers.choice(["-1", "-1", "3", *ODD_NUMBERS]) if odd else "-1"
        row = [*whose, aug, *names, number, "2", f"{numbers.uniform(20, 400):.3f}", "99"]
        numbers.random() < 0.04 and row.pop()
        numbers.random() < 0.04 and row.append("extra")
        rows.append("\t".join(row))
    columns = list(COLUMNS)
    if numbers.random() < 0.1:
        columns[numbers.randrange(9)] = numbers.choice([*COLUMNS, "x", ""])
    end = numbers.choice(["\n", "\n", "\r\n", "\n\n", "\r"])
    data = (numbers.choice(["", "", "\ufeff"]) + end.join(["\t".join(columns), *rows]) + end).encode()
    return spoilt(data, numbers) if numbers.random() < 0.4 else data


def index_plainly(data: bytes) -> list[list[object]]:
    """The rows of an index read the slow and simple way; only for files that can be read."""
    header, *lines = data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    assert header.rstrip() == HEADER
    rows: list[list[object]] = []
    for number, line in enumerate(lines, 2):
        if line:
            subset, split, aug, image, label, *box = line.split("\t")
            rows.append([number, subset, split, plainly(aug), image, label, *map(plainly, box)])
            assert len(rows[-1]) == 10
    return rows


@few_or_many(40, 6000)
def test_indexes(cases: int, tmp_path: Path) -> None:
    tally, path = Tally("indexes"), tmp_path / "index.tsv"
    for seed in range(cases):
        data = index_file(random.Random(f"index {seed}"))
        path.write_bytes(data)

        def read(data: bytes = data) -> None:
            index, expected = Index.read(path), index_plainly(data)
            assert len(index) == len(expected) > 0
            for position, (number, subset, split, aug, image, label, *box) in enumerate(expected):
                sample = index[position]
                assert index.line_numbers[position] == number
                assert (sample.subset, sample.split, sample.aug_idx) == (subset, split, aug)
                assert sample.image_path == tmp_path / str(image)
                assert sample.landmarks_path == tmp_path / str(label)
                assert list(sample.face_box) == box
            assert sum(index.partitions().values()) == len(index)

        tally.take(seed, f"{path}:", read)
    print(tally)


# ------------------------------------------------------------------ mark-ups


BUILT_IN = Path(__import__("fanlight").__file__).parent / "markups"
PLAIN = b"""\
name = "eyes5"
source = "drawn"
points = ["right_eye", "left_eye", "nose", "right_mouth", "left_mouth"]
mirror = [["right_eye", "left_eye"], [3, 4]]
middle = ["nose"]
lines = [["right_eye", "nose", "left_eye"]]
closed = [["0..2"]]
eye_corners = { right = 0, left = 1 }
pupils = { right = 0, left = [1] }
[parts]
eyes = ["0..1"]
"""
ODD_REFERENCES = (
    "-1", "5", "99999999999999999999", "0.5", "true", '"0..99999999"', '"4..0"', '".."', '"0..x"',
    '"right_eye"', "[]",
    "[[0]]", "[0, 0]", "nan", "{}", '"\\u0000"', '"\u0663"', "2026-01-01", '"0..0..0"', "0x2", "1_0", '""',
)  # fmt: skip


def markup_file(numbers: random.Random) -> bytes:
    data = PLAIN if numbers.random() < 0.6 else numbers.choice(sorted(BUILT_IN.glob("*.toml"))).read_bytes()
    for _ in range(numbers.choice([0, 1, 1, 2])):
        spots = [m.span() for m in re.finditer(rb'(?<![\w"])\d+(?![\w"])|"[\w.]+"|\[[^\[\]]*\]', data)]
        start, end = numbers.choice(spots)
        data = data[:start] + numbers.choice(ODD_REFERENCES).encode() + data[end:]
    if numbers.random() < 0.02:
        count = numbers.choice([200, 3000, 50_000])
        names = ", ".join(f'"p{i}"' for i in range(count))
        pairs = ", ".join(f'["p{i}", {i + 1}]' for i in range(0, count, 2))
        data = f'name = "many"\nsource = "x"\npoints = [{names}]\nmirror = [{pairs}]\n'.encode()
    return spoilt(data, numbers) if numbers.random() < 0.5 else data


@few_or_many(30, 3000)
def test_markups(cases: int, tmp_path: Path) -> None:
    tally, path = Tally("mark-ups"), tmp_path / "mine.toml"
    for seed in range(cases):
        data = markup_file(random.Random(f"markup {seed}"))
        path.write_bytes(data)

        def read(data: bytes = data) -> None:
            markup, given = Markup.load(path), tomllib.loads(data.decode("utf-8-sig"))
            assert (markup.name, list(markup.points)) == (given["name"], given["points"])
            assert [markup.mirror[i] for i in markup.mirror] == list(range(markup.count))
            fixed = {markup.points[i] for i, j in enumerate(markup.mirror) if i == j}
            assert len(fixed) + 2 * sum(i < j for i, j in enumerate(markup.mirror)) == markup.count
            used = [i for part in markup.parts.values() for i in part] + [i for e in markup.edges for i in e]
            assert all(0 <= i < markup.count for i in used)
            assert Markup.from_dict(markup.to_dict()) == markup

        tally.take(seed, str(path), read)
    print(tally)


def test_the_tokens_are_what_they_seem() -> None:
    assert len(set(TOKENS)) == len(TOKENS)
