"""The one place that knows boto3, botocore and s3transfer: a client, its transfers, and their errors as ours."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Optional

from nuwrap_runtime.host.stores import Access, StoreError
from nuwrap_runtime.host.stores.http_address import parse_url
from nuwrap_runtime.host.stores.http_network import proxy_setting
from nuwrap_runtime.host.stores.s3_refusals import Asking, Refused
from nuwrap_runtime.host.stores.s3_settings import (
    DEFAULT_REGION,
    Location,
    addressing_style,
    botocore_environment,
    signature_version,
)

AMAZON: Final = "https://s3.amazonaws.com"
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
CONCURRENCY: Final = 8
PART_BYTES: Final = 8 * 1024 * 1024
# Parts that came wait for one thread that writes them: 12 MB at most, else a slow disk fills the memory. Larger pieces
# are fewer hand-overs between threads: a third of the time of a fast download.
PIECE_BYTES, PIECES_WAITING = 1024 * 1024, 12
CLEANUP_SECONDS = 5.0
_environment_lock = threading.Lock()


class Connection:
    """One client and one TransferManager, for all threads. Every method raises StoreError, Refused for an answer."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._asking = Asking("the sign-in service", is_signed=True)
        self._theirs = _their_errors()
        # What is under way by bucket and key: the ETag a download must meet, the ETag an upload got.
        self._wanted: dict[tuple[str, str], str] = {}
        self._made: dict[tuple[str, str], str] = {}
        with _environment(access.environ), self._border("sign in at", "the S3 store"):
            self._client = self._make_client()
        self._transfers = _transfer_manager(self._client)
        self._listen()

    def call(self, operation: str, doing: str, location: Location, **parameters: Any) -> Mapping[str, Any]:
        """Return the server's answer to one request on the location's bucket."""
        with self._border(doing, location):
            answer: Mapping[str, Any] = getattr(self._client, operation)(Bucket=location.bucket, **parameters)
            return answer

    def content(self, location: Location, most: int) -> bytes:
        """Return the first `most` bytes of an object."""
        with self._border("read", location):
            body = self._client.get_object(Bucket=location.bucket, Key=location.key)["Body"]
            try:
                return _read(body, most)
            finally:
                body.close()

    def download(self, location: Location, target: str, size: int, etag: str) -> None:
        """Write the object to the path, whole or not at all; one that has another ETag meanwhile is an error."""
        self._wanted[location.bucket, location.key] = etag
        watch = _Watch(self._check_time, self._access.progress.add, size=size, etag=etag)
        try:
            with self._border("read", location):
                future = self._transfers.download(location.bucket, location.key, target, subscribers=[watch])
                self._wait(future, watch)
        finally:
            self._wanted.pop((location.bucket, location.key), None)

    def upload(self, path: str, location: Location, content_type: str) -> str:
        """Make the object of the file, whole or not at all; return its ETag."""
        watch = _Watch(self._check_time, self._access.progress.add)
        extra = {"ContentType": content_type}
        with self._border("write", location):
            future = self._transfers.upload(path, location.bucket, location.key, extra, subscribers=[watch])
            self._wait(future, watch)
        return self._made.pop((location.bucket, location.key), "")

    def _make_client(self) -> Any:
        import boto3  # type: ignore[import-untyped]
        from botocore import UNSIGNED  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.session import Session  # type: ignore[import-untyped]

        session = Session()
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials else None  # a role is taken on here
        config = Config(
            signature_version=signature_version(self._access.environ) if frozen else UNSIGNED,
            s3={"addressing_style": style} if (style := addressing_style(self._access.environ)) else None,
            connect_timeout=self._at_most(CONNECT_SECONDS),
            read_timeout=self._at_most(READ_SECONDS),
            max_pool_connections=2 * CONCURRENCY,
            proxies=self._proxies(),
        )
        region = session.get_config_variable("region") or DEFAULT_REGION
        ours = boto3.Session(botocore_session=session, region_name=region)
        client = ours.client("s3", config=config, verify=self._bundle(session))
        secrets = tuple(value for value in frozen or () if value)
        self._asking = Asking(client.meta.endpoint_url, is_signed=frozen is not None, secrets=secrets)
        return client

    def _proxies(self) -> Optional[dict[str, str]]:
        """Return the proxies that `network` names; None leaves it to the environment. botocore knows no `no` here."""
        if not self._access.network.proxies:
            return None
        given = botocore_environment(self._access.environ)
        url = parse_url(given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL") or AMAZON)
        proxy, _ = proxy_setting(url, self._access.network, self._access.environ)
        return {url.scheme: proxy} if proxy else {}

    def _bundle(self, session: Any) -> Optional[str]:
        path = self._access.network.ca or session.get_config_variable("ca_bundle")
        if path and not os.path.exists(path):
            raise StoreError(f"the CA bundle {path!r} is not there; check network.ca and AWS_CA_BUNDLE")
        return path or None

    def _at_most(self, seconds: float) -> float:
        return max(1.0, min(seconds, self._access.deadline - time.monotonic()))

    def _listen(self) -> None:
        events = self._client.meta.events
        events.register("before-send.s3", self._before_send)
        events.register("before-parameter-build.s3", self._before_build)
        for operation in ("PutObject", "CompleteMultipartUpload"):
            events.register(f"after-call.s3.{operation}", self._after_upload)

    def _before_send(self, event_name: str, **_: Any) -> None:
        """End attempts: an error that is ours is the one that botocore does not try again after."""
        if event_name.endswith(".AbortMultipartUpload"):  # what takes an ended upload's parts back
            return
        self._check_time()
        self._access.progress.add(0)

    def _before_build(self, params: dict[str, Any], context: dict[str, Any], model: Any, **_: Any) -> None:
        """Demand the ETag where s3transfer does not, of what it reads in one piece."""
        asked = (params.get("Bucket", ""), params.get("Key", ""))
        context["nuwrap"] = asked
        if model.name == "GetObject" and asked in self._wanted:
            params.setdefault("IfMatch", self._wanted[asked])

    def _after_upload(self, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
        if "ETag" in parsed:
            self._made[context["nuwrap"]] = parsed["ETag"]

    def _check_time(self) -> None:
        if time.monotonic() > self._access.deadline:
            raise StoreError(f"the time is over ({self._access.deadline_key})")

    def _wait(self, future: Any, watch: _Watch) -> None:
        """Wait until the transfer is done, no longer than the deadline; what ends the wait ends the transfer."""
        try:
            left = self._access.deadline - time.monotonic()
            if not watch.done.wait(None if left > threading.TIMEOUT_MAX else max(0.0, left)):
                self._check_time()
            future.result()
        except BaseException:
            future.cancel()
            watch.done.wait(CLEANUP_SECONDS)  # the part file goes, the server forgets the parts
            if watch.failure:
                raise watch.failure from None
            raise

    @contextmanager
    def _border(self, doing: str, location: object) -> Iterator[None]:
        """Raise StoreError for what the libraries raise."""
        try:
            yield
        except Refused:
            raise
        except StoreError as exc:
            raise StoreError(f"cannot {doing} {location}: {exc}") from exc
        except self._theirs as exc:
            cause = getattr(exc, "last_exception", None) or exc  # s3transfer's RetriesExceededError
            response = getattr(cause, "response", None)
            if isinstance(response, Mapping):
                raise self._asking.refused(response, doing, location) from exc
            raise self._asking.failed(cause, doing, location) from exc


class _Watch:
    """A transfer's subscriber: tells its size and ETag, so that nobody asks again, and counts its bytes."""

    def __init__(self, *checks: Any, size: Optional[int] = None, etag: str = "") -> None:
        self._check_time, self._add = checks
        self._size, self._etag = size, etag
        self.done = threading.Event()
        self.failure: Optional[StoreError] = None

    def on_queued(self, future: Any, **_: Any) -> None:
        if self._size is not None:
            future.meta.provide_transfer_size(self._size)
            future.meta.provide_object_etag(self._etag)

    def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:
        """Count; too many or too late ends the transfer. Raising would not: in an upload, botocore tries again."""
        try:
            self._add(bytes_transferred)
            self._check_time()
        except StoreError as exc:
            self.failure = exc
            future.cancel()

    def on_done(self, **_: Any) -> None:
        self.done.set()


def _read(body: Any, most: int) -> bytes:
    pieces: list[bytes] = []
    while most > 0:  # the piece that is empty is the one where botocore looks whether all came
        piece = body.read(most)
        if not piece:
            break
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


@contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Make the process's environment that of the store, for as long as a client is made.

    botocore reads `os.environ` in twenty places. In our child processes it is `environ` anyhow, which credentials that
    are renewed after an hour read again; elsewhere this keeps a caller's own variables out.
    """
    with _environment_lock:
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(botocore_environment(environ))
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _transfer_manager(client: Any) -> Any:
    from s3transfer.manager import TransferConfig, TransferManager  # type: ignore[import-untyped]

    config = TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_request_concurrency=CONCURRENCY,
        io_chunksize=PIECE_BYTES,
        max_io_queue_size=PIECES_WAITING,
    )
    return TransferManager(client, config)


def _their_errors() -> tuple[type[BaseException], ...]:
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    from s3transfer import exceptions  # type: ignore[import-untyped]

    theirs = (exceptions.RetriesExceededError, exceptions.S3DownloadFailedError, exceptions.S3ValidationError)
    return (BotoCoreError, ClientError, *theirs, exceptions.CancelledError, OSError, ValueError)
