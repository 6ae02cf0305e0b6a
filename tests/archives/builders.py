"""Archives in their own layouts, a few faces each.

A photo is grey with a white dot of one pixel at each landmark, so what comes out of an archive can be held against
the photo: the landmark of a dot at pixel (i, j) is (i + 0.5, j + 0.5), whatever the archive's numbers are.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from archives.shapes import SHAPES
from fanlight.image import write_image

Pixels = NDArray[np.int64]
WIDTH, HEIGHT = 150, 130


def pixels_of(markup: str, seed: int) -> Pixels:
    """Where the landmarks of a face are: whole pixels, (x, y), from 0; a little different for each seed."""
    numbers = np.random.default_rng(seed)
    places = SHAPES[markup]() * numbers.uniform(80, 95, 2) + numbers.uniform(15, 30, 2)
    return places.astype(np.int64)


def photo_of(pixels: Pixels, grey: bool = False) -> NDArray[np.uint8]:
    """(HEIGHT, WIDTH, 3) RGB, or (HEIGHT, WIDTH): white dots; what is not grey is a little red."""
    photo = np.full((HEIGHT, WIDTH), 40, np.uint8)
    photo[pixels[:, 1], pixels[:, 0]] = 255
    if grey:
        return photo
    return np.stack([np.maximum(photo, 90), photo, photo], axis=-1)


def write_photo(path: Path, markup: str, seed: int) -> Pixels:
    """Write a photo; return where its landmarks are."""
    pixels = pixels_of(markup, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, photo_of(pixels), quality=100)
    return pixels


def pts_text(numbers: NDArray[Any]) -> str:
    lines = "".join(f"{x:.3f} {y:.3f}\n" for x, y in numbers)
    return f"version: 1\nn_points: {len(numbers)}\n{{\n{lines}}}\n"


def write_pair(path: Path, seed: int, markup: str = "ibug68") -> Pixels:
    """A photo and its ``.pts`` beside it, which counts from 1."""
    pixels = write_photo(path, markup, seed)
    path.with_suffix(".pts").write_text(pts_text(pixels + 1))
    return pixels


W300_PHOTOS = (
    "afw/134212_1.jpg", "afw/134212_2.jpg", "helen/trainset/100032540_1.jpg", "helen/testset/296814969_1.jpg",
    "lfpw/trainset/image_0001.png", "lfpw/testset/image_0002.png",
    "ibug/image_003_1.jpg", "ibug/image_092 _01.jpg",
    "300W/01_Indoor/indoor_001.png", "300W/02_Outdoor/outdoor_001.png",
)  # fmt: skip


def make_300w(root: Path, photos: Iterable[str] = W300_PHOTOS) -> dict[str, Pixels]:
    """The folders of 300W; returns where the landmarks are, by the photo's name."""
    return {Path(name).name: write_pair(root / name, seed) for seed, name in enumerate(photos)}


def zip_folder(folder: Path, target: Path, litter: bool = True) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(folder.rglob("*")):
            zipped.write(path, path.relative_to(folder))
        if litter:
            zipped.writestr("__MACOSX/afw/._134212_1.jpg", b"nothing")
            zipped.writestr(".DS_Store", b"nothing")


def cut(file: Path, parts: int) -> list[Path]:
    """Cut a file into ``NAME.001``, ``NAME.002`` ..., and remove it."""
    data = file.read_bytes()
    size = -(-len(data) // parts)
    names = [file.with_name(f"{file.name}.{i + 1:03d}") for i in range(parts)]
    for i, name in enumerate(names):
        name.write_bytes(data[i * size : (i + 1) * size])
    file.unlink()
    return names


def add_300w_boxes(root: Path, part: str, boxes: dict[str, tuple[float, float, float, float]]) -> None:
    """The organisers' boxes: a cell array of structs."""
    cells = np.empty((1, len(boxes)), dtype=object)
    for i, (name, box) in enumerate(boxes.items()):
        cells[0, i] = {"imgName": name, "bb_detector": np.array([box]), "bb_ground_truth": np.zeros((1, 4))}
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / f"bounding_boxes_{part}.mat", {"bounding_boxes": cells})


LP_PHOTOS = (
    "AFW/AFW_134212_1_0", "AFW/AFW_134212_1_5", "HELEN/HELEN_100032540_1_3", "HELEN/HELEN_296814969_1_12",
    "IBUG/IBUG_image_003_1_1", "LFPW/LFPW_image_train_0001_2", "LFPW/LFPW_image_test_0002_4",
)  # fmt: skip


def make_300w_lp(root: Path, flips: bool = False) -> dict[str, Pixels]:
    """300W-LP: labels in landmarks/, a trap beside each photo, mirrored photos in the _Flip folders."""
    placed = {}
    for seed, name in enumerate(LP_PHOTOS):
        folder, stem = name.split("/")
        pixels = write_photo(root / f"{name}.jpg", "ibug68", seed)
        savemat(root / f"{name}.mat", {"pt2d": np.full((2, 68), 7.0), "roi": [[1, 1, 450, 450]]})
        label = root / "landmarks" / folder / f"{stem}_pts.mat"
        label.parent.mkdir(parents=True, exist_ok=True)
        savemat(label, {"pts_2d": pixels + 1.0, "pts_3d": np.zeros((68, 2))})
        placed[stem] = pixels
        if flips:
            mirrored = root / f"{folder}_Flip" / f"{stem}.jpg"
            mirrored.parent.mkdir(parents=True, exist_ok=True)
            write_image(mirrored, np.ascontiguousarray(photo_of(pixels)[:, ::-1]), quality=100)
    (root / "Code").mkdir()
    return placed


def make_aflw2000(root: Path, count: int = 3) -> dict[str, Pixels]:
    placed = {}
    for seed in range(count):
        name = f"image{seed + 2:05d}"
        placed[name] = pixels = write_photo(root / f"{name}.jpg", "ibug68", seed)
        points = np.hstack([pixels + 1.0, np.zeros((68, 1))]).T
        savemat(root / f"{name}.mat", {"pt3d_68": points, "pt2d": np.full((2, 21), -1.0)})
    return placed


def wflw_line(pixels: NDArray[Any], rectangle: Iterable[int], attributes: str, photo: str) -> str:
    numbers = " ".join(f"{value:.6f}" for value in np.asarray(pixels, dtype=np.float64).ravel())
    return f"{numbers} {' '.join(map(str, rectangle))} {' '.join(attributes)} {photo}"


def make_wflw(root: Path) -> dict[str, Pixels]:
    """Two training faces, the first two of them in one photo, and three test faces with attributes."""
    placed: dict[str, Pixels] = {}
    lists: dict[str, list[str]] = {"train": [], "test": []}
    rows = [
        ("train", "0--Parade/0_Parade_a_1.jpg", "000000"), ("train", "0--Parade/0_Parade_a_1.jpg", "100000"),
        ("test", "1--Handshaking/1_Handshaking_b_2.jpg", "100001"), ("test", "1--Handshaking/b 3.jpg", "000001"),
        ("test", "1--Handshaking/b 4.jpg", "000000"),
    ]  # fmt: skip
    for number, (split, photo, attributes) in enumerate(rows):
        path = root / "WFLW_images" / photo
        pixels = pixels_of("wflw98", number)
        if path.is_file():
            pixels = placed[f"{split}-1"]  # the same photo, so the same dots
        else:
            write_photo(path, "wflw98", number)
        lists[split].append(wflw_line(pixels, (20, 21, 119, 118), attributes, photo))
        placed[f"{split}-{len(lists[split])}"] = pixels
    folder = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    folder.mkdir(parents=True)
    for split, lines in lists.items():
        (folder / f"list_98pt_rect_attr_{split}.txt").write_text("\n".join(lines) + "\n")
    return placed


def make_cofw(root: Path, train: int = 2, test: int = 2) -> dict[str, tuple[Pixels, str]]:
    """COFW's two files as MATLAB 7.3 writes them: arrays transposed, cells as references; one photo grey."""
    placed = {}
    root.mkdir(parents=True, exist_ok=True)
    for split, count, suffix in (("train", train, "Tr"), ("test", test, "T")):
        with h5py.File(root / f"COFW_{split}_color.mat", "w", userblock_size=512) as file:
            cells = file.create_dataset(f"Is{suffix}", (1, count), dtype=h5py.ref_dtype)
            phis, boxes = np.zeros((87, count)), np.zeros((4, count))
            for i in range(count):
                pixels = pixels_of("cofw29", 10 * count + i)
                photo = photo_of(pixels, grey=i == 1)
                cells[0, i] = file.create_dataset(f"#refs#/{split}{i}", data=photo.T).ref
                hidden = np.arange(29) % (i + 2) == 0
                phis[:, i] = np.concatenate([pixels[:, 0] + 1, pixels[:, 1] + 1, hidden])
                boxes[:, i] = (21, 22, 80, 90)
                placed[f"{split}/{i + 1:06d}.png"] = (
                    pixels,
                    "".join("1" if flag else "0" for flag in hidden),
                )
            file[f"phis{suffix}"], file[f"bboxes{suffix}"] = phis, boxes
        with open(root / f"COFW_{split}_color.mat", "r+b") as header:
            header.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return placed


def make_300vw(root: Path, videos: Iterable[int] = (1, 114, 203, 410), frames: int = 5) -> dict[str, Pixels]:
    """Short clips in which the whole face moves, and a label for each frame."""
    placed = {}
    for video in videos:
        folder = root / f"{video:03d}"
        (folder / "annot").mkdir(parents=True)
        writer = cv2.VideoWriter(
            str(folder / "vid.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT)
        )
        for i in range(frames):
            pixels = pixels_of("ibug68", 7) + 3 * i  # far enough to tell one frame from the next
            writer.write(cv2.cvtColor(photo_of(pixels), cv2.COLOR_RGB2BGR))
            (folder / "annot" / f"{i + 1:06d}.pts").write_text(pts_text(pixels + 1))
            placed[f"{video:03d}/{i + 1:06d}"] = pixels
        writer.release()
    return placed


def make_dlib(root: Path, name: str = "labels_train.xml", markup: str = "ibug68") -> dict[str, Pixels]:
    placed, images = {}, []
    for seed in range(2):
        photo = f"photos/face {seed}.jpg"
        placed[Path(photo).stem] = pixels = write_photo(root / photo, markup, seed)
        width = len(str(len(pixels) - 1))
        parts = [f"<part name='{i:0{width}d}' x='{x}' y='{y}'/>" for i, (x, y) in enumerate(pixels)]
        box = "<box top='20' left='15' width='100' height='90'>"
        ignored = "<box top='1' left='1' width='9' height='9' ignore='1'/>"
        images.append(f"<image file='{photo}'>{box}{''.join(parts[::-1])}</box>{ignored}</image>")
    style = (
        "<?xml version='1.0' encoding='ISO-8859-1'?>\n<?xml-stylesheet type='text/xsl' href='style.xsl'?>\n"
    )
    (root / name).write_text(
        f"{style}<dataset><name>faces</name><images>{''.join(images)}</images></dataset>"
    )
    return placed


def make_coco(root: Path, name: str = "faces_train.json", whole_body: bool = False) -> dict[str, Pixels]:
    placed, images, annotations = {}, [], []
    for seed in range(2):
        stem = f"{seed + 1:012d}"
        placed[stem] = pixels = write_photo(root / "images" / f"{stem}.jpg", "ibug68", seed)
        triplets = np.column_stack([pixels, np.full(68, 2 - seed)]).ravel().tolist()
        images.append({"id": 100 + seed, "file_name": f"{stem}.jpg", "width": WIDTH, "height": HEIGHT})
        annotation: dict[str, Any] = {"id": seed, "image_id": 100 + seed, "category_id": 1, "iscrowd": 0}
        keys = ("face_kpts", "face_box") if whole_body else ("keypoints", "bbox")
        annotation |= {keys[0]: triplets, keys[1]: [15.0, 20.0, 100.0, 90.5]}
        if whole_body:
            annotation |= {"face_valid": True, "keypoints": [0] * 51, "bbox": [0, 0, 150, 130]}
        annotations.append(annotation)
    annotations.append({**annotations[0], "id": 7, "iscrowd": 1})
    (root / "annotations").mkdir()
    (root / "annotations" / name).write_text(json.dumps({"images": images, "annotations": annotations}))
    return placed
