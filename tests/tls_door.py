"""A door with TLS in front of a server without: neither embedded server has TLS of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

POSTGRES_ASKS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""SSLRequest: what a client of Postgres sends before the handshake, and the server answers with S."""


@dataclass(frozen=True, slots=True)
class Door:
    """port: on 127.0.0.1. ca: file with the certificate to trust. entered: handshakes that succeeded."""

    port: int
    ca: Path
    entered: list[str]


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / f"{name}.pem", folder / f"{name}.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return public, private


@asynccontextmanager
async def tls_door(server: Path | tuple[str, int], folder: Path, *, postgres: bool = False) -> AsyncIterator[Door]:
    """A TLS listener on loopback that leads to a server. postgres: TLS begins when it is asked for, as there."""
    public, private = make_certificate(folder, "door")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    entered: list[str] = []
    guests: set[asyncio.Task[None]] = set()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        guests.add(task)
        task.add_done_callback(guests.discard)
        # Guests that go away, or do not trust us, are none of our business.
        with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            try:
                if postgres:
                    assert await reader.readexactly(len(POSTGRES_ASKS)) == POSTGRES_ASKS
                    writer.write(b"S")
                    await writer.drain()
                await writer.start_tls(context)
                entered.append(writer.get_extra_info("ssl_object").version())
                if isinstance(server, Path):
                    inner_reader, inner_writer = await asyncio.open_unix_connection(str(server))
                else:
                    inner_reader, inner_writer = await asyncio.open_connection(*server)
                await _both_ways((reader, inner_writer), (inner_reader, writer))
            finally:
                writer.close()

    listener = await asyncio.start_server(lead, "127.0.0.1", 0)
    try:
        yield Door(listener.sockets[0].getsockname()[1], public, entered)
    finally:
        listener.close()
        for task in list(guests):
            task.cancel()
        await asyncio.gather(*guests, return_exceptions=True)


async def _both_ways(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.close()

    copies = [asyncio.create_task(copy(*way)) for way in ways]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in copies:
            each.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
