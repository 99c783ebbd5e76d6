"""Patterns with ``*`` and ``?``, compared in time that no pattern can stretch.

Whoever may write a policy must not be able to stop the server with it. Regular expressions compare a pattern anew at every
place of the text, so their time is text times pattern. Here all patterns of a policy are one automaton whose state is a number,
and each character of the text is one step of it, whatever the patterns are (Baeza-Yates and Gonnet, "A new approach to text
searching", 1992: Shift-And).
"""

from collections import defaultdict
from collections.abc import Iterable


class Wildcards:
    """Lists of patterns: ``*`` stands for any characters or none, ``?`` for exactly one, all others for themselves.

    A bit of the state is a place in one of the patterns; it is set while the text so far can have led there. A character moves
    bits to the next place; a star keeps the bit where it is.
    """

    def __init__(self, lists: Iterable[Iterable[str]]) -> None:
        self._starts = self._stars = self._any = 0
        self._by_character: dict[str, int] = defaultdict(int)
        self._ends: list[int] = []
        place = 1
        for patterns in lists:
            ends = 0
            for pattern in patterns:
                self._starts |= place
                for character in pattern:
                    if character == "*":
                        self._stars |= place
                        continue
                    if character == "?":
                        self._any |= place
                    else:
                        self._by_character[character] |= place
                    place <<= 1
                ends |= place
                place <<= 1
            self._ends.append(ends)

    def match(self, text: Iterable[str]) -> frozenset[int]:
        """The lists (0 is the first one) with a pattern that stands for the whole text."""
        state = self._starts
        for character in text:
            moving = state & (self._by_character.get(character, 0) | self._any)
            state = moving << 1 | state & self._stars
            if not state:
                break
        return frozenset(number for number, ends in enumerate(self._ends) if state & ends)
