import io
import struct
import zlib

import numpy as np
import odd_images
import pytest
from PIL import Image, ImageOps

from udair.data.images import DecodeLimits, decode, encode_png
from udair.data.structure import declared_size
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


def _refusal(data: bytes, limits: DecodeLimits | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, limits)
    return caught.value.reason


@pytest.mark.parametrize(
    "data",
    [
        odd_images.many_scans(200),
        odd_images.huge_tile(),
        odd_images.with_chunks(_encode(RGB), odd_images.chunk(b"tEXt", b"a\0b") * 2000),
        odd_images.with_chunks(_encode(RGB), odd_images.chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 80),
        b"\xff\xd8" + b"\xff\xfe\0\x02" * 20_000,
    ],
    ids=["scans", "tile", "chunks", "texts", "segments"],
)
def test_work_that_the_size_does_not_explain_is_refused_unseen(data):
    assert _refusal(data) == "TOO_COSTLY"


def test_what_cameras_write_is_not_too_costly():
    assert decode(_encode(RGB.resize((640, 480)), "JPEG", progressive=True)).shape == (480, 640, 3)
    # A film behind the picture, as phones append it: bytes that look like scans by chance count for nothing.
    assert decode(_encode(RGB, "JPEG") + b"\xff\xda" * 500).shape == (32, 48, 3)
    many = _encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)))
    assert decode(many).shape == (900, 900, 3)


def test_a_webp_is_measured_before_its_decoder_takes_memory():
    assert _refusal(odd_images.huge_webp(16_000, 16_000)) == "TOO_MANY_PIXELS"
    for lossless in (True, False):
        assert declared_size(_encode(RGB, "WEBP", lossless=lossless)) == (48, 32)
    assert declared_size(_encode(RGB.convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")) == (48, 32)


@pytest.mark.parametrize(
    "data",
    [
        _encode(RGB, "GIF"),
        _encode(RGB, "AVIF"),
        b"\0\0\0\x18ftypheic\0\0\0\0",
        b"\xff\x0a\0",
        b"P3\n2 2\n255\n",
        b"8BPS\0\1",
    ],
    ids=["gif", "avif", "heic", "jxl", "plain pnm", "psd"],
)
def test_formats_that_are_not_offered_are_called_so(data):
    assert _refusal(data) == "UNSUPPORTED"


RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize(
    ("samples", "tags"),
    [
        (RAMP.astype(np.float32), {}),
        ((255 * RAMP).astype(np.float32), {341: ("f", (255.0,))}),
        ((4095 * RAMP).astype(np.uint16), {281: ("H", (4095,))}),
        ((3987 * RAMP / 0.9737).astype(np.uint16), {281: ("H", (3987,))}),
        ((65535 * RAMP).astype(np.uint16), {}),
        ((65535 * RAMP[::-1, ::-1]).astype(np.uint16), {262: ("H", (0,))}),
        ((1_000_000 * RAMP).astype(np.int32), {341: ("I", (2**20 - 1,))}),
    ],
    ids=["float", "float 255", "12 in 16", "brightest is named", "16", "white is zero", "32"],
)
def test_white_is_what_the_file_says(samples, tags):
    array = decode(odd_images.tiff(samples, tags=tags))
    assert int(array.min()) == 0
    assert 240 <= int(array.max()) <= 255
    assert 110 < float(array.mean()) < 132


@pytest.mark.parametrize(
    "samples",
    [
        (4095 * RAMP).astype(np.uint16),
        (255 * RAMP).astype(np.float32),
        (1_000_000 * RAMP).astype(np.int32),
        (30_000 * RAMP).astype(np.int16),
        np.full((64, 64), np.nan, np.float32),
        np.repeat((4000 * RAMP).astype(np.uint16)[..., None], 3, axis=2),
    ],
    ids=["12 in 16", "float 255", "32", "signed", "nan", "colour of 12 in 16"],
)
def test_white_that_nothing_says_is_not_guessed(samples):
    assert _refusal(odd_images.tiff(samples)) == "UNSUPPORTED"


def test_sixteen_bits_of_colour_are_read():
    wide = np.repeat((65535 * RAMP).astype(np.uint16)[..., None], 3, axis=2)
    assert int(decode(odd_images.tiff(wide)).max()) == 255


def test_transparent_grey_of_sixteen_bits_becomes_white():
    grey = np.full((16, 16), 20_000, np.uint16)
    grey[8:] = 500
    clear = odd_images.with_chunks(_encode(Image.fromarray(grey)), odd_images.chunk(b"tRNS", struct.pack(">H", 500)))
    array = decode(clear)
    assert (int(array[0].max()), int(array[-1].min())) == (78, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_put_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _encode(RGB, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(decode(data), np.asarray(ImageOps.exif_transpose(image)))
