"""Restored pixels keep the format and what the original said about itself."""

from __future__ import annotations

import io

import numpy as np
import odd_images
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from udair.data.encoding import ImageMetadata, dropped, encode, read_metadata
from udair.data.images import DecodeLimits, decode
from udair.errors import ConfigError, ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, ORIENTATION, EXPOSURE = 0x010F, 0x0112, 0x829A


def camera_file(kind: str) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[MAKE] = "Gauge"
    exif[0x8769] = {EXPOSURE: (1, 50)}
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, exif=exif.tobytes(), icc_profile=PROFILE)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("format", ["same", "png", "jpeg", "webp", "tiff"])
def test_camera_and_colour_stay_and_the_rotation_is_in_the_pixels(kind, format):
    data = camera_file(kind)
    upright = decode(data)
    with Image.open(io.BytesIO(encode(upright, read_metadata(data), format=format))) as written:
        assert written.format == (kind if format == "same" else format.upper())
        assert written.size == (24, 40)
        exif = written.getexif()
        assert exif.get(ORIENTATION, 1) == 1
        assert exif[MAKE] == "Gauge"
        if "TIFF" not in (kind, written.format):
            assert exif.get_ifd(0x8769)[EXPOSURE] in ((1, 50), 1 / 50)
        assert written.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_formats_without_loss_lose_nothing(kind):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind)
    np.testing.assert_array_equal(decode(encode(PIXELS, read_metadata(buffer.getvalue()))), PIXELS)


def test_a_profile_of_other_colours_is_dropped():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert("CMYK").save(buffer, "JPEG", icc_profile=PROFILE)
    assert read_metadata(buffer.getvalue()).icc_profile == b""


def test_broken_exif_costs_the_exif_only():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert encode(PIXELS, read_metadata(buffer.getvalue()))


def test_what_is_no_image_or_no_quality_is_refused():
    with pytest.raises(ImageError, match="no JPEG"):
        read_metadata(b"<html>")
    with pytest.raises(ConfigError, match="quality is 0; expected 1 to 100"):
        encode(PIXELS, ImageMetadata("JPEG"), quality=0)


def test_a_png_is_not_decoded_for_what_it_says_beside(monkeypatch):
    decoded = []
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: decoded.append(image))
    assert read_metadata(odd_images.huge_png(500)).size == (500, 500)
    with pytest.raises(ImageError, match="at most 24000000 pixels"):
        read_metadata(odd_images.huge_png(5_000), DecodeLimits(max_pixels=24_000_000))
    assert not decoded


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tiff_keeps_no_word_about_the_pixels_it_had(channels):
    samples = np.random.default_rng(0).integers(0, 256, (24, 40, channels), dtype=np.uint8)
    extra = {338: ("H", (2,))} if channels == 4 else {}
    tags = extra | {271: ("B", tuple(b"Gauge\0")), 270: ("B", tuple(b'{"shape": [24, 40]}\0')), 317: ("H", (1,))}
    data = odd_images.tiff(samples if channels > 1 else samples[..., 0], tags=tags)
    written = encode(decode(data), read_metadata(data))
    np.testing.assert_array_equal(decode(written), decode(data))
    with Image.open(io.BytesIO(written)) as image:
        assert image.mode == "RGB"
        assert image.getexif()[MAKE] == "Gauge"
        assert not {270, 338, 339}.intersection(image.tag_v2)


def test_what_cannot_be_read_back_is_never_handed_out(monkeypatch):
    monkeypatch.setattr(Image.Image, "save", lambda image, buffer, **options: buffer.write(b"II*\0"))
    with pytest.raises(ImageError, match="cannot be read back"):
        encode(PIXELS, ImageMetadata("TIFF"))


def test_two_pictures_in_a_jpeg_are_a_jpeg():
    data = odd_images.two_pictures()
    metadata = read_metadata(data)
    assert metadata.format == "JPEG"
    written = encode(decode(data), metadata)
    with Image.open(io.BytesIO(written)) as image:
        assert image.getexif()[MAKE] == "Gauge"
    assert abs(decode(written).astype(int) - decode(data)).mean() < 3


def test_exif_that_a_format_cannot_hold_is_dropped_with_a_word():
    exif = Image.Exif()
    exif[MAKE], exif[0x9286] = "Gauge", bytes(70_000)
    metadata = ImageMetadata("PNG", exif.tobytes())
    assert dropped(metadata, 40, 24, format="png") == ""
    assert "JPEG holds 65533" in dropped(metadata, 40, 24, format="jpeg")
    assert decode(encode(PIXELS, metadata, format="jpeg")).shape == PIXELS.shape


@pytest.mark.parametrize(("format", "side"), [("jpeg", 65_501), ("webp", 16_384)])
def test_sides_beyond_a_format_are_refused_before_anything_is_restored(format, side):
    with pytest.raises(ImageError, match=f"sides of at most {side - 1} pixels. Ask for png or tiff"):
        dropped(ImageMetadata("PNG"), side, 24, format=format)
    assert dropped(ImageMetadata("PNG"), side - 1, 24, format=format) == ""
