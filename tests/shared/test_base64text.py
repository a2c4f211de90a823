"""Base64 as old clients write it. SECURITY 61."""

import base64
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.base64text import Base64Refused, Base64TooLarge, decode_base64_text

#: Its encodings use `+`, `/`, `-` and `_`, at both ends too.
EVERY_DIGIT = b"\xfb\xef\xbe" + bytes(range(256)) + b"\xff\xfe\xfb\xef\xbe"
STANDARD = base64.b64encode(EVERY_DIGIT).decode()
URL_SAFE = base64.urlsafe_b64encode(EVERY_DIGIT).decode()


def decode(text: str | bytes, max_bytes: int = 1000) -> bytes:
    """With room for every text of these tests."""
    return decode_base64_text(text, max_bytes=max_bytes)


@pytest.mark.parametrize(
    "text",
    [
        STANDARD,
        URL_SAFE,
        STANDARD.rstrip("="),
        URL_SAFE.rstrip("="),
        STANDARD.encode(),
        base64.encodebytes(EVERY_DIGIT).decode(),
        base64.encodebytes(EVERY_DIGIT).decode().replace("\n", "\r\n"),
        f"\n{STANDARD}\n",
        f"  {STANDARD} ",
        f"data:image/jpeg;base64,{URL_SAFE}",
        f"data:None;base64,{URL_SAFE}",
        f"data:;base64,{STANDARD}",
        f"data:image/png;charset=utf-8;base64,{STANDARD}",
        f"DATA:image/PNG;BASE64, {STANDARD}",
        f"b'{STANDARD}'",
        f'b"{URL_SAFE}"',
        f"data:image/png;base64,b'{STANDARD}'",
        f"b'data:image/png;base64,{URL_SAFE}'",
        STANDARD.replace("+", " "),
    ],
)
def test_s61_every_spelling_of_old_clients_is_read(text: str | bytes) -> None:
    assert decode(text) == EVERY_DIGIT


@given(content=st.binary(min_size=1, max_size=300))
def test_what_encoders_write_is_read_with_padding_and_without(content: bytes) -> None:
    """Also with the blanks that a form parser leaves, at either end."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(content).decode()
        assert decode(text) == decode(text.rstrip("=")) == decode(f"{text}\n") == content
    assert decode(base64.b64encode(content).decode().replace("+", " ")) == content


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "=",
        "==",
        "data:image/png;base64,",
        "b''",
        "A",
        "AAAAA",
        "AA*A",
        "AAA\0",
        "ÄÄÄÄ",
        "\ud800AAA",
        "AA==AA==",
        "AAAA====",
        "+___",
        "-/AA",
        "data:image/png,AAAA",
        "data:text/html;base64;base64,data:,",
        "<svg/>",
        "b'AAAA",
        "b'" * 300 + "'" * 300,
        "../../etc/passwd",
        # One digit further than the byte goes: what is left of a text that was cut.
        "AAB",
        "AB",
    ],
)
def test_s61_what_no_encoder_writes_is_refused(text: str) -> None:
    with pytest.raises(Base64Refused):
        decode(text)


@given(text=st.text(max_size=60))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    """No other exception escapes, whatever is sent."""
    try:
        content = decode(text)
    except Base64Refused:
        return
    assert len(content) <= 1000


@pytest.mark.parametrize("size", [999, 1000])
def test_s61_the_limit_is_on_decoded_bytes(size: int) -> None:
    """A prefix, padding and line breaks are not counted."""
    text = base64.encodebytes(b"\xfb" * size).decode()

    assert len(decode(f"data:image/jpeg;base64,{text}", 1000)) == size


@pytest.mark.parametrize("size", [1001, 1002, 1003, 5000])
def test_s61_one_byte_more_is_too_large(size: int) -> None:
    with pytest.raises(Base64TooLarge) as refused:
        decode(base64.b64encode(b"\xfb" * size), 1000)

    assert refused.value.limit_bytes == 1000


def test_s61_what_is_too_large_is_not_decoded() -> None:
    """A hundred megabytes of text are refused without a copy of them."""
    text = b"A" * 100_000_000
    tracemalloc.start()
    try:
        with pytest.raises(Base64TooLarge):
            decode(text, 5 * 1024 * 1024)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000
