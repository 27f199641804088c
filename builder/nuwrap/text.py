"""Texts of a run, a server or a file as a terminal may have them. Imports nothing of ours."""

from __future__ import annotations


def escape(text: str) -> str:
    """Return the text with each character that does not print escaped; line breaks stay."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)
