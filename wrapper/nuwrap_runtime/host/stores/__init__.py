"""What lies elsewhere, as files: a scheme is one row here and one module beside it. Siblings never know each other.

Code, inputs and outputs all come and go this way. It runs in a child process that ends (`host/children.py`).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Callable, Final, Optional, Protocol, TypeVar

from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.launch import Network

STORES: Final[Mapping[str, str]] = {
    "http": "nuwrap_runtime.host.stores.http",
    "https": "nuwrap_runtime.host.stores.http",
    "s3": "nuwrap_runtime.host.stores.s3",
}
# Those that tell revisions without loading a client, by a function `find`: see `find_quickly`.
QUICK: Final[Mapping[str, str]] = {
    "http": "nuwrap_runtime.host.stores.http_quick",
    "https": "nuwrap_runtime.host.stores.http_quick",
    "s3": "nuwrap_runtime.host.stores.s3_quick",
}
LINE_SECONDS = 2.0  # what is quicker needs no word
MEGABYTE = 1_000_000
PARALLEL = 16

T = TypeVar("T")
R = TypeVar("R")


class StoreError(NuwrapError):
    """What lies at an address cannot be read or written.

    The text says what was asked of which address, what the server said, and what to do; it holds no secret. Who asked
    raises it again as an error of the phase: `SourceError`, `InputsError`, `OutputsError`.
    """


class Progress:
    """Bytes moved so far, by any thread; a line on standard error every two seconds, which the host shows.

    Raises StoreError as soon as more than `max_bytes` came: a server may send without end.
    """

    def __init__(self, doing: str, max_bytes: int, key: str) -> None:
        self._doing, self._max, self._key = doing, max_bytes, key
        self._lock = threading.Lock()
        self._next = time.monotonic() + LINE_SECONDS
        self._expected = 0
        self._is_cancelled = False
        self.bytes = 0

    def expect(self, size: int) -> None:
        """Tell the size of a file before its first byte. Raises StoreError when it is too much already."""
        with self._lock:
            self._expected += size
        self._check(self._expected)

    def add(self, count: int) -> None:
        """Count bytes; a negative number takes back those of an attempt that begins anew."""
        with self._lock:
            self.bytes += count
            now = time.monotonic()
            is_due, self._next = now >= self._next, now + LINE_SECONDS if now >= self._next else self._next
            done, expected = self.bytes, self._expected
        if is_due and count > 0:
            whole = f" of {expected / MEGABYTE:.1f}" if expected >= done else ""
            print(f"{self._doing} {done / MEGABYTE:.1f}{whole} MB", file=sys.stderr, flush=True)
        self._check(done)

    def cancel(self) -> None:
        """Let every other transfer end at its next byte."""
        self._is_cancelled = True

    def _check(self, count: int) -> None:
        if self._is_cancelled:
            raise StoreError("another transfer has failed")
        if count > self._max:
            raise StoreError(f"more than {self._max} bytes, the most that is allowed ({self._key})")


@dataclass(frozen=True)
class Access:
    """How to reach a store, and when to give up.

    `environ` has the credentials and is the only place they come from; `deadline` is a moment of `time.monotonic()`,
    `deadline_key` the setting that messages name for it.
    """

    progress: Progress
    environ: Mapping[str, str] = field(repr=False)
    network: Network = field(default_factory=Network)
    max_files: int = 200_000
    deadline: float = float("inf")
    deadline_key: str = "limits.seconds"


@dataclass(frozen=True)
class Entry:
    """One file. `name` is its path below the address that was asked for, with `/`, "" when it is that address.

    `size` is None, `revision` (an ETag or a version as the server tells it) "" where the server does not say. A name
    comes from a server: it is checked (`host/names.py`) before it becomes a path.
    """

    address: str
    name: str = ""
    size: Optional[int] = None
    revision: str = ""


class Store(Protocol):
    """Files at addresses of one scheme. Any thread may call; every method raises StoreError."""

    def find(self, address: str) -> Sequence[Entry]:
        """Return the one file at the address, or all below it; StoreError when there is none."""
        ...

    def download(self, entry: Entry, target: str, *, known: str = "") -> Optional[Entry]:
        """Write the file to the path `target`, whole or not at all; return the entry with size and revision.

        Returns None, and writes nothing, when its revision still is `known`. Retries what may pass, goes on where an
        attempt was cut off when the server can and the file is still the same.
        """
        ...


class WritableStore(Store, Protocol):
    """A store that takes outputs too."""

    def upload(self, path: str, address: str) -> Entry:
        """Make the local file the one at the address, whole or not at all."""
        ...

    def read(self, address: str, limit: int) -> Optional[bytes]:
        """Return a small file's content, None when there is none; StoreError when it has more than `limit` bytes."""
        ...

    def write(self, address: str, content: bytes, content_type: str) -> None:
        """Make a small file."""
        ...

    def remove(self, addresses: Sequence[str]) -> None:
        """Remove the files; one that is not there is no error."""
        ...


def together(work: Callable[[T], R], items: Sequence[T], progress: Progress) -> list[R]:
    """Return what the work makes of each item, several at once. Raises what failed first, the others then end soon."""
    from concurrent.futures import ThreadPoolExecutor  # every start of a host imports this module

    first: list[BaseException] = []

    def one(item: T) -> R:
        try:
            return work(item)
        except BaseException as exc:
            first.append(exc)
            progress.cancel()
            raise

    pool = ThreadPoolExecutor(PARALLEL)
    try:
        return list(pool.map(one, items))
    except Exception:  # the first in time, where `map` raises the first in order
        if not first:
            raise
        raise first[0] from first[0].__cause__
    finally:
        pool.shutdown(cancel_futures=True)


def open_store(scheme: str, access: Access) -> Store:
    """Return the store of a scheme in STORES."""
    opened: Store = import_module(STORES[scheme]).open_store(access)
    return opened


def find_quickly(scheme: str, address: str, known: str, access: Access) -> Optional[Sequence[Entry]]:
    """Return what `find` of the store would, with each revision, by one or two requests and no client.

    None when the server tells something else, or nothing, or would have to be asked in another way: then the store
    is to be asked, which finds out and says what is wrong. `known` is the revision that is hoped for.
    """
    try:
        found: Optional[Sequence[Entry]] = import_module(QUICK[scheme]).find(address, known, access)
    except StoreError:  # a setting that cannot be
        return None
    return found


def open_writable(scheme: str, access: Access) -> WritableStore:
    """Return the store of a scheme that takes outputs; `WRITABLE` has those."""
    opened: WritableStore = import_module(STORES[scheme]).open_store(access)
    return opened


WRITABLE: Final = ("s3",)
