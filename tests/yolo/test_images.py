"""Images as they come in: every kind that is taken gives the same pixels, every other is refused in one short line."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError, SourceError
from casc_det.yolo.images import MOST_PIXELS, as_bgr, read_image
from casc_det.yolo.sources import Source

BGR = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
BGR[0, 0], BGR[0, 1] = 0, 255
RGB = BGR[..., ::-1].copy()
GRAY = BGR[..., 0]
THRICE = np.repeat(GRAY[..., None], 3, 2)
CHW = torch.from_numpy(RGB.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (BGR, BGR),
        (BGR[:, ::-1], BGR[:, ::-1]),
        (BGR.astype(np.int64), BGR),
        (BGR.astype(np.int16), BGR),
        (BGR.astype(np.uint16) * 257, BGR),
        ((BGR.astype(np.uint16) * 257).astype(">u2"), BGR),
        (BGR / 255, BGR),
        ((BGR / 255).astype(np.float32), BGR),
        ((BGR / 255).astype(np.float16), BGR),
        (np.dstack((BGR, GRAY)), BGR),
        (GRAY, THRICE),
        (GRAY[..., None], THRICE),
        (GRAY / 255, THRICE),
        (np.matrix(GRAY), THRICE),
        (np.ma.MaskedArray(BGR), BGR),
        (CHW, BGR),
        (CHW.float() / 255, BGR),
        ((CHW.double() / 255).requires_grad_(), BGR),
        (CHW[:1], np.repeat(RGB[..., :1], 3, 2)),
        (Image.fromarray(RGB), BGR),
        (Image.fromarray(GRAY), THRICE),
        (Image.fromarray(np.dstack((RGB, GRAY)), "RGBA"), BGR),
        (Image.fromarray(GRAY.astype(np.uint16) * 257), THRICE),
        (Image.fromarray(GRAY.astype(np.int32)), THRICE),
        (Image.fromarray(GRAY.astype(np.int32) * 257), THRICE),
        (Image.fromarray((GRAY / 255).astype(np.float32)), THRICE),
    ],
)
def test_every_kind_of_image_gives_the_same_pixels(given, expected):
    found = as_bgr(given)
    assert found.dtype == np.uint8 and found.flags.c_contiguous and np.array_equal(found, expected)


def test_bfloat16_tensor_is_read_within_its_precision():
    assert np.abs(as_bgr((CHW.float() / 255).bfloat16()).astype(int) - BGR).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "LA", "La", "PA", "RGBa"])
def test_pil_images_of_every_mode_are_taken(mode):
    image = Image.fromarray(np.full((8, 9, 3), 200, np.uint8))
    if mode in ("La", "PA"):
        image = image.convert({"La": "LA", "PA": "P"}[mode])
    if mode == "RGBa":
        image = image.convert("RGBA")
    found = as_bgr(image.convert(mode))
    assert found.shape == (8, 9, 3) and abs(int(found[4, 4, 0]) - (255 if mode == "1" else 200)) <= (
        55 if mode == "1" else 4
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (BGR.astype(np.float32), "float image with values 0..1, got 0 to 255; divide"),
        (BGR / 255 - 0.5, "got -0.5 to 0.5"),
        (BGR.astype(np.int64) - 1, "integers 0..255, got -1 to 254"),
        (BGR.astype(np.int64) * 2, "integers 0..255, got 0 to 510"),
        (BGR.astype(np.uint16), "spans 0..65535, got at most 255"),
        (BGR > 3, "dtype bool"),
        (BGR.astype(complex), "dtype complex128"),
        (BGR.astype(object), "dtype object"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.full((4, 4, 3), np.inf), "NaN or infinite"),
        (BGR.transpose(2, 0, 1), "looks like (C, H, W)"),
        (BGR[None], "several images as a list"),
        (BGR[..., :2], "got shape (20, 30, 2)"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros(5, np.uint8), "got shape (5,)"),
        (np.broadcast_to(np.uint8(0), (20000, 20000, 3)), "too large (20000 x 20000"),
        (np.broadcast_to(np.uint8(0), (2, 70000, 3)), "65500 a side"),
        (torch.from_numpy(BGR), "expected a tensor (3, H, W) or (B, 3, H, W) in RGB, got (20, 30, 3); use .permute"),
        (CHW.float(), "float image with values 0..1"),
        (CHW > 3, "dtype bool"),
        (np.ma.MaskedArray(BGR, BGR > 200), "masked values"),
        (torch.nested.nested_tensor([torch.zeros(3, 8, 8)]), "dense tensor of integers or floats, got a nested one"),
        (torch.zeros(1, 3, 8, 8).to_mkldnn(), "dense tensor"),
        (torch.zeros(3, 8, 8, device="meta"), "dense tensor"),
        (torch.zeros(0, 3, 8, 8), "a tensor without images"),
        (torch.zeros(3, 8, 8).to_sparse(), "dense tensor"),
        (torch.zeros(3, 0, 8), "no pixels"),
        (b"x" * 400000, "got bytes of 400000"),
        ([[1, 2], [3, 4]], "got [[1, 2], [3, 4]]"),
        ({"image": 1}, "got dict of 1"),
        (object(), "got object"),
        (3.5, "got 3.5"),
    ],
)
def test_what_is_no_image_is_refused_in_one_short_line(given, words):
    with pytest.raises(ArgumentError, match="^source") as caught:
        Source([given] if isinstance(given, list) else given)
    text = str(caught.value)
    assert words in text and len(text) < 300 and "\n" not in text


def test_tensor_of_several_images_may_be_one_of_a_list():
    frames = list(Source([torch.stack([CHW, CHW.flip(2)]), BGR]))
    assert [np.array_equal(f.image, image) for f, image in zip(frames, (BGR, BGR[:, ::-1], BGR), strict=True)] == [
        1
    ] * 3
    assert [f.path for f in frames] == ["image0.jpg", "image1.jpg", "image2.jpg"]


def test_shown_never_gives_the_data():
    assert len(shown("x" * 10**6)) < 80 and len(shown(list(range(10**6)))) < 80
    assert shown(10**400).count("0") < 80 and shown(np.zeros(9)) == "ndarray (9,)"


def png(width: int, height: int) -> bytes:
    """A PNG whose header is whole and says a size, without its pixels."""
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(b"\0" * 100)) + part(b"IEND", b"")


@pytest.mark.parametrize("size", [(30000, 30000), (10**6, 2), (2**31 - 1, 2**31 - 1), (14000, 14000)])
def test_bomb_is_refused_before_it_is_unpacked(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(png(*size))
    with pytest.raises(SourceError, match=r"too large|exceeds limit|cannot be read"):
        read_image(str(tmp_path / "bomb.png"))


def test_gif_and_tiff_bombs_are_refused_by_all_their_pixels(tmp_path):
    (tmp_path / "bomb.gif").write_bytes(
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0" + b"," + b"\0" * 20 + b";"
    )
    page = Image.new("1", (8000, 8000))
    page.save(tmp_path / "bomb.tif", save_all=True, append_images=[page, page], compression="group4")
    assert MOST_PIXELS < 3 * 8000**2 and (tmp_path / "bomb.tif").stat().st_size < 10**5
    source = Source(str(tmp_path))
    with pytest.raises(SourceError, match="2 files were skipped"):
        list(source)
    assert all("too large" in reason for _, reason in source.skipped)


def test_damaged_files_are_skipped_whatever_the_decoder_raises(tmp_path):
    random = np.random.default_rng(0)
    for suffix in ("png", "jpg", "webp", "avif", "gif", "tif", "bmp", "jp2"):
        stream = io.BytesIO()
        try:
            Image.fromarray(RGB).save(stream, {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix))
        except (KeyError, OSError):
            continue  # not built in
        for i in range(12):
            data = bytearray(stream.getvalue())
            for at in random.integers(0, len(data), 1 + i):
                data[at] = random.integers(256)
            (tmp_path / f"{suffix}{i}.{suffix}").write_bytes(data[: random.integers(len(data) // 2, len(data) + 1)])
    (tmp_path / "good.png").write_bytes(png(8, 1)[:0])
    Image.fromarray(RGB).save(tmp_path / "good.png")
    source = Source(str(tmp_path))
    frames = list(source)
    assert all(f.image.dtype == np.uint8 and f.image.ndim == 3 for f in frames)
    assert {f.path for f in frames} | {path for path, _ in source.skipped} == set(source.files)
    assert str(tmp_path / "good.png") in {f.path for f in frames} and all(len(r) < 300 for _, r in source.skipped)


def test_pixels_are_those_of_ultralytics(tmp_path):
    from ultralytics.utils.patches import imread

    exif = Image.Exif()
    exif[274] = 6  # rotate by 90 degrees
    Image.fromarray(RGB).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(RGB).save(tmp_path / "star*[1].png")
    Image.fromarray(RGB, "RGB").convert("CMYK").save(tmp_path / "cmyk.jpg")
    for name in ("turned.jpg", "star*[1].png", "cmyk.jpg"):
        assert np.array_equal(read_image(str(tmp_path / name)).image, imread(str(tmp_path / name))), name
    assert read_image(str(tmp_path / "turned.jpg")).image.shape == (30, 20, 3)
    assert np.array_equal(read_image(str(tmp_path / "star*[1].png")).image, BGR)


def test_drawings_are_not_handed_to_other_programs(tmp_path, monkeypatch):
    """Pillow has Ghostscript run the PostScript in an EPS file, whatever its name is."""
    from PIL import EpsImagePlugin

    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.eps").read_bytes())
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was run"))
    with pytest.raises(SourceError, match=r"is a drawing \(EPS\)"):
        read_image(str(tmp_path / "x.jpg"))
