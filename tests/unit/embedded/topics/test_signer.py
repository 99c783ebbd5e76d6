import asyncio
import stat
from pathlib import Path

import pytest
from cryptography import x509

from tarry.core.errors import SigningKeyBroken
from tarry.embedded.topics.signer import FILE_NAME, Signer

NOW_US = 1_700_000_000_000_000


def test_key_and_certificate_are_made_once_and_are_private(tmp_path: Path) -> None:
    first, second = Signer.load(tmp_path, NOW_US), Signer.load(tmp_path, NOW_US + 1)
    assert first.certificate_pem == second.certificate_pem
    assert first.sign("text", "2") == second.sign("text", "2")
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME], "nothing temporary is left behind"


def test_the_certificate_holds_no_key_and_is_served_under_the_reserved_prefix(tmp_path: Path) -> None:
    signer = Signer.load(tmp_path, NOW_US)
    assert b"PRIVATE" not in signer.certificate_pem
    assert asyncio.run(signer.certificate()) == signer.certificate_pem
    name = signer.certificate_path.removeprefix("/_tarry/SimpleNotificationService-").removesuffix(".pem")
    assert len(name) == 32
    int(name, 16)
    certificate = x509.load_pem_x509_certificate(signer.certificate_pem)
    assert certificate.not_valid_before_utc.timestamp() < NOW_US / 1e6 < certificate.not_valid_after_utc.timestamp()


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n", b"\x00\xff"])
def test_a_damaged_file_is_refused_with_advice_and_left_alone(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(damage)
    with pytest.raises(SigningKeyBroken, match=r"sns-signing\.pem.*backup"):
        Signer.load(tmp_path, NOW_US)
    assert path.read_bytes() == damage


def test_a_key_with_anothers_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Signer.load(tmp_path / "a", NOW_US)
    other = Signer.load(tmp_path / "b", NOW_US)
    path = tmp_path / "a" / FILE_NAME
    key = path.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")[0]
    path.write_bytes(key + other.certificate_pem)
    with pytest.raises(SigningKeyBroken):
        Signer.load(tmp_path / "a", NOW_US)
