"""The characters that an observation may have: printable ASCII and newlines (`envs.base.CHARSET`)."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with `?` in place of every character that an observation may not have."""
    return "".join(char if " " <= char <= "~" or char == "\n" else "?" for char in text)


def printable_line(text: str) -> str:
    """The same in one line: a newline becomes `?`, too."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)
