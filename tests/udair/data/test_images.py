import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from udair.data.images import DecodeLimits, decode, encode_png
from udair.errors import ConfigError, ImageError


def _encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return start + struct.pack(">I", 1000) + b"IDAT" + bytes(100)


RGB = Image.fromarray(np.arange(48 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 48, 3))


@pytest.mark.parametrize(
    ("name", "image", "kind"),
    [
        ("rgb", RGB, "PNG"),
        ("grey", RGB.convert("L"), "PNG"),
        ("palette", RGB.convert("P"), "PNG"),
        ("rgba", RGB.convert("RGBA"), "PNG"),
        ("cmyk", RGB.convert("CMYK"), "JPEG"),
        ("webp", RGB, "WEBP"),
        ("bitmap", RGB.convert("1"), "PNG"),
    ],
)
def test_every_mode_becomes_rgb8(name, image, kind):
    array = decode(_encode(image, kind))
    assert array.shape == (32, 48, 3)
    assert array.dtype == np.uint8
    assert array.flags.writeable


def test_sixteen_bits_are_scaled_not_clipped():
    wide = Image.fromarray((np.linspace(0, 65535, 32 * 32).reshape(32, 32)).astype(np.uint16))
    array = decode(_encode(wide))
    assert array[0, 0, 0] == 0
    assert array[-1, -1, 0] == 255
    assert 120 < int(array[16, 0, 0]) < 136


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(_encode(RGB, "JPEG", exif=exif)).shape == (48, 32, 3)


def test_transparent_pixels_become_white():
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert decode(_encode(clear)).min() == 255


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "NOT_AN_IMAGE"),
        (b"lens cleaned on Tuesday", "NOT_AN_IMAGE"),
        (_encode(RGB.resize((200, 200)), "JPEG")[:900], "TRUNCATED"),
        (_encode(RGB.resize((200, 200)))[:-200], "TRUNCATED"),
        (_bomb(30_000, 30_000), "TOO_MANY_PIXELS"),
        (_encode(Image.new("RGB", (1, 1))), "TOO_SMALL"),
    ],
)
def test_what_is_no_usable_image_is_refused_with_a_reason(data, reason):
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.reason == reason


def test_limits_are_enforced_before_pixels_are_decoded():
    data = _encode(RGB)
    with pytest.raises(ImageError) as caught:
        decode(data, DecodeLimits(max_bytes=10))
    assert caught.value.reason == "TOO_MANY_BYTES"
    with pytest.raises(ImageError) as caught:
        decode(data, DecodeLimits(max_pixels=100))
    assert caught.value.reason == "TOO_MANY_PIXELS"
    with pytest.raises(ConfigError):
        DecodeLimits(max_bytes=0)


def test_png_round_trip_is_lossless():
    array = np.asarray(RGB)
    assert np.array_equal(decode(encode_png(array)), array)
