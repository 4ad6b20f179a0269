"""Restored pixels keep the format and what the original said about itself."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from udair.data.encoding import ImageMetadata, encode, read_metadata
from udair.data.images import decode
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
