"""Patterns with stars and question marks: what they match, written by hand, and what a comparison costs."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tarry.core.wildcards import Wildcards


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (
            "",
            [
                "",
            ],
            ["a"],
        ),
        ("abc", ["abc"], ["", "ab", "abcd", "ABC", "xabc"]),
        ("*", ["", "a", "a/b:c\n"], []),
        ("**", ["", "ab"], []),
        ("?", ["a", "/", "\n"], ["", "ab"]),
        ("a*", ["a", "ab", "a*"], ["", "ba"]),
        ("*a", ["a", "ba", "aba", "aaa"], ["", "ab"]),
        ("a*b", ["ab", "aab", "a/x/b", "abb", "abab"], ["a", "b", "ba", "aba"]),
        ("*ab*", ["ab", "xaby", "aab", "ababa"], ["", "a", "b", "ba", "acb"]),
        ("a?c", ["abc", "a?c"], ["ac", "abbc", "abcd"]),
        ("?*?", ["ab", "abc"], ["", "a"]),
        ("*a?b*c", ["axbc", "aaabc", "zaxbyc", "axbaxbcc"], ["abc", "axb", "axbcd"]),
        ("s3:Get*", ["s3:GetObject", "s3:Get"], ["s3:PutObject", "xs3:GetObject", "s3:get"]),
        ("[a].b", ["[a].b"], ["a.b", "[a]xb"]),
        ("\\d+^$|", ["\\d+^$|"], ["1", ""]),
    ],
)
def test_what_a_pattern_matches(pattern: str, matching: list[str], others: list[str]) -> None:
    one = Wildcards([[pattern]])
    assert [text for text in matching if not one.match(text)] == []
    assert [text for text in others if one.match(text)] == []


def test_lists_and_their_patterns_keep_apart() -> None:
    some = Wildcards([["ab", "*c"], [], ["d?", ""], ["abc"]])
    expected = {"ab": {0}, "c": {0}, "abc": {0, 3}, "dc": {0, 2}, "dx": {2}, "": {2}}
    assert {text: some.match(text) for text in expected} == expected
    assert not any(some.match(text) for text in ("abd", "abdx", "a", "d", "cb", "abcd"))
    assert Wildcards([]).match("") == Wildcards([[]]).match("") == frozenset()


PARTS = st.lists(st.sampled_from(["a", "b", "ab", "*", "?"]), max_size=8)


@given(PARTS, st.data())
def test_what_is_made_from_a_pattern_matches_it(parts: list[str], data: st.DataObject) -> None:
    pattern = "".join(parts)
    choices = {"*": st.text("ab", max_size=3), "?": st.sampled_from("ab")}
    text = "".join(data.draw(choices.get(part, st.just(part))) for part in parts)
    assert Wildcards([[pattern]]).match(text)


@given(st.text("ab?", max_size=6), st.text("ab", max_size=6))
def test_without_a_star_every_character_counts(pattern: str, text: str) -> None:
    same = len(pattern) == len(text) and all(one in ("?", other) for one, other in zip(pattern, text, strict=True))
    assert bool(Wildcards([[pattern]]).match(text)) == same


class _Counted(str):
    """A text that counts how often its characters are looked at."""

    __slots__ = ("seen",)
    seen: int

    def __iter__(self) -> Iterator[str]:
        self.seen = 0
        for character in str(self):
            self.seen += 1
            yield character

    def __getitem__(self, index: object) -> str:
        raise AssertionError("a text is read from its beginning to its end")


def test_every_character_is_looked_at_once_whatever_the_patterns_are() -> None:
    text = _Counted("a" * 1000)
    assert not Wildcards([["*" + "a" * 480 + letter for letter in "bcdefghijklm"], ["*a?a*" * 50 + "b"]]).match(text)
    assert text.seen == 1000
