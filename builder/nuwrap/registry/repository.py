"""One repository of a registry: manifests, blobs, uploads, with the log-in that is asked for.

The protocol is that of opencontainers/distribution-spec (spec.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from nuwrap.errors import RegistryError
from nuwrap.registry.challenge import Challenge, parse_challenge, say_errors
from nuwrap.registry.credentials import Credentials, find_credentials
from nuwrap.registry.endpoints import Endpoint
from nuwrap.registry.tokens import authorize, refuse
from nuwrap.spec.build import RegistryAccess
from nuwrap_runtime.schema import did_you_mean

if TYPE_CHECKING:
    from nuwrap.registry.client import Answer

IMAGE_TYPES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_BYTES: Final = 4 * 1024 * 1024  # what registries take at most, by the specification
OTHER_BYTES: Final = 1024 * 1024
TAGS_ASKED: Final = 1000
FEW_TAGS: Final = 5  # all named in a message


@dataclass(frozen=True)
class Manifest:
    """A manifest or an index, as a registry has it."""

    digest: str
    media_type: str
    document: Mapping[str, Any]

    @property
    def is_index(self) -> bool:
        """Whether it names an image for each platform."""
        return self.media_type in INDEX_TYPES


class Repository:
    """A repository to read (`actions` is `pull`) or to push to (`pull,push`). All its methods raise RegistryError."""

    def __init__(
        self, endpoint: Endpoint, access: RegistryAccess, environ: Mapping[str, str], *, actions: str = "pull"
    ) -> None:
        from nuwrap.registry.client import Client  # requests takes 50 ms to import

        self.endpoint = endpoint
        self.credentials = Credentials()
        self._access, self._environ = access, environ
        self._scope = f"repository:{endpoint.repository}:{actions}"
        self._is_open = False
        self._base = ""
        self._authorization = ""
        self._client = Client(endpoint, access, environ)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read_manifest(self, version: str) -> Manifest:
        """Return what a tag or a digest names, checked against its digest."""
        accepted = {"Accept": ", ".join((*IMAGE_TYPES, *INDEX_TYPES))}
        answer = self._ask("GET", self._manifest(version), headers=accepted, most_bytes=MANIFEST_BYTES)
        if answer.status == 404:
            raise self._missing(version, say_errors(answer.body))
        self._check(answer, f"manifest {version}")
        wanted = version if ":" in version else answer.headers.get("docker-content-digest", "")
        digest = self._check_digest(answer.body, wanted, f"manifest {version}")
        document = self._parse(answer.body, f"manifest {version}")
        media_type = document.get("mediaType") or answer.headers.get("content-type", "").partition(";")[0].strip()
        if media_type not in (*IMAGE_TYPES, *INDEX_TYPES):
            raise self._protocol(
                f"manifest {version} has the form {str(media_type)[:100]!r}, which is no image of today"
            )
        return Manifest(digest, media_type, document)

    def find_digest(self, version: str) -> str:
        """Return the digest of what a tag or a digest names, "" when the registry has none."""
        accepted = {"Accept": ", ".join((*IMAGE_TYPES, *INDEX_TYPES))}
        answer = self._ask("HEAD", self._manifest(version), headers=accepted, most_bytes=0)
        if answer.status == 404:
            return ""
        self._check(answer, f"manifest {version}")
        return answer.headers.get("docker-content-digest") or self.read_manifest(version).digest

    def read_blob(self, digest: str, *, most_bytes: int) -> bytes:
        """Return a small blob, checked against its digest."""
        answer = self._ask("GET", self._blob(digest), most_bytes=most_bytes)
        if answer.status == 404:
            raise RegistryError(f"{self.endpoint.name} has no blob {digest}, which its manifest names", "missing")
        self._check(answer, f"blob {digest}")
        self._check_digest(answer.body, digest, f"blob {digest}")
        return answer.body

    @contextmanager
    def stream_blob(self, digest: str) -> Iterator[Iterator[bytes]]:
        """Lend a blob in pieces as they come, unchecked."""
        self._open()
        for is_last in (False, True):
            with self._client.stream(self._blob(digest), headers=self._headers(None)) as (answer, pieces):
                if answer.status != 401 or is_last or not self._log_in(answer):
                    self._check(answer, f"blob {digest}")
                    yield pieces
                    return

    def begin_upload(self) -> str:
        """Begin the upload of a blob, and return the address of its session."""
        answer = self._ask("POST", f"/v2/{self.endpoint.repository}/blobs/uploads/", most_bytes=OTHER_BYTES)
        self._check(answer, "an upload")
        place = answer.headers.get("location", "")
        if answer.status != 202 or not place:
            raise self._protocol(f"an upload is answered with status {answer.status} and no session")
        return urljoin(answer.url, place)

    def cancel_upload(self, session: str) -> None:
        """End an upload; a registry that cannot will forget it by itself."""
        if urlsplit(session).netloc == self.endpoint.host:
            self._ask("DELETE", session, most_bytes=OTHER_BYTES)

    def _manifest(self, version: str) -> str:
        return f"/v2/{self.endpoint.repository}/manifests/{version}"

    def _blob(self, digest: str) -> str:
        return urljoin(self._base, f"/v2/{self.endpoint.repository}/blobs/{digest}")

    def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, most_bytes: int) -> Answer:
        """Return the answer to a request, sent again once where the registry wants another token."""
        self._open()
        url = urljoin(self._base, path)
        answer = self._client.send(method, url, headers=self._headers(headers), most_bytes=most_bytes)
        if answer.status == 401 and self._log_in(answer):
            answer = self._client.send(method, url, headers=self._headers(headers), most_bytes=most_bytes)
        return answer

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        return {**(headers or {}), **({"Authorization": self._authorization} if self._authorization else {})}

    def _open(self) -> None:
        """Find the scheme and log in; nothing of the user is sent before the registry has said what it wants."""
        if self._is_open:
            return
        faults: list[RegistryError] = []
        for scheme in self.endpoint.schemes:
            self._base = f"{scheme}://{self.endpoint.host}"
            try:
                answer = self._client.send("GET", f"{self._base}/v2/", most_bytes=OTHER_BYTES)
            except RegistryError as exc:
                faults.append(exc)
                continue
            if answer.status in (200, 401):
                self._base = f"{urlsplit(answer.url).scheme}://{self.endpoint.host}"
                self._log_in(answer, is_first=True)
                self._is_open = True
                return
            if answer.status != 400 or scheme == self.endpoint.schemes[-1]:
                raise self._unusable(answer)  # 400 is what a server with TLS says to a caller without
        raise faults[-1] if len({str(one) for one in faults}) == 1 else self._join(faults)

    def _join(self, faults: list[RegistryError]) -> RegistryError:
        tried = "; ".join(f"by {scheme}: {fault}" for scheme, fault in zip(self.endpoint.schemes, faults, strict=True))
        return RegistryError(tried, faults[-1].kind)

    def _unusable(self, answer: Answer) -> RegistryError:
        kind = "network" if answer.status >= 429 else "protocol"
        return RegistryError(
            f"registry {self.endpoint.registry} answers {answer.url} with status {answer.status}; "
            f"is {self.endpoint.host} a registry of images?",
            kind,
        )

    def _log_in(self, answer: Answer, *, is_first: bool = False) -> bool:
        """Do as the challenge of a 401 says; tell whether there is something new to send."""
        challenge = parse_challenge(answer.headers.get("www-authenticate", "")) if answer.status == 401 else Challenge()
        if not challenge.scheme or (challenge.scheme == "basic" and self._authorization):
            return False
        endpoint = self.endpoint
        if self.credentials.is_anonymous:
            name = endpoint.repository
            self.credentials = find_credentials(endpoint.registry, self._access, self._environ, repository=name)
        asked = [] if is_first else challenge.parameters.get("scope", "").split()  # GitHub's first one is an example
        scopes = [self._scope, *(one for one in asked if one != self._scope)]
        self._authorization = authorize(self._client, endpoint, challenge, self.credentials, scopes)
        return True

    def _check(self, answer: Answer, what: str) -> None:
        """Raise for a status that is a failure."""
        said = say_errors(answer.body)
        status = f"status {answer.status}{said and ': '}{said}"
        if answer.status in (401, 403):
            raise refuse(self.endpoint, self.credentials, f"refuses {what} ({status})")
        if answer.status == 429:
            raise RegistryError(
                f"registry {self.endpoint.registry} lets us ask no more for now ({status}); log in, wait, or name a "
                "mirror: `nuwrap config set registries.mirrors HOST`",
                "network",
            )
        if answer.status >= 400:
            kind = "network" if answer.status >= 500 else "missing" if answer.status == 404 else "protocol"
            raise RegistryError(
                f"registry {self.endpoint.registry} refuses {what} of {self.endpoint.repository!r} ({status})", kind
            )

    def _missing(self, version: str, said: str) -> RegistryError:
        tags = self._read_tags()
        joint = "@" if ":" in version else ":"
        if not tags:
            found = "there is no such repository, or none that you may see"
        else:
            few = f"its tags are {', '.join(tags)}"
            many = f"it has {len(tags)}{' or more' if len(tags) == TAGS_ASKED else ''} tags, as {tags[-1]}"
            found = f"{few if len(tags) <= FEW_TAGS else many}{did_you_mean(version, tags)}"
        return RegistryError(
            f"there is no image {self.endpoint.name}{joint}{version}{said and ' ('}{said}{said and ')'}; {found}",
            "missing",
        )

    def _read_tags(self) -> list[str]:
        """Return tags for a message, none where they cannot be had."""
        path = f"/v2/{self.endpoint.repository}/tags/list?n={TAGS_ASKED}"
        try:
            tags = json.loads(self._ask("GET", path, most_bytes=OTHER_BYTES).body)["tags"]
            return [one for one in tags if isinstance(one, str)][:TAGS_ASKED]
        except (RegistryError, ValueError, KeyError, TypeError, RecursionError):
            return []

    def _check_digest(self, body: bytes, wanted: str, what: str) -> str:
        """Return the digest that the bytes have. Raises for another than the wanted."""
        algorithm = wanted.partition(":")[0] or "sha256"
        if algorithm not in ("sha256", "sha384", "sha512"):
            raise self._protocol(f"{what} has a digest {wanted[:100]!r}, which is not sha256")
        digest = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
        if wanted and digest != wanted:
            raise self._protocol(f"{what} has the digest {digest}, not {wanted}: somebody on the way has changed it")
        return digest

    def _parse(self, body: bytes, what: str) -> Mapping[str, Any]:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise self._protocol(f"{what} is not JSON") from exc
        if not isinstance(document, dict):
            raise self._protocol(f"{what} is not a JSON object")
        return document

    def _protocol(self, what: str) -> RegistryError:
        return RegistryError(f"{self.endpoint.name}: {what}", "protocol")
