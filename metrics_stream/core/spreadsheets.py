"""Texts that no spreadsheet takes for a formula, whether it separates cells by commas, semicolons or tabs.

A program that separates by semicolons or tabs ignores the quotes of a comma-separated file. To it, a cell begins after
each of these characters and after each line break, also in the middle of one of our texts.
"""

from __future__ import annotations

import re

# ASCII, full-width, small, superscript and subscript forms, and the minus of mathematics.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u207c\u208c\u207a\u208a\u207b\u208b\u2212"

# What programs skip before the sign: white space, quotes, control characters, and characters without a picture.
_SKIPPED = "\\s\"'\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"

_CELL_BEGINS = re.compile(rf"(?:\A|(?<=[;\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]))(?=[{_SKIPPED}]*[{_SIGNS}])")


def without_formulas(text: str) -> str:
    """Return a text with an apostrophe wherever a program would otherwise read a formula.

    An apostrophe that stands before a sign gets another one, so that a reader can take one away from each.
    """
    return _CELL_BEGINS.sub("'", text)
