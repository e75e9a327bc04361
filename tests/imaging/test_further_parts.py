"""What a file holds beside its image is named once, and nothing of it is claimed in what is kept."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from restore_cli.errors import DecodeError
from restore_cli.imaging.containers.further_parts import without_claims
from restore_cli.imaging.decode import decode, decode_bytes
from restore_cli.imaging.encode import encode
from restore_cli.imaging.pillow import require_plugin
from restore_cli.settings import ReadSettings
from tests.imaging.files import builtin_srgb, chunk, exif_with, opened, pattern, saved

VIDEO = struct.pack(">I", 24) + b"ftypmp42\0\0\0\0isommp42" + bytes(500)
CONTAINER = "http://ns.google.com/photos/1.0/container/"
VOCABULARIES = {
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "Container": CONTAINER,
    "Item": f"{CONTAINER}item/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
CLAIMS = ("hdrgm", "GainMap", "Container", "Item", "MotionPhoto", "MicroVideo", "GDepth", "HasExtendedXMP")
SUBJECT = "<dc:subject><rdf:Bag><rdf:li>a &gt; b</rdf:li></rdf:Bag></dc:subject>"
DIRECTORY = (
    '<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary"/></rdf:li>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Length="9"/></rdf:li></rdf:Seq>'
    "</Container:Directory>"
)
MOTION = "<GCamera:MotionPhoto>1</GCamera:MotionPhoto>"


def packet(attributes: str = "", elements: str = "") -> bytes:
    """Return XMP with a title and a subject, and what is given beside them."""
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in VOCABULARIES.items())
    text = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'{names}><rdf:Description rdf:about="" dc:title="Stra\u00dfe > Weg" {attributes}>{SUBJECT}{elements}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return text.encode()


def segment(body: bytes, marker: int = 0xE1) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def jpeg(xmp: bytes, *segments: bytes) -> bytes:
    data = saved(pattern(), "JPEG", xmp=xmp)
    return data[:2] + b"".join(segments) + data[2:]


def index_of_images(*kinds: int) -> bytes:
    """Return the segment that names images of these kinds (CIPA DC-007)."""
    entries = b"".join(struct.pack(">IIIHH", kind, 100, 0, 0, 0) for kind in kinds)
    table = struct.pack(
        ">HHHI4sHHIIHHIII", 3, 0xB000, 7, 4, b"0100", 0xB001, 4, 1, len(kinds), 0xB002, 7, len(entries), 50, 0
    )
    return segment(b"MPF\0MM\0*" + struct.pack(">I", 8) + table + entries, 0xE2)


GAIN_MAP = saved(pattern(10, 14, 1)[..., 0], "JPEG", xmp=packet('hdrgm:Version="1.0" hdrgm:GainMapMax="2.5"'))
FILES = {
    "a gain map": jpeg(packet('hdrgm:Version="1.0"', DIRECTORY), index_of_images(0x30000, 0)) + GAIN_MAP,
    "a video": jpeg(packet('GCamera:MicroVideo="1" GCamera:MicroVideoOffset="524"', MOTION)) + VIDEO,
    "a depth map and extended XMP": jpeg(
        packet('GDepth:Mime="image/png" xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF"'),
        segment(b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + packet('GDepth:Data="QUJD"')),
    ),
    "extended XMP": jpeg(
        packet("xmpNote:HasExtendedXMP='0123456789ABCDEF0123456789ABCDEF'"),
        segment(b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + packet()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("target", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_lies_beside_the_image_is_named_once_and_claimed_no_more(name: str, target: str) -> None:
    image = decode_bytes(FILES[name], "holiday.jpg")
    assert image.warnings == (f"it also holds {name}: left out",)
    assert image.format == "JPEG"
    with pytest.raises(DecodeError, match=f"holds {name}"):
        decode_bytes(FILES[name], "holiday.jpg", ReadSettings(strict=True))
    written = encode(image, format=target)
    for claim in CLAIMS:
        assert claim.encode() not in written.replace(VOCABULARIES["GCamera"].encode(), b""), claim
    kept = decode_bytes(written, "x", ReadSettings(strict=True)).xmp
    assert kept is not None
    assert "Stra\u00dfe > Weg".encode() in kept
    assert SUBJECT.encode() in kept
    ElementTree.fromstring(kept.decode())  # noqa: S314 - our own


@pytest.mark.parametrize("source", ["PNG", "WEBP", "TIFF"])
def test_other_formats_claim_nothing_either(source: str) -> None:
    stale = packet('hdrgm:Version="1.0"', DIRECTORY)
    kept = decode_bytes(_with_xmp(source, stale), "x").xmp or b""
    assert SUBJECT.encode() in kept
    assert not any(claim.encode() in kept for claim in CLAIMS)


def _with_xmp(source: str, xmp: bytes) -> bytes:
    if source == "WEBP":
        return saved(pattern(), "WEBP", xmp=xmp)
    if source == "TIFF":
        return saved(pattern(), "TIFF", tiffinfo={700: xmp})
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return saved(pattern(), "PNG", pnginfo=text)


def test_the_rest_of_xmp_stays_byte_for_byte() -> None:
    kept = packet('GCamera:BurstID="7"')
    for prefix in ("hdrgm", "Container", "Item", "GDepth"):
        kept = kept.replace(f' xmlns:{prefix}="{VOCABULARIES[prefix]}"'.encode(), b"")
    assert without_claims(kept) == kept
    assert without_claims(packet('GCamera:BurstID="7" GCamera:MotionPhoto="1"')) == kept
    assert without_claims(packet('GCamera:BurstID="7"', '<hdrgm:Version a=">"/><Item:a><dc:b/></Item:a>')) == kept


@pytest.mark.parametrize("cut", [b"</rdf:RDF>", b"</rdf:Description>"])
def test_xmp_with_claims_that_cannot_be_read_is_left_out_with_a_word(cut: bytes) -> None:
    broken = packet('hdrgm:Version="1.0"').replace(cut, b"")
    image = decode_bytes(saved(pattern(), "JPEG", xmp=broken), "x")
    assert (image.xmp, image.warnings) == (None, ("its XMP is broken and was left out",))


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_xmp_of_16_bits_a_sign_comes_out_as_all_formats_hold_it(coding: str) -> None:
    stale = packet("GCamera:MotionPhoto='1'").decode().encode(coding)
    image = decode_bytes(saved(pattern(), "JPEG", xmp=stale), "x")
    for target in ("JPEG", "PNG", "WEBP", "TIFF"):
        kept = decode_bytes(encode(image, format=target), "x").xmp
        assert kept == without_claims(packet("GCamera:MotionPhoto='1'"))


def test_xmp_that_swells_is_left_out() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>' + packet('hdrgm:Version="&b;"')
    assert decode_bytes(saved(pattern(), "JPEG", xmp=bomb), "x").xmp is None


@pytest.mark.parametrize(
    "body",
    [
        b"<x:c>" * 200_000,
        b'<x:c x:d="1"/>' * 300_000,
        b"".join(b'<b xmlns:n%d="u">' % number for number in range(20_000)),
    ],
)
def test_xmp_without_an_end_is_left_out(body: bytes) -> None:
    assert without_claims(b'<x:a xmlns:x="http://ns.adobe.com/hdr-gain-map/1.0/">' + body + b"</x:a>") is None


def test_previews_in_an_index_of_images_are_no_images() -> None:
    behind = saved(pattern(5, 7), "JPEG")
    assert (
        decode_bytes(jpeg(packet(), index_of_images(0x30000, 0x10001)) + behind, "x", ReadSettings(strict=True)).format
        == "JPEG"
    )
    pair = decode_bytes(jpeg(packet(), index_of_images(0x20003, 0x20003)) + behind, "x")
    assert (pair.format, pair.warnings) == ("MPO", ("it holds 2 images: only the first is used",))


def resource(number: int, body: bytes, signature: bytes = b"8BIM") -> bytes:
    return signature + struct.pack(">HHI", number, 0, len(body)) + body + bytes(len(body) % 2)


def with_segment(marker: int, body: bytes) -> bytes:
    data = saved(pattern(), "JPEG")
    return data[:2] + segment(body, marker) + data[2:]


def with_chunk(kind: bytes, body: bytes) -> bytes:
    data = saved(pattern(), "PNG")
    return data[:33] + chunk(kind, body) + data[33:]


def with_riff_chunk(kind: bytes, body: bytes) -> bytes:
    data = saved(pattern(), "WEBP") + kind + struct.pack("<I", len(body)) + body
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def with_tag(tag: int, body: bytes, order: str = "<") -> bytes:
    buffer = io.BytesIO()
    extra = [(tag, 7, len(body), body, True)]
    tifffile.imwrite(buffer, pattern(), photometric="rgb", extratags=extra, byteorder=order, metadata=None)
    return buffer.getvalue()


def with_box(format_name: str, kind: bytes, body: bytes) -> bytes:
    return saved(pattern(), format_name) + struct.pack(">I4s", 8 + len(body), kind) + body


MANIFEST = b"\0\0\0\x1cjumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\3c2pa\0"
PATH = resource(2000, bytes(52))
BESIDE = {
    "Content Credentials (C2PA)": [
        with_segment(0xEB, b"JP\0\1\0\0\0\1" + struct.pack(">I4s", 8 + len(MANIFEST), b"jumb") + MANIFEST),
        with_chunk(b"caBX", MANIFEST),
        with_riff_chunk(b"C2PA", MANIFEST),
        with_tag(52545, MANIFEST),
        with_box("AVIF", b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + MANIFEST),
        saved(pattern(), "GIF")[:-1] + b"\x21\xff\x0bC2PA_GIF\1\0\0\x04\1\2\3\4\0;",
    ],
    "layers": [
        with_tag(37724, b"Adobe Photoshop Document Data Block\0MIB8ryaL" + bytes(40)),
        with_tag(37724, b"Adobe Photoshop Document Data Block\0008BIMLr16" + bytes(40), ">"),
        with_chunk(b"mkBF", bytes(72)),
    ],
    "clipping paths": [
        with_segment(0xED, b"Photoshop 3.0\0" + resource(1005, bytes(16)) + PATH),
        with_tag(34377, resource(1005, bytes(16)) + PATH),
    ],
    "thermal data": [with_segment(0xE1, b"FLIR\0\1\0\0" + bytes(64)), with_segment(0xE2, b"\0\2\0\1IJPEG\0")],
    "georeferencing": [with_tag(33550, bytes(24)), with_tag(34735, bytes(8))],
    "data of its maker": [with_segment(0xE6, b"GoPro\0DEVC" + bytes(20)), with_segment(0xE1, b"QVCI\0" + bytes(90))],
}


@pytest.mark.parametrize(("name", "number"), [(name, i) for name, files in BESIDE.items() for i in range(len(files))])
def test_what_is_no_image_is_named_whatever_holds_it(name: str, number: int) -> None:
    data = BESIDE[name][number]
    assert decode_bytes(data, "x").warnings == (f"it also holds {name}: left out",)
    with pytest.raises(DecodeError, match=f"^x: it also holds {re.escape(name)}: left out; leave --strict out"):
        decode_bytes(data, "x", ReadSettings(strict=True))


def test_what_an_image_holds_hides_no_image_behind_it() -> None:
    data = BESIDE["thermal data"][0]
    assert decode_bytes(data + data, "x").warnings[0] == "it holds 2 images: only the first is used"


def test_manifests_of_a_jpeg_xl_are_named() -> None:
    pytest.importorskip("pillow_jxl")
    require_plugin("JXL")
    buffer = io.BytesIO()
    Image.fromarray(pattern()).save(buffer, "JXL", exif=exif_with(Make="Maker"))
    plain = buffer.getvalue()
    for kind, body in ((b"jumb", MANIFEST), (b"brob", b"jumb" + bytes(30))):
        data = plain + struct.pack(">I4s", 8 + len(body), kind) + body
        assert decode_bytes(data, "x").warnings == ("it also holds Content Credentials (C2PA): left out",)
    assert decode_bytes(plain, "x", ReadSettings(strict=True)).format == "JXL"


def test_xmp_no_longer_leads_to_a_manifest() -> None:
    uri = 'xmlns:dcterms="http://purl.org/dc/terms/"'
    stale = packet(f'{uri} dcterms:provenance="self#jumbf=/c2pa/urn:uuid:1" dcterms:license="CC0"')
    kept = decode_bytes(saved(pattern(), "JPEG", xmp=stale), "x").xmp or b""
    assert b"jumbf" not in kept
    assert b'dcterms:license="CC0"' in kept


@pytest.mark.parametrize("split", [20, 36, 60])
def test_iptc_is_found_among_resources_of_other_programs_and_in_a_further_segment(split: int) -> None:
    record = b"\x1c\2\5\0\5Title"
    resources = resource(1005, bytes(16)) + resource(0x0404, b"other", b"AgHg") + resource(0x0404, record)
    data = saved(pattern(), "JPEG")
    for part in (resources[split:], resources[:split]):
        data = data[:2] + segment(b"Photoshop 3.0\0" + part, 0xED) + data[2:]
    assert decode_bytes(data, "x").iptc == record


def test_a_video_in_a_box_of_its_own_is_named() -> None:
    data = saved(pattern(), "AVIF") + struct.pack(">I4s", 8 + len(VIDEO), b"mpvd") + VIDEO
    assert decode_bytes(data, "x.avif").warnings == ("it also holds a video: left out",)


@pytest.mark.parametrize(
    "format_name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF", "AVIF", "HEIF", "JXL", "JXL in boxes"]
)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_images_one_behind_the_other_are_counted(format_name: str, count: int) -> None:
    format_name, in_boxes, _ = format_name.partition(" in boxes")
    require_plugin(format_name)
    options = {"use_container": True} if in_boxes else {}
    frames = [saved(pattern(seed=seed), format_name, **options) for seed in range(count)]
    image = decode_bytes(b"".join(frames), "x")
    assert image.warnings == ((f"it holds {count} images: only the first is used",) if count > 1 else ())
    assert np.array_equal(image.pixels, decode_bytes(frames[0], "x").pixels)


def test_an_image_that_is_no_frame_of_its_animation_is_counted() -> None:
    first, frame = Image.fromarray(pattern(seed=1)), Image.fromarray(pattern(seed=2))
    data = saved(first, "PNG", save_all=True, append_images=[frame], default_image=True)
    assert opened(data).n_frames == 2  # type: ignore[attr-defined]
    image = decode_bytes(data, "x.png")
    assert image.warnings == ("it holds 2 images: only the first is used",)
    assert np.array_equal(np.rint(image.pixels * 255), pattern(seed=1))


@pytest.mark.shared
@pytest.mark.parametrize(("name", "part"), [("ultrahdr", "gain map"), ("motion", "video"), ("extxmp", "depth map")])
def test_the_cases_of_the_development_material_claim_nothing(shared: Path, name: str, part: str) -> None:
    image = decode(shared / "cases" / f"{name}.jpg")
    assert [part in line for line in image.warnings] == [True]
    assert not any(claim.encode() in (image.xmp or b"") for claim in CLAIMS)


def with_blocks(*blocks: bytes) -> bytes:
    """Return a GIF with extensions behind its image."""
    return saved(pattern(), "GIF")[:-1] + b"".join(blocks) + b";"


def application(name: bytes, body: bytes) -> bytes:
    parts = [body[start : start + 255] for start in range(0, len(body), 255)]
    return b"\x21\xff\x0b" + name + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


XMP_OF_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
EXIF = exif_with(Make="Acme")
RECORD = b"\x1c\x02\x69\0\x04Head"
UNKNOWN = {
    "APP3 data (Meta)": with_segment(0xE3, b"Meta\0\0II*\0" + bytes(20)),
    "APP2 data (FPXR)": with_segment(0xE2, b"FPXR\0\0\1" + bytes(20)),
    "APP5 data": with_segment(0xE5, bytes(20)),
    "APP12 data ([picture info])": with_segment(0xEC, b"[picture info]\r\nShutter=1"),
    "a chunk npTc": with_chunk(b"npTc", bytes(32)),
    "a chunk ABCD": with_riff_chunk(b"ABCD", bytes(32)),
    "data of fractint003": with_blocks(application(b"fractint003", bytes(9))),
    "a text drawn over it": with_blocks(b"\x21\x01\x0c" + bytes(12) + b"\x02Hi\0"),
    "TIFF tag 65000": with_tag(65000, bytes(32)),
    "data of GDAL": with_tag(42112, b"<GDALMetadata/>\0"),
    "data of ImageJ": with_tag(50839, bytes(32)),
    "further EXIF data": jpeg(packet(), segment(EXIF), segment(EXIF.replace(b"Acme", b"Else"))),
    "a further XMP packet": jpeg(packet(), segment(XMP_OF_JPEG + packet("GCamera:BurstID='7'"))),
    "further IPTC records": with_segment(
        0xED, b"Photoshop 3.0\0" + resource(1028, RECORD) + resource(1028, 2 * RECORD)
    ),
    "data behind the image": saved(pattern(), "JPEG") + b"\0\0AXS!" + bytes(30),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_nobody_knows_of_is_named_as_it_names_itself(name: str) -> None:
    assert decode_bytes(UNKNOWN[name], "x").warnings == (f"it also holds {name}: left out",)


def test_what_lies_twice_in_a_file_is_said_once_and_without_a_word() -> None:
    resources = b"Photoshop 3.0\0" + resource(1028, RECORD) + resource(1028, RECORD)
    data = jpeg(packet(), segment(EXIF), segment(EXIF), segment(XMP_OF_JPEG + packet()), segment(resources, 0xED))
    assert decode_bytes(data, "x", ReadSettings(strict=True)).iptc == RECORD


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "WEBP"])
def test_data_behind_an_image_is_named_unless_it_is_padding(format_name: str) -> None:
    data = saved(pattern(), format_name)
    assert decode_bytes(data + bytes(500) + b"\n", "x").warnings == ()
    assert decode_bytes(data + b"a secret", "x").warnings == ("it also holds data behind the image: left out",)


def test_of_many_parts_a_few_are_named_and_the_others_counted() -> None:
    data = saved(pattern(), "PNG")
    chunks = b"".join(chunk(bytes([97, 98, 65 + number, 97]), b"") for number in range(20))
    (line,) = decode_bytes(data[:33] + chunks + data[33:], "x").warnings
    assert line.startswith("it also holds a chunk abAa and a chunk abBa")
    assert line.endswith(" and 12 more: left out")


def test_what_tells_of_the_old_compression_or_is_a_smaller_copy_goes_without_a_word() -> None:
    for data in (
        with_segment(0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0"),
        with_segment(0xE0, b"JFXX\0\x10" + bytes(30)),
        with_chunk(b"tIME", bytes(7)),
        with_chunk(b"bKGD", bytes(6)),
    ):
        assert decode_bytes(data, "x").warnings == ()


def test_a_chunk_whose_name_makes_no_sense_is_told_as_damage() -> None:
    assert decode_bytes(with_chunk(b"a\nb\0", b""), "x").warnings == (
        "a damaged or oversized part of its metadata was left out",
    )


def test_comments_of_a_gif_are_kept() -> None:
    long = b"x" * 300
    blocks = (b"\x21\xfe\x06caf\xc3\xa9\0\0", b"\x21\xfe\xff" + long[:255] + b"\x2d" + long[255:] + b"\0")
    image = decode_bytes(with_blocks(*blocks), "x")
    assert image.text == (("Comment", "caf\u00e9"), ("Comment", long.decode()))
    assert decode_bytes(encode(image, format="PNG"), "x").text == image.text
    assert image.warnings == ()


def test_xmp_iptc_and_the_profile_of_a_gif_are_kept() -> None:
    record = b"\x1c\2\5\0\5Title"
    end_of_xmp = bytes([1, *range(255, -1, -1), 0])
    image = decode_bytes(
        with_blocks(
            b"\x21\xff\x0bXMP DataXMP" + packet() + end_of_xmp,
            application(b"MGKIPTC0000", record),
            application(b"ICCRGBG1012", builtin_srgb()),
        ),
        "x",
    )
    assert (image.xmp, image.iptc, image.warnings) == (without_claims(packet()), record, ())
    assert image.icc_profile
    assert not decode_bytes(with_blocks(), "x").icc_profile


def test_the_profile_of_a_bitmap_is_followed() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    plain = saved(pattern(), "BMP")
    for body, warned in ((builtin_srgb(), False), (profile, True), (b"", True)):
        header = (
            struct.pack("<I", 124)
            + plain[18:54]
            + bytes(16)
            + b"DEBM"
            + bytes(48)
            + struct.pack("<4I", 0, 124, len(body), 0)
        )
        data = plain[:10] + struct.pack("<I", 14 + 124 + len(body)) + header + body + plain[54:]
        image = decode_bytes(data, "x")
        assert bool(image.warnings) == warned
        assert np.array_equal(image.pixels, decode_bytes(plain, "x").pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("swapped", [False, True])
def test_iptc_that_a_tiff_stores_as_numbers_comes_out_in_its_order(order: str, swapped: bool) -> None:
    record = b"\x1c\2\0\0\2\0\2\x1c\2\5\0\5Title\0\0\0"
    numbers = np.frombuffer(record, (">" if (order == "<") == swapped else "<") + "u4").tolist()
    buffer = io.BytesIO()
    tags = [(33723, 4, len(numbers), numbers, True)]
    tifffile.imwrite(buffer, pattern(), photometric="rgb", byteorder=order, extratags=tags, metadata=None)
    assert decode_bytes(buffer.getvalue(), "x").iptc == record
