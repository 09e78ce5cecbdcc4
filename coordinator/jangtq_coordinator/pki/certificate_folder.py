"""The folder of `jangtq-coord certs`: the authority, and a folder to copy to each machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from jangtq_coordinator.pki.authority import Authority, PemPair, Subject, subject_of
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.tls.credentials import AUTHORITIES_FILE, CERTIFICATE_FILE, KEY_FILE

_AUTHORITY_FOLDER = "authority"
_OLD_FILE = "old.pem"


class CertificateFolder:
    """Every file is readable by its owner only. Methods raise ConfigurationError."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._authority_folder = root / _AUTHORITY_FOLDER

    def authority(self) -> Authority | None:
        """The authority that signs now; None if there is none yet."""
        certificate = self._authority_folder / CERTIFICATE_FILE
        if not certificate.exists():
            return None
        try:
            pems = PemPair(certificate.read_bytes(), (self._authority_folder / KEY_FILE).read_bytes())
            return Authority.load(pems)
        except (OSError, ConfigurationError) as error:
            raise ConfigurationError(f"{self._authority_folder}: {error}") from error

    @property
    def trusts_two(self) -> bool:
        """Whether the previous authority is trusted, too."""
        return (self._authority_folder / _OLD_FILE).exists()

    def replace_authority(self, authority: Authority) -> None:
        """Sign with this authority from now on; the previous one stays trusted until `drop_old`."""
        before = self.authority()
        if before is not None:
            if self.trusts_two:
                raise ConfigurationError(
                    f"{self.root}: another change of authority is not finished: finish it with --renew, copy "
                    "the folders, and --drop-old-ca"
                )
            _write(self._authority_folder / _OLD_FILE, before.pems.certificate)
        _write(self._authority_folder / KEY_FILE, authority.pems.key)
        _write(self._authority_folder / CERTIFICATE_FILE, authority.pems.certificate)

    def drop_old(self, authority: Authority) -> None:
        """Stop to trust the old authority; no certificate in use may need it."""
        for folder, certificate in self._certificates():
            if not authority.issued(certificate):
                raise ConfigurationError(f"{folder} holds a certificate of the old authority: --renew first")
        (self._authority_folder / _OLD_FILE).unlink(missing_ok=True)

    def subjects(self) -> list[Subject]:
        """The subjects of all certificates in the folder."""
        return [subject_of(certificate) for _, certificate in self._certificates()]

    def end_of(self, subject: Subject) -> str:
        """The day on which its certificate ends."""
        return f"{_load(self.root / subject.folder / CERTIFICATE_FILE).not_valid_after_utc:%Y-%m-%d}"

    def store(self, subject: Subject, pems: PemPair) -> None:
        """The key first: until both files are there, a reader finds that they do not fit."""
        _write(self.root / subject.folder / KEY_FILE, pems.key)
        _write(self.root / subject.folder / CERTIFICATE_FILE, pems.certificate)

    def spread_trust(self) -> None:
        """Write the trusted authorities into every folder."""
        files = (CERTIFICATE_FILE, _OLD_FILE)
        paths = [self._authority_folder / name for name in files]
        trusted = b"".join(path.read_bytes() for path in paths if path.exists())
        for folder, _ in self._certificates():
            _write(folder / AUTHORITIES_FILE, trusted)

    def _certificates(self) -> Iterator[tuple[Path, x509.Certificate]]:
        for path in sorted(self.root.glob(f"*/{CERTIFICATE_FILE}")):
            if path.parent != self._authority_folder:
                yield path.parent, _load(path)


def _load(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically, readable by its owner only."""
    draft = path.with_name(f".{path.name}")
    try:
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
