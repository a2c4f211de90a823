"""Attack 68: webhooks that would make the platform call itself, its network, or a cloud's metadata.

A canary listens on loopback; nothing may ever reach it.
"""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.webhooks import AddressRefused, Guard, Sender
from shared.webhooks.addresses import Address, is_public
from shared.webhooks.sending import Answer
from tests.shared.webhooks.bell import Receiver, receiving

INSIDE = [
    "127.0.0.1",
    "0.0.0.0",  # noqa: S104 (nothing is bound)
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]


def resolving_to(*addresses: str) -> "FixedNames":
    """Every name has these addresses; each look-up takes the next answer."""
    return FixedNames([[ipaddress.ip_address(address) for address in addresses]])


class FixedNames:
    """A resolver that answers one thing after the other, and counts how often it is asked."""

    def __init__(self, answers: list[list[Address]]) -> None:
        self.answers = answers
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """The next answer; the last one for ever."""
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return answer


async def send(guard: Guard, url: str, certificates: ssl.SSLContext | None = None) -> Answer:
    """Try to deliver something."""
    async with Sender(guard, certificates=certificates) as sender:
        return await sender.send(url, "s", b"{}", delivery_id=uuid4(), event="e", attempt=1)


@pytest.mark.parametrize("address", INSIDE)
async def test_068_an_address_inside_is_refused_by_number_and_by_name(address: str) -> None:
    """However it is written, and whatever is packed inside it."""
    number = f"[{address}]" if ":" in address else address
    with pytest.raises(AddressRefused):
        await Guard().judge(f"https://{number}/")
    with pytest.raises(AddressRefused):
        await Guard(resolve=resolving_to(address)).judge("https://hooks.example.org/")
    with pytest.raises(AddressRefused):
        await Guard(resolve=resolving_to("93.184.216.34", address)).judge("https://example.org/")
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://0/",
        "https://localhost/",
        "https://localhost./",
        "https://user:password@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/#fragment",
        "https://example.org:99999/",
        "https://exa mple.org/",
        "https://example.org/\r\nX: y",
        "https:///path",
        "//example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "ftp://example.org/",
        "unix:///run/docker.sock",
        "https://[::1",
        "",
    ],
)
async def test_068_an_odd_address_is_refused(url: str) -> None:
    """With the real resolver where one is asked at all."""
    with pytest.raises(AddressRefused):
        await Guard().judge(url)


async def test_068_a_public_address_is_called_by_https_alone() -> None:
    """Unless it is listed, or inside and listed."""
    guard = Guard(["hooks.example.org", "10.1.0.0/16"], resolving_to("93.184.216.34"))
    with pytest.raises(AddressRefused):
        await guard.judge("http://other.example.org/")
    assert (await guard.judge("http://hooks.example.org/")).port == 80
    assert (await guard.judge("http://10.1.2.3:8080/a?b")).path == "/a?b"
    assert (await guard.judge("https://other.example.org/")).port == 443
    with pytest.raises(AddressRefused):
        await guard.judge("http://10.2.0.1/")


async def test_068_nothing_reaches_a_canary_on_loopback() -> None:
    """Neither directly, nor by a name that is public at the first look and loopback at the next."""
    async with receiving() as canary:
        rebinding = FixedNames(
            [[ipaddress.ip_address("192.0.2.1")], [ipaddress.ip_address("127.0.0.1")]]
        )
        for url in (f"http://127.0.0.1:{canary.port}/", f"https://localhost:{canary.port}/"):
            assert "refused" in str((await send(Guard(), url)).error)
        guard = Guard(resolve=rebinding)
        answers = [await send(guard, f"https://a.example.org:{canary.port}/") for _ in range(2)]

        assert not any(answer.delivered for answer in answers)
        assert canary.received.empty()


async def test_068_a_redirect_to_the_inside_is_not_followed() -> None:
    """It is an answer like any other, and not the wanted one."""
    async with receiving() as canary:
        to = f"http://127.0.0.1:{canary.port}/".encode()
        redirect = b"HTTP/1.1 307 Go\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"
        async with receiving([redirect]) as receiver:
            answer = await send(Guard(["127.0.0.1"]), receiver.url)
        assert (answer.delivered, answer.status) == (False, 307)
        assert canary.received.empty()


async def test_068_a_receiver_that_never_ends_its_answer_is_left() -> None:
    """After 64 KB; what came is thrown away."""

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await asyncio.wait_for(send(Guard(["127.0.0.1"]), f"http://127.0.0.1:{port}/"), 20)
    assert answer == Answer(True, 200)


def certificate_for(name: str, folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate of its own making."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_068_the_judged_address_is_called_under_the_name_of_the_certificate(
    tmp_path: Path,
) -> None:
    """Pinning the address gives up nothing of what TLS proves; the name is looked up once."""
    receiver = Receiver()
    server = await asyncio.start_server(
        receiver.serve, "127.0.0.1", 0, ssl=certificate_for("hooks.example.org", tmp_path)
    )
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    port = server.sockets[0].getsockname()[1]
    names = resolving_to("127.0.0.1")
    guard = Guard(["127.0.0.1"], names)
    async with server:
        right = await send(guard, f"https://hooks.example.org:{port}/", trusted)
        wrong = await send(guard, f"https://other.example.org:{port}/", trusted)
        got = await receiver.next()

    assert right.delivered
    assert got.headers["host"] == f"hooks.example.org:{port}"
    assert not wrong.delivered
    assert names.asked == 2
