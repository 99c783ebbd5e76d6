"""The key that messages are signed with, and the certificate that lets everybody check it.

Both are made once and kept in one file, so that no crash leaves a key without its certificate, and messages that were
signed before a restart can still be verified after it.
"""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from tarry.core.errors import SigningKeyBroken
from tarry.files import write_file

FILE_NAME = "sns-signing.pem"
KEY_BITS = 2048
VALID = timedelta(days=20 * 365)
_CLOCK_SKEW = timedelta(days=1)


class Signer:
    """Signs as SNS does: RSA with PKCS #1 v1.5, SHA-1 for signature version 1, SHA-256 for version 2."""

    def __init__(self, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate_pem = certificate.public_bytes(Encoding.PEM)
        # AWS: the certificate's path is /SimpleNotificationService-<32 hex digits>.pem (http-notification-json.html); ours
        # stands under the reserved prefix.
        self.certificate_path = f"/_tarry/SimpleNotificationService-{certificate.fingerprint(hashes.SHA256()).hex()[:32]}.pem"

    @classmethod
    def load(cls, directory: Path, now_us: int) -> Self:
        """The key and certificate of a data directory, made at the first call (about 0.1 s, blocking; file mode 0600).

        Durable when it returns. Errors: SigningKeyBroken.
        """
        path = directory / FILE_NAME
        try:
            pem = path.read_bytes()
        except FileNotFoundError:
            pem = _make(now_us)
            write_file(path, pem)
        try:
            key = load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError:
            raise SigningKeyBroken(_advice(path)) from None
        if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
            raise SigningKeyBroken(_advice(path))
        return cls(key, certificate)

    async def certificate(self) -> bytes:
        """The certificate as PEM: what a GET of ``certificate_path`` answers, without a signature."""
        return self.certificate_pem

    def sign(self, text: str, signature_version: str) -> str:
        """The signature of a text, base64; about 1 ms."""
        # AWS: SHA1withRSA and SHA256withRSA (sns/latest/dg/sns-verify-signature-of-message.html)
        digest = hashes.SHA256() if signature_version == "2" else hashes.SHA1()  # noqa: S303 - version 1 is SHA-1
        return base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), digest)).decode()


def _make(now_us: int) -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.tarry.local")])
    now = datetime.fromtimestamp(now_us / 1_000_000, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def _advice(path: Path) -> str:
    return (
        f"{path} should hold an RSA key and its certificate and does not. Restore it from a backup, or delete it: a new one "
        "is made at the next start, and subscribers see another SigningCertURL."
    )
