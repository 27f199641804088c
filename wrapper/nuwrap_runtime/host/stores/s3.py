"""Files in S3, and in what speaks like it: `s3://bucket/key` is one object, `s3://bucket/prefix/` all below it."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Optional

from nuwrap_runtime.host.stores import Access, Entry, StoreError
from nuwrap_runtime.host.stores.s3_client import Connection
from nuwrap_runtime.host.stores.s3_refusals import Refused
from nuwrap_runtime.host.stores.s3_settings import Location, parse_location, parse_object, revision

NEARBY_KEYS = 5
BATCH_KEYS = 1000  # most that one DeleteObjects takes
READ_ATTEMPTS = 3
_UNNAMED: Final = ("400", "403")
_BYTES: Final = "application/octet-stream"
# What Python's own table lacks. The machine's is not read: the type shall not depend on where it is written.
_TYPES: Final = {".parquet": "application/vnd.apache.parquet", ".jsonl": "application/jsonl"}
_COMPRESSED: Final = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def open_store(access: Access) -> S3Store:
    """Return the store that the variables AWS_*, S3_* of `access.environ` describe.

    A role is taken on here, so this may ask a server. While it runs, the process's environment is `access.environ`.
    """
    return S3Store(access)


class S3Store:
    """A `WritableStore`. An entry's revision is its ETag, with the version when its bucket keeps versions."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._connection = Connection(access)

    def find(self, address: str) -> Sequence[Entry]:
        """Return the object, or when there is none all objects below it; a folder's own marker is no file."""
        location = parse_location(address)
        if not location.is_folder:
            entry = self._head(location)
            if entry:
                return [entry]
        found = self._below(location)
        if not found:
            raise StoreError(self._nothing_at(location))
        return found

    def download(self, entry: Entry, target: str, *, known: str = "") -> Optional[Entry]:
        """Write the object to `target`; what is read must still have the entry's ETag, each part of it."""
        if entry.size is None or not entry.revision:
            entry = self._described(entry)
        etag = entry.revision.split(" ")[0]
        if known and known in (entry.revision, etag):  # a list tells no version
            return None
        self._access.progress.expect(entry.size or 0)
        self._connection.download(parse_object(entry.address), target, entry.size or 0, f'"{etag}"')
        return entry

    def upload(self, path: str, address: str) -> Entry:
        """Make the file the object at the address; in parts when it is large, which are taken back on failure."""
        location = parse_object(address)
        size = _size(path, address)
        self._access.progress.expect(size)
        etag = self._connection.upload(path, location, content_type(location.key))
        return Entry(address, size=size, revision=_revision({"ETag": etag}))

    def read(self, address: str, limit: int) -> Optional[bytes]:
        """Return a small object's content, None when there is none."""
        location = parse_object(address)
        try:
            content = self._content(location, limit + 1)
        except Refused as exc:
            if exc.is_absence:
                return None
            raise
        if len(content) > limit:
            raise StoreError(f"cannot read {address}: it has more than {limit} bytes, the most that is allowed here")
        return content

    def write(self, address: str, content: bytes, content_type: str) -> None:
        """Make a small object."""
        location = parse_object(address)
        self._ask("put_object", "write", location, Key=location.key, Body=content, ContentType=content_type)

    def remove(self, addresses: Sequence[str]) -> None:
        """Remove the objects, a thousand at a time, one by one where the server does not take that."""
        keys: dict[str, list[str]] = {}
        for location in map(parse_object, addresses):
            keys.setdefault(location.bucket, []).append(location.key)
        for bucket, names in keys.items():
            for first in range(0, len(names), BATCH_KEYS):
                self._remove(bucket, names[first : first + BATCH_KEYS])

    def _ask(self, operation: str, doing: str, location: Location, **parameters: Any) -> Mapping[str, Any]:
        return self._connection.call(operation, doing, location, **parameters)

    def _head(self, location: Location) -> Optional[Entry]:
        try:
            answer = self._about(location)
        except Refused as exc:
            if exc.is_absence:
                return None
            raise
        if "ETag" not in answer:
            raise StoreError(
                f"cannot read {location}: what answers gives no ETag; check that the endpoint is an S3 one"
            )
        return Entry(str(location), size=answer["ContentLength"], revision=_revision(answer))

    def _about(self, location: Location) -> Mapping[str, Any]:
        """Return what the server says of an object; a HEAD's refusal says nothing, one of reading a byte does.

        Or that byte comes: then botocore has learnt the bucket's region from it, and the second HEAD goes there.
        """
        try:
            return self._ask("head_object", "read", location, Key=location.key)
        except Refused as exc:
            if exc.code not in _UNNAMED:
                raise
            self._connection.content(location, 1)
        return self._ask("head_object", "read", location, Key=location.key)

    def _described(self, entry: Entry) -> Entry:
        location = parse_object(entry.address)
        found = self._head(location)
        if found is None:
            raise StoreError(self._nothing_at(location))
        return Entry(entry.address, entry.name, found.size, found.revision)

    def _below(self, location: Location) -> list[Entry]:
        try:
            return self._list(location)
        except Refused as exc:
            if location.is_folder or exc.status != 403:
                raise
            raise StoreError(f"there is no object {location}, and what is below may not be listed: {exc}") from exc

    def _list(self, location: Location) -> list[Entry]:
        folder = location if location.is_folder else Location(location.bucket, location.key + "/")
        found: list[Entry] = []
        for item in self._items(location, folder.key):
            name = item["Key"][len(folder.key) :]
            if item["Key"].endswith("/") and not item["Size"]:
                continue
            if len(found) == self._access.max_files:
                raise StoreError(
                    f"{folder} has more than {self._access.max_files} files, the most allowed (limits.files)"
                )
            address = f"s3://{folder.bucket}/{item['Key']}"
            found.append(Entry(address, name, item["Size"], _revision(item)))
        return found

    def _items(self, asked: Location, prefix: str) -> Iterator[Mapping[str, Any]]:
        following: dict[str, str] = {}
        while True:
            page = self._ask("list_objects_v2", "list", asked, Prefix=prefix, **following)
            for item in page.get("Contents", ()):
                if not item["Key"].startswith(prefix):
                    raise StoreError(f"cannot list {asked}: the server lists {item['Key']!r}, which is not below it")
                yield item
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def _nothing_at(self, location: Location) -> str:
        asked = "nothing is below" if location.is_folder else "there is no object, and nothing below,"
        return f"{asked} {location}{self._nearby(location) or '; check the address, keys are taken literally'}"

    def _nearby(self, location: Location) -> str:
        """Return what is called alike: the longest beginning that anything has, the whole name, its folder, nothing."""
        name = location.key.rstrip("/")
        folder = name.rpartition("/")[0]
        for prefix in dict.fromkeys([name, folder and folder + "/", ""]):
            try:
                page = self._ask("list_objects_v2", "list", location, Prefix=prefix, MaxKeys=NEARBY_KEYS)
            except StoreError:
                return ""
            if page.get("Contents"):
                return (
                    f"; in bucket {location.bucket!r} are {', '.join(repr(item['Key']) for item in page['Contents'])}"
                )
        return f"; bucket {location.bucket!r} is empty"

    def _content(self, location: Location, most: int) -> bytes:
        for _ in range(READ_ATTEMPTS - 1):
            try:
                return self._connection.content(location, most)
            except Refused:
                raise
            except StoreError:  # cut off in the middle; what fails before its first byte was tried again already
                continue
        return self._connection.content(location, most)

    def _remove(self, bucket: str, keys: Sequence[str]) -> None:
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        try:
            answer = self._ask("delete_objects", "remove", Location(bucket, ""), Delete=wanted)
        except Refused:  # MissingContentMD5, NotImplemented, MalformedXML: each server has a word of its own
            answer = {"Errors": wanted["Objects"]}
        for error in answer.get("Errors", ()):
            self._remove_one(Location(bucket, error["Key"]))

    def _remove_one(self, location: Location) -> None:
        try:
            self._ask("delete_object", "remove", location, Key=location.key)
        except Refused as exc:
            if not exc.is_absence:
                raise


def content_type(name: str) -> str:
    """Return the media type that the name's suffix says, `application/octet-stream` when it says none."""
    types = mimetypes.MimeTypes()
    found, compression = types.guess_type(os.path.basename(name))
    if compression:
        return _COMPRESSED.get(compression, _BYTES)
    return _TYPES.get(os.path.splitext(name)[1].lower()) or found or _BYTES


def _revision(answer: Mapping[str, Any]) -> str:
    return revision(str(answer.get("ETag", "")), answer.get("VersionId", ""))


def _size(path: str, address: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError as exc:
        raise StoreError(f"cannot read {path!r}, which shall be {address}: {exc.strerror}") from exc
