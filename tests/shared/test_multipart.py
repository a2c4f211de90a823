"""The short way through a form finds what the full parser finds, or nothing."""

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from shared.multipart import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_FILES,
    FilePart,
    Parts,
    find_plain_parts,
)

PLAIN = "multipart/form-data; boundary=b0undary"
TITLE = b'--b0undary\r\nContent-Disposition: form-data; name="title"\r\n\r\nAnna\r\n'
IMAGE = (
    b'--b0undary\r\nContent-Disposition: form-data; name="image"; filename="a b.png"\r\n'
    b"Content-Type: image/png\r\n\r\n\x89PNG\r\n--b0und\r\n"
)
END = b"--b0undary--\r\n"

#: What bodies are made of, whole and broken.
PIECES = (
    TITLE, IMAGE, END, b"--b0undary", b"\r\n", b"\r\n--b0undary", b"--", b"\n", b"\0", b"\xff",
    b'Content-Disposition: form-data; name="x"', b'; filename="y"', b"Content-Type: text/plain",
    b"Content-Transfer-Encoding: base64", b": ", b"\r\n\r\n", b'"', b"; ", b"name*=utf-8''x",
)  # fmt: skip


async def fully_parsed(content_type: str, body: bytes) -> Parts:
    """What Starlette finds."""

    async def chunks() -> AsyncGenerator[bytes]:
        yield body

    parser = MultiPartParser(
        Headers({"content-type": content_type}),
        chunks(),
        max_files=MAX_FILES,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
        parts: Parts = []
        for name, part in form.multi_items():
            if isinstance(part, UploadFile):
                parts.append((name, FilePart(part.filename or "", await part.read())))
            else:
                parts.append((name, part))
        return parts
    finally:
        # It leaves a file open in which the body breaks off.
        for file in parser._files_to_close_on_error:
            file.close()


@pytest.mark.parametrize("end", [END, END.strip()])
async def test_a_plain_form_is_found_at_once(end: bytes) -> None:
    found = find_plain_parts(PLAIN, TITLE + IMAGE + end)
    assert found == [("title", "Anna"), ("image", FilePart("a b.png", b"\x89PNG\r\n--b0und"))]
    assert found == await fully_parsed(PLAIN, TITLE + IMAGE + end)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        END,
        TITLE,
        b"preamble\r\n" + TITLE + END,
        TITLE + END + b"epilogue",
        TITLE.replace(b"title", b"%22") + END,
        TITLE.replace(b"Anna", b"\xff") + END,
        TITLE.replace(b"Anna", b"a" * (MAX_FIELD_BYTES + 1)) + END,
        TITLE * (MAX_FIELDS + 1) + END,
        IMAGE * (MAX_FILES + 1) + END,
        IMAGE.replace(b"image/png", b"image/png\r\nX: " + b"y" * 10_000) + END,
        IMAGE.replace(b"a b.png", "ä.png".encode()) + END,
        IMAGE.replace(b"a b.png", b"") + END,
    ],
)
def test_s42_whatever_is_unusual_or_too_much_is_left_to_the_full_parser(body: bytes) -> None:
    assert find_plain_parts(PLAIN, body) is None


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "multipart/form-data",
        "multipart/mixed; boundary=b0undary",
        'multipart/form-data; boundary="b0undary"',
        "multipart/form-data; boundary=b0undary; charset=utf-16",
        f"multipart/form-data; boundary={'b' * 71}",
    ],
)
def test_an_unusual_type_is_left_to_the_full_parser(content_type: str) -> None:
    assert find_plain_parts(content_type, TITLE + END) is None


# The full parser leaves the file of a part that never ends to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), is_ended=st.booleans())
async def test_the_short_way_never_contradicts_the_full_parser(
    pieces: list[bytes], is_ended: bool
) -> None:
    body = TITLE + b"".join(pieces) + (b"\r\n" + END) * is_ended
    found = find_plain_parts(PLAIN, body)
    try:
        expected = await fully_parsed(PLAIN, body)
    except MultiPartException:
        assert found is None
    else:
        assert found is None or found == expected
