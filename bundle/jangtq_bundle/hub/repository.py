"""Reads files, and byte ranges of files, of a hub repository at one revision. Knows no tensor."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import httpx
from huggingface_hub import constants, get_token
from pydantic import BaseModel

from jangtq_proto.errors import BundleError, ConfigurationError

_TRIES: Final = 6
_TIMEOUT: Final = httpx.Timeout(30.0, connect=15.0)
_CHUNK_BYTES: Final = 1 << 18


@dataclass(frozen=True)
class Repository:
    """`commit` is what the revision stood for when it was opened.

    By file name: `sizes` in bytes, `digests` as SHA-256 of large files and git's SHA-1 of small ones.
    """

    name: str
    commit: str
    sizes: Mapping[str, int]
    digests: Mapping[str, str]
    endpoint: str
    client: httpx.Client = field(compare=False)

    @classmethod
    def open(cls, name: str, *, revision: str | None = None) -> "Repository":
        """Ask the hub, with endpoint, token and offline mode as huggingface_hub has them.

        Raises ConfigurationError for a name, revision or token that the hub refuses, or without a hub.
        """
        if constants.HF_HUB_OFFLINE:
            raise ConfigurationError(f"{name}: HF_HUB_OFFLINE is set, so that nothing can be fetched")
        endpoint = constants.ENDPOINT
        client = _new_client()
        try:
            files = _ask(
                client, f"{endpoint}/api/models/{name}/revision/{quote(revision or 'main', safe='')}"
            )
        except (httpx.HTTPError, ValueError) as error:
            client.close()
            raise ConfigurationError(f"{name}: {_refusal(error, endpoint, revision)}") from error
        sizes = {file.rfilename: file.size for file in files.siblings}
        digests = {file.rfilename: file.digest for file in files.siblings}
        return cls(name, files.sha, sizes, digests, endpoint, client)

    def read_file(self, file: str) -> bytes:
        """A whole file, held against the hub's digest. Raises BundleError."""
        data = b"".join(self.read(file, offset=0, length=self.sizes[file])) if self.sizes[file] else b""
        expected = self.digests.get(file, "")
        if expected and expected != digest_of([data], len(data), like=expected):
            raise BundleError(f"{file}: {self.endpoint} sent other bytes than it announces; try again")
        return data

    def read(self, file: str, *, offset: int, length: int) -> Iterator[bytes | memoryview]:
        """Bytes of a file; a connection that breaks is opened again where it broke off.

        Raises BundleError after _TRIES tries without a byte, or where the hub sends something else.
        """
        done, tries = 0, 0
        while done < length:
            try:
                for chunk in self._stream(file, offset + done, length - done):
                    yield chunk
                    done, tries = done + len(chunk), 0
            except httpx.HTTPError as error:
                tries += 1
                if tries == _TRIES:
                    raise BundleError(f"{file}: {self.endpoint} stopped: {_first_line(error)}") from error
                time.sleep(min(2.0**tries / 10, 5.0))

    def close(self) -> None:
        """End all connections."""
        self.client.close()

    def _stream(self, file: str, offset: int, length: int) -> Iterator[bytes]:
        url = f"{self.endpoint}/{self.name}/resolve/{quote(self.commit, safe='')}/{quote(file)}"
        asked = {"Range": f"bytes={offset}-{offset + length - 1}", **_authorization()}
        with self.client.stream("GET", url, headers=asked) as response:
            self._check(response, file, offset, length)
            left = length
            for chunk in response.iter_raw(_CHUNK_BYTES):
                yield chunk[:left]
                left -= len(chunk[:left])
                if not left:
                    return
            raise httpx.RemoteProtocolError(f"ended {left} bytes too soon", request=response.request)

    def _check(self, response: httpx.Response, file: str, offset: int, length: int) -> None:
        status = response.status_code
        if status in (401, 403):
            raise ConfigurationError(f"{file}: {self.endpoint} answers {status}: log in with `hf auth login`")
        if status == 404:
            raise BundleError(f"{file}: gone from {self.name} at {self.commit[:12]}")
        if status == 429 or status >= 500:
            raise httpx.RemoteProtocolError(f"status {status}", request=response.request)
        if status == 200 and length == self.sizes.get(file) and offset == 0:
            return
        if status != 206:
            raise BundleError(f"{file}: {self.endpoint} sends no ranges of files (status {status})")
        expected = f"bytes {offset}-{offset + length - 1}/"
        found = response.headers.get("content-range", "")
        if not found.startswith(expected):
            raise BundleError(f"{file}: asked for {expected[:-1]}, {self.endpoint} sends {found!r:.80}")
        if file in self.sizes and not found.endswith((f"/{self.sizes[file]}", "/*")):
            raise BundleError(
                f"{file}: changed while it was read: {found!r:.80}, it had {self.sizes[file]} bytes"
            )


class _LargeFile(BaseModel):
    sha256: str


class _File(BaseModel):
    rfilename: str
    size: int = 0
    blobId: str = ""
    lfs: _LargeFile | None = None

    @property
    def digest(self) -> str:
        return self.lfs.sha256 if self.lfs else self.blobId


class _Description(BaseModel):
    """What the hub's API says of a model, as far as it matters here."""

    sha: str
    siblings: list[_File]


def _ask(client: httpx.Client, url: str) -> _Description:
    answer = client.get(url, params={"blobs": "true"}, headers=_authorization())
    answer.raise_for_status()
    return _Description.model_validate_json(answer.content)


def _refusal(error: Exception, endpoint: str, revision: str | None) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        code, status = error.response.headers.get("x-error-code", ""), error.response.status_code
        if code == "GatedRepo":
            return f"its owner chooses who may have it: ask on {endpoint}, then log in with `hf auth login`"
        if code == "RevisionNotFound":
            return f"there is no revision {revision!r}"
        if status in (401, 403, 404):
            return f"{endpoint} has no such model, or only for those who log in (`hf auth login`)"
    return f"{endpoint} cannot be asked: {_first_line(error)}"


def digest_of(pieces: Iterable[bytes], size: int, *, like: str) -> str:
    """As the hub announces files of `size` bytes: SHA-256 of large ones, git's SHA-1 of small ones."""
    is_large = len(like) == hashlib.sha256().digest_size * 2
    digest = hashlib.sha256() if is_large else hashlib.sha1(usedforsecurity=False)
    if not is_large:
        digest.update(f"blob {size}\0".encode())
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _new_client() -> httpx.Client:
    # Byte ranges of what lies there: no encoding may come between.
    headers = {"Accept-Encoding": "identity", "User-Agent": "jangtq-bundle"}
    return httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers=headers)


def _authorization() -> dict[str, str]:
    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
