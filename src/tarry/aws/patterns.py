r"""The patterns of service descriptions are Java regular expressions; here they become Python ones.

Java writes character classes as ``\p{Alnum}``, code points as ``\uD800`` (surrogates, where Python has whole characters), and
the end of the text as ``\z``. All patterns are meant for the whole text.
"""

import re
import sys
import unicodedata
from functools import cache
from itertools import groupby

_PLAIN_CLASSES = {
    "Alnum": "A-Za-z0-9",
    "Alpha": "A-Za-z",
    "Digit": "0-9",
    "Lower": "a-z",
    "Upper": "A-Z",
    "ASCII": r"\x00-\x7f",
    "Print": r"\x20-\x7e",
    "Graph": r"\x21-\x7e",
    "Space": r"\x20\t\n\x0b\f\r",
    "Punct": r"!-/:-@\[-`{-~",
}
_token = re.compile(
    r"\\p\{(?P<named>\w+)\}"
    r"|\\p(?P<letter>[A-Z])"
    r"|(?P<astral>\\uD800\\uDC00-\\uDBFF\\uDFFF)"
    r"|\\u1(?P<high>0000-)\\u10FFFF"
    r"|(?P<end>\\z)"
    r"|(?P<other>\\.|\[\^?\]?|\]|[^\\\[\]]+)",
    re.DOTALL,
)


@cache
def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """The pattern to be matched against a whole text, or None where it is no regular expression in any dialect.

    A handful of patterns in the descriptions are broken; AWS's own servers cannot mean them, so nothing is refused by them.
    """
    translated: list[str] = []
    inside = False
    for token in _token.finditer(pattern):
        name = token["named"] or token["letter"]
        if name:
            body = _class(name)
            translated.append(body if inside else f"[{body}]")
        elif token["astral"] or token["high"]:
            translated.append("\\U00010000-\\U0010FFFF")
        elif token["end"]:
            translated.append(r"\Z")
        else:
            text = token["other"]
            inside = True if text.startswith("[") else (False if text == "]" else inside)
            translated.append(text)
    try:
        return re.compile("".join(translated))
    except re.error:
        return None


def _class(name: str) -> str:
    """The inside of a character class: of a POSIX name, or of a Unicode category such as ``L``."""
    return _PLAIN_CLASSES.get(name) or unicode_classes()[name]


@cache
def unicode_classes() -> dict[str, str]:
    """The Unicode categories (``L``, ``N`` …) as insides of character classes. The first call takes a few tenths of a second."""
    ranges: dict[str, list[str]] = {}
    codes = range(sys.maxunicode + 1)
    for category, run in groupby(codes, key=lambda code: unicodedata.category(chr(code))[0]):
        members = list(run)
        ranges.setdefault(category, []).append(f"\\U{members[0]:08x}-\\U{members[-1]:08x}")
    return {category: "".join(found) for category, found in ranges.items()}
