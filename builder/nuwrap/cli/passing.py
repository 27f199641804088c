"""Bytes that others have written, passed on to standard output as they come; a terminal is not commanded by them."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable, Iterator

from nuwrap.text import escape


def pass_on(pieces: Iterable[bytes], *, is_whole: bool = False) -> None:
    """Write the pieces to standard output, each at once; to a pipe or a file byte for byte.

    On a terminal they are text: what does not print is escaped but tabs and line breaks, and with `is_whole` what does
    not end with a line break gets one. Raises OSError when standard output takes no more.
    """
    if not sys.stdout.isatty():
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return
    last = "\n"
    for text in _texts(pieces):
        sys.stdout.write(text)
        sys.stdout.flush()
        last = text[-1]
    if is_whole and last != "\n":
        print(flush=True)


def _texts(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield what a terminal may be given. A carriage return becomes a line break: it would hide what it overwrites."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    for piece in pieces:
        yield from filter(None, [_escape(decoder.decode(piece))])
    yield from filter(None, [_escape(decoder.decode(b"", final=True))])


def _escape(text: str) -> str:
    return "\t".join(map(escape, text.split("\t")))
