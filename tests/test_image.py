"""Photos: what every kind of file becomes, what is refused, and where a reduced photo's pixels are."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fanlight import image as image_module
from fanlight.errors import InputError
from fanlight.image import MAX_SIDE, image_size, read_image, read_image_reduced, verify_image, write_image
from fanlight.image_header import read_header

RED, GREEN, BLUE = 200, 100, 50


def corner_photo(width: int, height: int) -> np.ndarray:
    """Grey, with a white top left corner of a quarter."""
    photo = np.full((height, width, 3), 60, dtype=np.uint8)
    photo[: height // 2, : width // 2] = 255
    return photo


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def jpeg(photo: np.ndarray, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    return encode(Image.fromarray(photo), "JPEG", exif=exif, quality=95, **options)


def png(width: int, height: int) -> bytes:
    """The start and the end of a PNG file of any size, with nothing between."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image_092 _01 é.jpg"


class TestReading:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
    def test_channels_are_red_green_blue(self, path: Path, kind: str) -> None:
        path.write_bytes(encode(Image.new("RGB", (30, 20), (RED, GREEN, BLUE)), kind))
        image = read_image(path)
        assert image.shape == (20, 30, 3)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        np.testing.assert_allclose(image.mean(axis=(0, 1)), (RED, GREEN, BLUE), atol=3)
        assert verify_image(path) == (30, 20)

    @pytest.mark.parametrize(
        ("mode", "kind"),
        [("L", "PNG"), ("L", "JPEG"), ("1", "PNG"), ("P", "PNG"), ("L", "TIFF"), ("L", "BMP"), ("LA", "PNG")],
    )
    def test_grey_and_palette_become_rgb(self, path: Path, mode: str, kind: str) -> None:
        path.write_bytes(encode(Image.new("L", (30, 20), 255).convert(mode), kind))
        np.testing.assert_array_equal(read_image(path), np.full((20, 30, 3), 255))

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_cmyk_becomes_rgb(self, path: Path, kind: str) -> None:
        path.write_bytes(encode(Image.new("RGB", (30, 20), (RED, GREEN, BLUE)).convert("CMYK"), kind))
        np.testing.assert_allclose(read_image(path).mean(axis=(0, 1)), (RED, GREEN, BLUE), atol=3)

    @pytest.mark.parametrize("ending", [".png", ".tiff"])
    def test_16_bits_are_scaled_to_8(self, path: Path, ending: str) -> None:
        deep = np.full((20, 30, 3), (BLUE * 257, GREEN * 257, RED * 257), dtype=np.uint16)
        path.write_bytes(cv2.imencode(ending, deep)[1].tobytes())
        np.testing.assert_allclose(read_image(path)[0, 0], (RED, GREEN, BLUE), atol=1)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_transparency_is_dropped(self, path: Path, kind: str) -> None:
        picture = Image.new("RGBA", (30, 20), (RED, GREEN, BLUE, 64))
        path.write_bytes(encode(picture, kind, **({"lossless": True} if kind == "WEBP" else {})))
        np.testing.assert_array_equal(read_image(path)[0, 0], (RED, GREEN, BLUE))

    @pytest.mark.parametrize("progressive", [False, True])
    @pytest.mark.parametrize(
        ("orientation", "corner"),
        list(enumerate(["tl", "tr", "br", "bl", "tl", "tr", "br", "bl"], 1)),
    )
    def test_exif_orientation_is_applied(
        self, path: Path, orientation: int, corner: str, progressive: bool
    ) -> None:
        # EXIF numbers where the stored top left corner is shown: 5 to 8 also swap width and height.
        path.write_bytes(jpeg(corner_photo(96, 64), orientation, progressive=progressive))
        image = read_image(path)
        height, width = (96, 64) if orientation >= 5 else (64, 96)
        assert image.shape == (height, width, 3)
        assert verify_image(path) == (width, height)
        rows, columns = np.nonzero(image[..., 0] > 150)
        assert ("t" if rows.mean() < height / 2 else "b") == corner[0]
        assert ("l" if columns.mean() < width / 2 else "r") == corner[1]

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_the_size_is_that_of_the_turned_photo(self, path: Path, kind: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x112] = orientation
        path.write_bytes(encode(Image.new("RGB", (31, 20), (RED, GREEN, BLUE)), kind, exif=exif))
        expected = (20, 31) if orientation >= 5 else (31, 20)
        assert image_size(path) == verify_image(path) == expected
        assert read_image(path).shape == (*expected[::-1], 3)

    def test_one_pixel_and_a_very_wide_photo(self, path: Path) -> None:
        for shape in ((1, 1), (20_000, 2), (MAX_SIDE, 1)):
            path.write_bytes(encode(Image.new("RGB", shape, (RED, GREEN, BLUE)), "PNG"))
            assert read_image(path).shape == (shape[1], shape[0], 3)

    @pytest.mark.parametrize("kind", [b"IEND", b"tEXt", b"iCCP", b"eXIf", b"tIME"])
    def test_a_wrong_checksum_beside_the_pixels_of_a_png_is_passed_over(
        self, path: Path, kind: bytes
    ) -> None:
        """As some editors leave it; what a damaged mark of orientation says is not believed."""
        photo = corner_photo(40, 30)
        exif = Image.Exif()
        exif[0x112] = 6
        data = encode(Image.fromarray(photo), "PNG")
        turning = exif.tobytes().removeprefix(b"Exif\0\0")
        content = {b"eXIf": turning, b"tEXt": b"Title\0face", b"tIME": bytes(7)}.get(kind, b"icc\0\0abc")
        chunk = struct.pack(">I4s", len(content), kind) + content + b"\0\0\0\0"
        path.write_bytes(data[:-4] + bytes(4) if kind == b"IEND" else data[:33] + chunk + data[33:])
        np.testing.assert_array_equal(read_image(path), photo)

    @pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT", b"tRNS"])
    def test_a_wrong_checksum_of_the_pixels_of_a_png_is_told(self, path: Path, kind: bytes) -> None:
        picture = Image.fromarray(corner_photo(40, 30)).convert("P")
        data = bytearray(encode(picture, "PNG", transparency=0))
        start = data.index(kind)
        data[start + 4 + struct.unpack(">I", data[start - 4 : start])[0]] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError, match="a checksum is wrong"):
            read_image(path)

    def test_data_after_the_end_of_a_jpeg_is_fine(self, path: Path) -> None:
        path.write_bytes(jpeg(corner_photo(96, 64)) + b"added by a camera" * 10)
        assert read_image(path).shape == (64, 96, 3)


class TestRefusing:
    def test_a_missing_file_a_folder_a_pipe_and_an_empty_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "empty.jpg").touch()
        for name, says in (
            ("none.jpg", "no such image"),
            ("", "not a file, so not an image"),
            ("pipe", "not a file, so not an image"),
            ("empty.jpg", "the image file is empty"),
            ("nul\0.jpg", "cannot read the image: embedded null byte"),
        ):
            path = os.path.join(tmp_path, name)
            for read in (read_image, verify_image):
                with pytest.raises(InputError, match="^" + re.escape(f"{path}: {says}")):
                    read(path)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
    @pytest.mark.parametrize("share", [0.03, 0.3, 0.6, 0.97])
    def test_a_cut_off_file(self, path: Path, kind: str, share: float) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        whole = encode(Image.fromarray(noise), kind)
        path.write_bytes(whole[: int(share * len(whole))])
        for read in (read_image, verify_image):
            with pytest.raises(InputError, match="^" + re.escape(f"{path}: ") + ".*replace or remove it"):
                read(path)

    @pytest.mark.parametrize("last", [1, 2, 3])
    def test_a_jpeg_that_lacks_its_last_bytes(self, path: Path, last: int) -> None:
        path.write_bytes(jpeg(corner_photo(96, 64))[:-last])
        with pytest.raises(InputError, match="cut off"):
            read_image(path)

    def test_a_jpeg_whose_end_was_never_written_to_disk(self, path: Path) -> None:
        whole = jpeg(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
        path.write_bytes(whole[:-300] + bytes(300))
        with pytest.raises(InputError, match="cut off"):
            read_image(path)

    @pytest.mark.parametrize(
        "content",
        [b"GIF89a" + bytes(100), b"<html>not found</html>", b"\0" * 1000, b"\xff\xd8\xff", b"BM", b"II*\0"],
    )
    def test_what_is_no_image(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"convert it to one of these|replace or remove it"):
            read_image(path)

    @pytest.mark.parametrize(
        ("width", "height", "says"),
        [
            (30_000, 30_000, "30000 x 30000 pixels are too many"),
            (MAX_SIDE + 1, 1, "32767 x 1 pixels are too many"),
            (2**31, 2**31, "pixels are too many"),
            (0, 10, "the image is 0 x 10 pixels"),
        ],
    )
    def test_a_bomb_is_refused_by_its_header(self, path: Path, width: int, height: int, says: str) -> None:
        path.write_bytes(png(width, height))
        with pytest.raises(InputError, match=says):
            read_image(path)

    def test_a_jpeg_of_very_many_scans(self, path: Path) -> None:
        """Each goes over all pixels, and may take a few bytes only."""
        grey = Image.fromarray(np.full((64, 64), 128, np.uint8))
        data = encode(grey, "JPEG", progressive=True)
        last = data.rindex(b"\xff\xda")
        tables = data.rindex(b"\xff\xc4", 0, last)
        scan = data[tables:-2]  # with its tables
        hidden = b"\xff\xfe\0\x04\xff\xd9"  # a comment that looks like the end
        path.write_bytes(data[:-2] + hidden + 40 * scan + data[-2:])
        assert read_image(path).shape == (64, 64, 3)
        path.write_bytes(data[:-2] + hidden + 50 * scan + data[-2:])
        with pytest.raises(InputError, match="too many scans"):
            read_image(path)
        path.write_bytes(data[:-2] + 1000 * b"\xff\xfe\0\x02" + 50 * scan + data[-2:])
        with pytest.raises(InputError, match="too many scans"):
            read_image(path)
        path.write_bytes(data + 1000 * b"\xff\xda")  # behind the end there may be anything
        assert read_image(path).shape == (64, 64, 3)

    def test_a_file_of_gigabytes_is_not_read(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(2 << 30)  # a sparse file
        with pytest.raises(InputError, match="2048 MiB are too large for a photo"):
            read_image(path)

    def test_opencv_prints_nothing_of_its_own(self, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path.write_bytes(encode(Image.new("RGB", (30, 20)), "BMP")[:100])
        with pytest.raises(InputError, match="the image is damaged or of an unusual kind"):
            read_image(path)
        assert capfd.readouterr().err == ""

    @settings(deadline=None, max_examples=80)
    @given(kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF"]), data=st.data())
    def test_damaged_bytes_give_a_photo_or_an_error(
        self, tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
    ) -> None:
        content = bytearray(encode(Image.fromarray(corner_photo(24, 16)), kind))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.getbasetemp() / "damaged"
        path.write_bytes(content)
        for read in (read_image, verify_image, lambda path: read_image_reduced(path, 2)[0]):
            try:
                result = read(path)
            except InputError as error:
                if not str(error).startswith(f"{path}: "):
                    raise
            else:
                assert isinstance(result, tuple) or (result.ndim == 3 and result.shape[2] == 3)


class TestReduced:
    @pytest.fixture
    def photo(self) -> np.ndarray:
        """A bright round spot on grey, in a photo of sides that nothing divides."""
        x, y = np.arange(403) + 0.5, np.arange(309)[:, None] + 0.5
        spot = np.exp(-((x - 141.3) ** 2 + (y - 188.6) ** 2) / (2 * 25**2))
        return np.repeat((60 + 150 * spot).round().astype(np.uint8)[..., None], 3, axis=2)

    @staticmethod
    def spot(image: np.ndarray) -> np.ndarray:
        """Where the spot is: its centroid (x, y), pixel centres at + 0.5."""
        weight = np.clip(image[..., 1].astype(float) - 70, 0, None)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
        return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()

    @pytest.mark.parametrize("reduce", [1, 2, 4, 8])
    @pytest.mark.parametrize("subsampling", [0, 2])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_matrix_says_where_things_are(
        self, path: Path, photo: np.ndarray, reduce: int, subsampling: int, orientation: int
    ) -> None:
        path.write_bytes(jpeg(photo, orientation, subsampling=subsampling))
        full = read_image(path)
        small, matrix = read_image_reduced(path, reduce)
        assert small.shape == (-(-full.shape[0] // reduce), -(-full.shape[1] // reduce), 3)
        assert small.flags.c_contiguous
        mapped = matrix[:, :2] @ self.spot(full) + matrix[:, 2]
        np.testing.assert_allclose(self.spot(small), mapped, rtol=0, atol=0.01)

    def test_the_channels_are_red_green_blue(self, path: Path) -> None:
        path.write_bytes(jpeg(np.full((64, 96, 3), (RED, GREEN, BLUE), dtype=np.uint8)))
        np.testing.assert_allclose(read_image_reduced(path, 4)[0][3, 3], (RED, GREEN, BLUE), atol=3)

    def test_other_formats_are_read_in_full(self, path: Path, photo: np.ndarray) -> None:
        path.write_bytes(encode(Image.fromarray(photo), "PNG"))
        image, matrix = read_image_reduced(path, 4)
        np.testing.assert_array_equal(image, photo)
        np.testing.assert_array_equal(matrix, np.eye(2, 3))

    def test_only_what_jpeg_offers(self, path: Path) -> None:
        with pytest.raises(ValueError, match="1, 2, 4 or 8, got 3"):
            read_image_reduced(path, 3)


class TestHeader:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
    @pytest.mark.parametrize("size", [(1, 1), (37, 90), (300, 200)])
    def test_size_of_every_format(self, kind: str, size: tuple[int, int]) -> None:
        header = read_header(encode(Image.new("RGB", size), kind))
        assert (header.format.upper(), header.width, header.height, header.orientation) == (kind, *size, 1)

    @pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
    def test_every_kind_of_webp(self, options: dict[str, object]) -> None:
        header = read_header(encode(Image.new("RGB", (300, 200)), "WEBP", **options))
        assert (header.width, header.height) == (300, 200)

    def test_a_big_endian_tiff(self) -> None:
        entries = [struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in ((256, 300), (257, 200))]
        header = read_header(b"MM\0*" + struct.pack(">IH", 8, 2) + b"".join(entries))
        assert (header.width, header.height) == (300, 200)

    def test_odd_exif_counts_as_upright(self) -> None:
        whole = jpeg(corner_photo(96, 64), 6)
        assert read_header(whole).orientation == 6
        at = whole.index(b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06")
        assert read_header(whole[: at + 9] + b"\x09" + whole[at + 10 :]).orientation == 1


class TestWriting:
    @pytest.mark.parametrize("ending", [".png", ".bmp", ".tiff", ".PNG"])
    def test_what_is_written_is_read_back(self, tmp_path: Path, ending: str) -> None:
        photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        path = tmp_path / f"né 1{ending}"
        write_image(path, photo)
        np.testing.assert_array_equal(read_image(path), photo)

    @pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".webp"])
    def test_quality_trades_size(self, tmp_path: Path, ending: str) -> None:
        photo = cv2.GaussianBlur(
            np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8), (0, 0), 2
        )
        write_image(tmp_path / f"good{ending}", photo)
        write_image(tmp_path / f"small{ending}", photo, quality=30)
        np.testing.assert_allclose(read_image(tmp_path / f"good{ending}"), photo, atol=25)
        sizes = [(tmp_path / f"{name}{ending}").stat().st_size for name in ("small", "good")]
        assert sizes[0] < 0.7 * sizes[1]

    @pytest.mark.parametrize(
        "photo",
        [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
            np.zeros((4, 4, 3)),
            np.zeros((0, 4, 3), np.uint8),
        ],
    )
    def test_other_arrays_are_refused(self, tmp_path: Path, photo: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"image should be \(H, W, 3\) uint8"):
            write_image(tmp_path / "a.png", photo)

    def test_other_endings_and_impossible_folders_are_refused(self, tmp_path: Path) -> None:
        photo = np.zeros((4, 4, 3), np.uint8)
        with pytest.raises(
            InputError, match=r"a.gif: the name should end in .jpg, .png, .webp, .bmp or .tiff"
        ):
            write_image(tmp_path / "a.gif", photo)
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"file/a\.png: cannot be written: .*file is no folder"):
            write_image(tmp_path / "file" / "a.png", photo)
        with pytest.raises(InputError, match=r"70000 x 1 pixels cannot be stored as .jpg; try .png"):
            write_image(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8))


def test_every_real_photo_is_read_by_both_ways(shared_data: Path) -> None:
    for path in sorted((shared_data / "faces68" / "lfpw" / "val").glob("*.jpg"))[:40]:
        height, width, _ = read_image(path).shape
        assert verify_image(path) == (width, height)
        assert image_module.read_header(path.read_bytes()).format == "JPEG"
