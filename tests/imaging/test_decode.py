"""Every kind of file of the table comes in as the pixels it shows, with what must not be lost."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps, PngImagePlugin

from restore_cli.errors import DecodeError
from restore_cli.imaging.decode import SUFFIXES, decode, decode_bytes
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import encode
from restore_cli.imaging.pillow import require_plugin
from restore_cli.settings import ReadSettings
from tests.imaging.files import builtin_srgb, chunk, exif_with, opened, packed, pattern, png, saved

LOSSLESS = ["PNG", "TIFF", "BMP", "PPM"]
LOSSY = ["JPEG", "WEBP", "AVIF"]


def samples(image: DecodedImage) -> np.ndarray:
    return np.rint(image.pixels * (65535 if image.bit_depth == 16 else 255)).astype(int)


def alpha_of(image: DecodedImage) -> np.ndarray:
    assert image.alpha is not None
    return np.rint(image.alpha * 255).astype(int)


@pytest.mark.parametrize("format_name", LOSSLESS + LOSSY)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_8_bit_gray_and_colour_come_in_as_pillow_shows_them(format_name: str, mode: str, tmp_path: Path) -> None:
    data = saved(Image.fromarray(pattern()).convert(mode), format_name)
    path = tmp_path / f"photo.{format_name.lower()}"
    path.write_bytes(data)
    image = decode(path)
    shown = np.asarray(opened(data))
    assert np.array_equal(samples(image), shown.reshape(20, 28, -1))
    assert image.channels == (1 if mode == "L" and format_name != "WEBP" else 3)
    assert (image.alpha, image.bit_depth, image.format) == (None, 8, format_name)
    assert image.warnings == ()
    assert image.pixels.dtype == np.float32


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_few_bits_is_stretched_to_white(bits: int) -> None:
    levels = np.arange(21).reshape(3, 7) % 2**bits
    image = decode_bytes(png(7, 3, bits, 0, packed(levels, bits)), "x.png")
    np.testing.assert_allclose(image.pixels[..., 0], levels / (2**bits - 1), atol=0.5 / 255)
    assert image.alpha is None


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_colour_key_makes_gray_of_any_depth_transparent_there(bits: int) -> None:
    levels = np.arange(21).reshape(3, 7) % 2**bits * (1 if bits < 16 else 1001)
    key = int(levels[1, 2])
    data = png(7, 3, bits, 0, packed(levels, bits), chunk(b"tRNS", struct.pack(">H", key)))
    image = decode_bytes(data, "x.png")
    assert np.array_equal(alpha_of(image) == 0, levels == key)
    assert set(np.unique(alpha_of(image))) == {0, 255}
    visible = levels != key
    np.testing.assert_allclose(image.pixels[..., 0][visible], (levels / (2**bits - 1))[visible], atol=0.5 / 255)


def test_a_colour_key_makes_one_rgb_colour_transparent() -> None:
    pixels = pattern()
    pixels[3:5, 4:9] = (7, 8, 9)
    image = decode_bytes(saved(pixels, "PNG", transparency=(7, 8, 9)), "x.png")
    assert np.array_equal(alpha_of(image) == 0, (pixels == (7, 8, 9)).all(axis=2))
    assert np.array_equal(samples(image)[image.alpha == 1], pixels[image.alpha == 1])


@pytest.mark.parametrize("format_name", ["PNG", "GIF", "TIFF", "BMP"])
def test_the_network_never_sees_palette_indices(format_name: str) -> None:
    pixels = Image.fromarray(pattern()).quantize(16)
    image = decode_bytes(saved(pixels, format_name), f"x.{format_name.lower()}")
    assert image.channels == 3
    assert np.array_equal(samples(image), np.asarray(pixels.convert("RGB")))


def test_a_palette_with_transparency_becomes_colour_and_alpha() -> None:
    pixels = Image.fromarray(pattern()).quantize(8)
    data = saved(pixels, "PNG", transparency=bytes([0, 60, 120, 255, 255, 255, 255, 255]))
    image = decode_bytes(data, "x.png")
    expected = np.asarray(opened(data).convert("RGBA"))
    assert np.array_equal(alpha_of(image), expected[..., 3])
    assert np.array_equal(samples(image)[image.alpha > 0], expected[..., :3][expected[..., 3] > 0])


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_kept_apart(format_name: str, mode: str) -> None:
    pixels = Image.fromarray(np.dstack([pattern(), pattern(channels=1, seed=5)[..., 0] | 1])).convert(mode)
    options = {"lossless": True, "exact": True} if format_name == "WEBP" else {}
    image = decode_bytes(saved(pixels, format_name, **options), f"x.{format_name.lower()}")
    assert np.array_equal(alpha_of(image), np.asarray(pixels.getchannel("A")))
    assert np.array_equal(samples(image)[..., 0], np.asarray(pixels.getchannel(0)))
    assert image.channels == (1 if mode == "LA" and format_name != "WEBP" else 3)


def test_premultiplied_alpha_is_divided_out() -> None:
    pixels = np.zeros((4, 5, 4), np.uint8)
    pixels[...] = (50, 25, 100, 128)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb", extrasamples=["assocalpha"])
    image = decode_bytes(buffer.getvalue(), "x.tif")
    np.testing.assert_allclose(image.pixels[0, 0] * 255, np.array([50, 25, 100]) * 255 / 128, atol=1)


def test_opaque_alpha_stays_an_alpha_channel() -> None:
    image = decode_bytes(saved(Image.fromarray(pattern()).convert("RGBA"), "PNG"), "x.png")
    assert image.alpha is not None
    assert (image.alpha == 1).all()


def test_colour_bleeds_under_what_is_transparent() -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, :10] = (200, 100, 50, 255)
    pixels[:, 20:] = (20, 220, 90, 255)
    image = decode_bytes(saved(pixels, "PNG"), "x.png")
    assert np.array_equal(samples(image)[:, :10], pixels[:, :10, :3])
    assert np.array_equal(samples(image)[:, 20:], pixels[:, 20:, :3])
    assert (samples(image)[:, 10:12] == (200, 100, 50)).all()
    assert samples(image).reshape(-1, 3).min(axis=0).tolist() == [20, 100, 50]


@pytest.mark.parametrize("visible", [(0, 0), (12, 4), (36, 52)])
def test_one_visible_pixel_colours_all_the_rest(visible: tuple[int, int]) -> None:
    pixels = np.zeros((37, 53, 4), np.uint8)
    pixels[visible] = (90, 120, 10, 1)
    image = decode_bytes(saved(pixels, "PNG"), "x.png")
    np.testing.assert_allclose(image.pixels * 255, np.broadcast_to([90, 120, 10], (37, 53, 3)), atol=1e-3)


def test_a_wholly_transparent_image_is_left_alone() -> None:
    image = np.dstack([pattern(), np.zeros((20, 28), np.uint8)])
    assert np.array_equal(samples(decode_bytes(saved(image, "PNG"), "x.png")), image[..., :3])


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_keeps_its_depth(format_name: str) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (9, 11), dtype=np.uint16)
    levels[0, :2] = (0, 65535)
    image = decode_bytes(saved(levels, format_name), "x")
    assert image.bit_depth == 16
    assert np.array_equal(samples(image)[..., 0], levels)


def test_dark_16_bit_gray_is_still_16_bit() -> None:
    image = decode_bytes(saved(np.full((4, 4), 200, np.uint16), "PNG"), "x.png")
    assert image.bit_depth == 16
    np.testing.assert_allclose(image.pixels, 200 / 65535, rtol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_16_bit_tiff_of_either_byte_order_and_polarity_is_read_right(order: str, photometric: str) -> None:
    levels = np.random.default_rng(1).integers(0, 65536, (9, 11), dtype=np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, photometric=photometric, byteorder=order)
    expected = levels if photometric == "minisblack" else 65535 - levels
    assert np.array_equal(samples(decode_bytes(buffer.getvalue(), "x.tif"))[..., 0], expected)


def test_integers_beyond_16_bits_are_refused() -> None:
    for value in (-1, 65536):
        levels = np.full((4, 4), value, np.int32)
        with pytest.raises(DecodeError, match=r"^x\.tif: .*65535"):
            decode_bytes(saved(levels, "TIFF"), "x.tif")


def test_floating_point_samples_within_0_and_1_become_16_bit() -> None:
    values = np.random.default_rng(2).random((9, 11), dtype=np.float32)
    image = decode_bytes(saved(values, "TIFF"), "x.tif")
    assert image.bit_depth == 16
    np.testing.assert_allclose(image.pixels[..., 0], values, atol=0.5 / 65535 + 1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.01, 1.01])
def test_floating_point_samples_outside_0_and_1_are_refused(value: float) -> None:
    values = np.full((4, 5), 0.5, np.float32)
    values[2, 3] = value
    with pytest.raises(DecodeError, match=r"^x\.tif: .*within 0 and 1"):
        decode_bytes(saved(values, "TIFF"), "x.tif")


def test_the_first_of_many_images_is_used_and_the_count_named() -> None:
    frames = [Image.fromarray(pattern(seed=seed)) for seed in range(3)]
    for format_name in ("GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"):
        data = saved(frames[0], format_name, save_all=True, append_images=frames[1:])
        image = decode_bytes(data, f"x.{'jpg' if format_name == 'MPO' else format_name.lower()}")
        assert image.format == format_name
        assert [line for line in image.warnings if "3 images" in line], format_name
        alone = decode_bytes(saved(frames[0], "JPEG" if format_name == "MPO" else format_name), "x")
        np.testing.assert_allclose(image.pixels, alone.pixels, atol=0.1)


def test_a_name_that_lies_costs_one_warning() -> None:
    image = decode_bytes(saved(pattern(), "PNG"), "holiday.jpg")
    assert image.format == "PNG"
    assert len(image.warnings) == 1
    assert "JPEG" in image.warnings[0]
    assert "PNG" in image.warnings[0]


@pytest.mark.parametrize("name", ["x.PNG", "x", "x.backup", "folder.jpg/x"])
def test_a_name_that_promises_nothing_else_costs_no_warning(name: str) -> None:
    assert decode_bytes(saved(pattern(), "PNG"), name).warnings == ()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_images_stand_upright_and_say_so(format_name: str, orientation: int) -> None:
    options = {"quality": 95} if format_name in ("JPEG", "AVIF") else {}
    options |= {"lossless": True} if format_name == "WEBP" else {}
    data = saved(pattern(), format_name, exif=exif_with(Orientation=orientation, Make="Maker"), **options)
    image = decode_bytes(data, f"x.{format_name.lower()}")
    assert np.array_equal(samples(image), np.asarray(ImageOps.exif_transpose(opened(data))))
    assert (image.height, image.width) == ((28, 20) if orientation > 4 else (20, 28))
    kept = Image.Exif()
    assert image.exif is not None
    kept.load(image.exif)
    assert kept[274] == 1
    assert kept[271] == "Maker"
    assert kept.get_ifd(0x8769) == {0x9003: "2021:05:04 03:02:01"}


def test_alpha_and_a_colour_key_turn_with_the_pixels() -> None:
    pixels = pattern()
    pixels[0, 0] = (7, 8, 9)
    data = saved(pixels, "PNG", transparency=(7, 8, 9), exif=exif_with(Orientation=6))
    image = decode_bytes(data, "x.png")
    assert np.argwhere(image.alpha == 0).tolist() == [[0, 19]]


def test_the_thumbnail_goes_and_the_resolution_turns() -> None:
    block = Image.Exif()
    block[274] = 8
    block[271] = "Maker"
    thumbnail = b"\xff\xd8thumbnail\xff\xd9"
    with_thumbnail = block.tobytes()[:-4] + struct.pack(">I", len(block.tobytes()) - 6)
    with_thumbnail += struct.pack(">HHHIIHHIII", 2, 513, 4, 1, len(with_thumbnail) + 24, 514, 4, 1, len(thumbnail), 0)
    data = saved(pattern(), "JPEG", exif=with_thumbnail + thumbnail, dpi=(300, 150))
    assert b"thumbnail" in data
    image = decode_bytes(data, "x.jpg")
    assert image.dpi == (150, 300)
    assert b"thumbnail" not in (image.exif or b"")


def test_xmp_is_kept_and_its_orientation_follows() -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6" note="kept"/>'
    image = decode_bytes(saved(pattern(), "JPEG", xmp=packet, exif=exif_with(Orientation=6)), "x.jpg")
    assert image.xmp == packet.replace(b'"6"', b'"1"')


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "BMP"])
def test_the_resolution_is_kept(format_name: str) -> None:
    image = decode_bytes(saved(pattern(), format_name, dpi=(300, 200)), "x")
    assert image.dpi == pytest.approx((300, 200), abs=0.1)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_no_resolution_is_made_up(format_name: str) -> None:
    assert decode_bytes(saved(pattern(), format_name, exif=exif_with(Make="Maker")), "x").dpi is None


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
        b"",
    ],
)
def test_broken_exif_never_fails_an_image(exif: bytes) -> None:
    for format_name in ("JPEG", "PNG", "WEBP"):
        image = decode_bytes(saved(pattern(), format_name, exif=exif), "x")
        assert (image.height, image.width) == (20, 28)


def test_random_damage_to_exif_never_fails_an_image() -> None:
    random = np.random.default_rng(7)
    sound = exif_with(Orientation=6, Make="Maker", XResolution=300.0)
    for _ in range(150):
        damaged = bytearray(sound)
        for position in random.integers(6, len(sound), 4):
            damaged[position] = int(random.integers(0, 256))
        assert decode_bytes(saved(pattern(), "PNG", exif=bytes(damaged)), "x").channels == 3


def test_an_icc_profile_that_is_srgb_stays_as_it_is() -> None:
    image = decode_bytes(saved(pattern(), "PNG", icc_profile=builtin_srgb()), "x.png")
    assert image.icc_profile == builtin_srgb()
    assert np.array_equal(samples(image), pattern())


def test_suffixes_in_folders_cover_every_format_in_lower_case() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".ppm"} <= SUFFIXES
    assert all(suffix == suffix.lower() for suffix in SUFFIXES)


def test_lab_is_converted_by_its_own_definition() -> None:
    levels = np.zeros((4, 4, 3), np.uint8)
    levels[:, :2, 0], levels[:, 2:, 0] = 255, 128  # lightness of 100 and 50.2, no chroma
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, photometric="cielab")
    image = decode_bytes(buffer.getvalue(), "x.tif")
    np.testing.assert_allclose(image.pixels[:, :2] * 255, 255, atol=1)
    np.testing.assert_allclose(image.pixels[:, 2:] * 255, 119.5, atol=1.5)


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_more_than_8_bits_is_never_cut_in_silence(bits: int) -> None:
    data = bytearray(saved(pattern(), "AVIF"))
    flags = data.index(b"av1C\x81") + 6
    data[flags] |= 0x40 if bits == 10 else 0x60
    try:
        warnings = decode_bytes(bytes(data), "x.avif").warnings
    except DecodeError:
        return  # the decoder noticed that the flag is a lie, which it is here
    assert warnings == (f"it has {bits} bits a channel: only the upper 8 are used",)


def test_what_there_is_of_a_damaged_file_is_read_if_allowed() -> None:
    pixels = pattern(160, 120)
    for kind in ("PNG", "JPEG", "BMP", "PPM", "GIF"):
        whole = saved(pixels, kind, **({"interlace": 0} if kind == "GIF" else {}))
        data = whole[: len(whole) * 2 // 3]
        with pytest.raises(DecodeError, match=r"^x: it is truncated; add --allow-damaged to use what there is of it$"):
            decode_bytes(data, "x")
        image = decode_bytes(data, "x", ReadSettings(allow_damaged=True))
        reference = decode_bytes(whole, "x")
        part = slice(-8, None) if kind == "BMP" else slice(8)  # a BMP begins at the bottom
        assert np.array_equal(image.pixels[part], reference.pixels[part]), kind
        assert len(image.warnings) == 1
        assert image.warnings[0].startswith("only what could be decoded is used: ")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_what_is_refused_as_damaged_is_never_read_without_a_word(kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif")
        require_plugin(kind)
    random = np.random.default_rng(3)
    data = saved(pattern(48, 64), kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    for _ in range(60):
        damaged = bytearray(data)
        for position in random.integers(12, len(data), int(random.integers(1, 9))):
            damaged[position] = int(random.integers(0, 256))
        try:
            decode_bytes(bytes(damaged), "x", ReadSettings(max_pixels=100000))
        except DecodeError:
            with suppress(DecodeError):
                warnings = decode_bytes(
                    bytes(damaged), "x", ReadSettings(max_pixels=100000, allow_damaged=True)
                ).warnings
                assert any(line.startswith("only what could be decoded is used: ") for line in warnings)


def test_a_few_bytes_that_declare_a_huge_image_are_refused_damaged_or_not() -> None:
    data = bytearray(saved(pattern(16, 16), "TIFF"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = {name: file.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength")}
    struct.pack_into("<H", data, tags["ImageWidth"], 9000)
    assert decode_bytes(bytes(data), "x", ReadSettings(allow_damaged=True)).width == 9000
    struct.pack_into("<H", data, tags["ImageLength"], 9000)
    with pytest.raises(DecodeError, match=r"^x: it is truncated$"):
        decode_bytes(bytes(data), "x", ReadSettings(allow_damaged=True))


def test_a_strict_reader_refuses_what_would_cost_a_warning() -> None:
    data = saved(pattern(), "PNG")
    assert decode_bytes(data, "x.png", ReadSettings(strict=True)).height == 20
    with pytest.raises(DecodeError, match=r"^x\.jpg: its name promises JPEG.*leave --strict out"):
        decode_bytes(data, "x.jpg", ReadSettings(strict=True))


def test_images_are_decoded_side_by_side() -> None:
    """Threads that decode strictly do not wait for each other; a lenient one does, and all are right."""
    import threading

    whole = saved(pattern(), "PNG")
    both_inside = threading.Barrier(2, timeout=30)
    from restore_cli.imaging import pillow

    def meet() -> None:
        with pillow.decoding():
            both_inside.wait()

    threads = [threading.Thread(target=meet) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both_inside.broken
    results: list[DecodedImage] = []
    torn = whole[: len(whole) // 2]
    lenient = threading.Thread(target=lambda: results.append(decode_bytes(torn, "x", ReadSettings(allow_damaged=True))))
    with pillow.decoding():
        lenient.start()
        lenient.join(0.2)
        assert results == []
    lenient.join(30)
    assert len(results) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"P1\n# two rows\n3 2\n1 0 1\n010", [[0, 255, 0], [255, 0, 255]]),
        (b"P4 9 1\n\x80\x80", [[0, 255, 255, 255, 255, 255, 255, 255, 0]]),
        (b"P2 3 1 17\n0 17\t# mid\n 5", [[0, 255, 75]]),
        (b"P5 2 1 17\n\x05\x11", [[75, 255]]),
        (b"P5 2 1 1000\n\x03\xe8\x01\xf4", [[65535, 32768]]),
        (b"Pf 1 2 -1.0\n\0\0\x80\x3f\0\0\0\0", [[0], [65535]]),
    ],
)
def test_netpbm_of_any_kind_fills_the_range(text: bytes, expected: list[list[int]]) -> None:
    assert samples(decode_bytes(text, "x"))[..., 0].tolist() == expected


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("exif", [None, {"Make": "Maker"}, {"Orientation": 3}])
def test_xmp_says_which_way_is_up_where_exif_does_not(format_name: str, exif: dict[str, object] | None) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'
    options: dict[str, object] = {} if exif is None else {"exif": exif_with(**exif)}
    if format_name == "TIFF":
        options = {"tiffinfo": {700: packet, **({274: 3} if exif == {"Orientation": 3} else {})}}
    elif format_name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        options |= {"pnginfo": text}
    else:
        options |= {"xmp": packet}
    image = decode_bytes(saved(pattern(), format_name, **options), "x")
    assert (image.height, image.width) == ((20, 28) if exif == {"Orientation": 3} else (28, 20))
    assert b'Orientation="1"' in (image.xmp or b"")


@pytest.mark.parametrize("between", [chunk(b"tEXt", b"Title\0x"), chunk(b"gAMA", b"\0\0\xb1\x8f")])
def test_pixel_chunks_of_a_png_that_are_torn_apart_are_damage(between: bytes) -> None:
    pixels = pattern(4, 4, 1)[..., 0]
    data = saved(pixels, "PNG")
    start = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, start)
    body = data[start + 8 : start + 8 + length]
    halves = chunk(b"IDAT", body[:5]), chunk(b"IDAT", body[5:])
    rest = data[start + 12 + length :]
    together, torn = (data[:start] + gap.join(halves) + rest for gap in (b"", between))
    assert decode_bytes(together, "x.png", ReadSettings(strict=True)).warnings == ()
    with pytest.raises(DecodeError, match=r"^x\.png: it is damaged: its parts are out of order"):
        decode_bytes(torn, "x.png")
    assert np.array_equal(samples(decode_bytes(torn, "x.png", ReadSettings(allow_damaged=True)))[..., 0], pixels)


@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (10, 11), (0, 1)])
def test_pixels_that_are_not_square_are_told(across: int, down: int) -> None:
    data = saved(pattern(), "PNG")
    png_file = data[:33] + chunk(b"pHYs", struct.pack(">IIB", across, down, 0)) + data[33:]
    jpeg_file = bytearray(saved(pattern(), "JPEG"))
    place = jpeg_file.index(b"JFIF\0") + 7
    jpeg_file[place : place + 5] = struct.pack(">BHH", 0, across, down)
    line = f"its pixels are not square ({across} across as long as {down} down): its result takes them for square"
    for stored in (png_file, bytes(jpeg_file)):
        image = decode_bytes(stored, "x")
        assert image.warnings == ((line,) if (across, down) in {(2, 1), (10, 11)} else ())
        assert image.dpi is None


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_heic_that_says_twice_which_way_is_up_is_turned_once(orientation: int) -> None:
    pytest.importorskip("pillow_heif")
    require_plugin("HEIF")
    stored = pattern(40, 64)
    image = decode_bytes(saved(stored, "HEIF", exif=exif_with(Orientation=orientation), quality=95), "x.heic")
    upright = np.rot90(stored, {3: 2, 6: -1, 8: 1}[orientation])
    for again in (image, decode_bytes(encode(image, format="HEIF"), "y.heic")):
        assert again.pixels.shape == upright.shape
        assert np.abs(again.pixels * 255 - upright).mean() < 10


def test_a_jpeg_without_a_resolution_gets_none_that_is_forbidden() -> None:
    written = encode(decode_bytes(saved(pattern(), "PNG"), "x"), format="JPEG")
    place = written.index(b"JFIF\0") + 7
    assert struct.unpack_from(">BHH", written, place) == (0, 1, 1)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_gray_with_a_profile_of_three_colours_stays_gray(format_name: str) -> None:
    gray = pattern(channels=1)[..., 0]
    image = decode_bytes(saved(gray, format_name, icc_profile=builtin_srgb()), "x")
    assert np.array_equal(np.rint(image.pixels[..., 0] * 255), gray)
    assert opened(encode(image, format=format_name)).mode == "L"
