"""Photos are found in a stable order, read ahead within bounds, and what cannot be read follows the given rule."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from fanlight import photos
from fanlight.errors import InputError
from fanlight.image import write_image
from fanlight.photos import find_photos, read_ahead, to_rgb


def grey(path: Path, value: int = 128) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((8, 10, 3), value, np.uint8))
    return path


# ------------------------------------------------------------------ finding


def test_a_folder_stands_for_its_photos_by_name(tmp_path: Path) -> None:
    wanted = [grey(tmp_path / name) for name in ("a.jpg", "b.PNG", "c/a.jpg", "c/d/a.png", "e/a.webp")]
    for name in (".hidden.jpg", ".cache/a.jpg"):
        grey(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "a.pts").write_text("no photo")
    assert find_photos(tmp_path) == wanted
    assert find_photos(str(tmp_path)) == wanted
    assert find_photos([tmp_path / "e", tmp_path / "a.jpg", tmp_path]) == [
        *(tmp_path / name for name in ("e/a.webp", "a.jpg", "b.PNG", "c/a.jpg", "c/d/a.png"))
    ]
    assert find_photos(tmp_path, (".png",)) == [tmp_path / "b.PNG", tmp_path / "c/d/a.png"]


def test_a_folder_can_stand_for_its_own_photos_alone(tmp_path: Path) -> None:
    own = grey(tmp_path / "a.jpg")
    grey(tmp_path / "b" / "c.jpg")
    assert find_photos(tmp_path, recursive=False) == [own]
    own.unlink()
    with pytest.raises(InputError, match="holds no photos"):
        find_photos(tmp_path, recursive=False)


def test_a_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    file = tmp_path / "noending"
    file.write_bytes(grey(tmp_path / "a.png").read_bytes())
    assert find_photos(file) == [file]
    assert find_photos([tmp_path / "gone.jpg"]) == [tmp_path / "gone.jpg"]  # a matter of reading it


def test_links_lead_on_but_never_in_circles(tmp_path: Path) -> None:
    inside = grey(tmp_path / "photos" / "a.jpg")
    elsewhere = grey(tmp_path / "elsewhere" / "b.jpg")
    try:
        (tmp_path / "photos" / "more").symlink_to(elsewhere.parent, target_is_directory=True)
        (tmp_path / "photos" / "round").symlink_to(tmp_path / "photos", target_is_directory=True)
    except OSError:
        pytest.skip("no links on this system")
    assert find_photos(tmp_path / "photos") == [inside, tmp_path / "photos/more/b.jpg"]


def test_what_holds_no_photos_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("")
    with pytest.raises(InputError) as caught:
        find_photos([tmp_path / "empty", tmp_path / "texts"])
    assert len(caught.value.problems) == 2
    assert f"{tmp_path / 'texts'}: holds no photos (.jpg" in str(caught.value)
    with pytest.raises(InputError, match=r"phtos: no such photo or folder"):
        find_photos(tmp_path / "phtos")
    assert find_photos([]) == []


# ------------------------------------------------------------------ reading


def test_photos_come_in_order_with_their_paths(tmp_path: Path) -> None:
    paths = [grey(tmp_path / f"{i}.png", i) for i in range(23)]
    for readers in (1, 3):
        read = list(read_ahead(paths, readers=readers))
        assert [path for path, _ in read] == paths
        assert [int(image[0, 0, 0]) for _, image in read] == list(range(23))
    assert list(read_ahead([])) == []


def test_no_more_is_read_than_two_for_each_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []

    def read(path: Path) -> np.ndarray:
        begun.append(path)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(photos, "read_image", read)
    stream = read_ahead([Path(str(i)) for i in range(1000)], readers=2)
    assert begun == []  # nothing before the first is asked for
    for taken in range(1, 20):
        next(stream)
        assert len(begun) <= taken + 2 * 2
    stream.close()
    assert len(begun) < 30


def test_stopping_early_ends_the_threads(tmp_path: Path) -> None:
    paths = [grey(tmp_path / f"{i}.png", i) for i in range(30)]
    for _ in read_ahead(paths):
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fanlight-photos")]


def test_a_photo_that_cannot_be_read(tmp_path: Path) -> None:
    good, other = grey(tmp_path / "a.png"), grey(tmp_path / "z.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:40])
    paths = [good, cut, tmp_path / "gone.jpg", other]
    with pytest.warns(UserWarning, match="left out: ") as warned:
        assert [path for path, _ in read_ahead(paths)] == [good, other]
    assert [name in str(w.message) for w, name in zip(warned, ("cut.png", "gone.jpg"), strict=True)] == [
        True
    ] * 2
    told: dict[Path, InputError] = {}
    assert [path for path, _ in read_ahead(paths, told.__setitem__)] == [good, other]
    assert list(told) == paths[1:3]
    assert "no such image" in str(told[paths[2]])
    stream = read_ahead(paths, "raise")
    assert next(stream)[0] == good
    with pytest.raises(InputError, match=r"cut\.png"):
        next(stream)
    with pytest.raises(InputError, match="'skip'"):
        read_ahead(paths, "skip")  # type: ignore[arg-type]


def test_arrays_become_rgb() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert to_rgb(image) is image
    assert np.array_equal(to_rgb(image, "BGR"), image[..., ::-1])
    assert to_rgb(image, "BGR").flags.c_contiguous
    assert to_rgb(image[..., 0]).shape == (2, 4, 3)
