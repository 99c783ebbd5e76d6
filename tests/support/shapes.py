"""Sample values for any shape of a service description: deterministic, and different from member to member."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tarry.aws.specs import Shape

DEPTH_MAX = 6
_TEXTS = ("plain", "a b&c<d>\"e'", "ünï/cödé", "x,y", "100%+1=2", " inner  blanks")
_HEADER_TEXTS = ("plain", "a b&c", "x=y;z", "100%")
_START = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


class Samples:
    """Makes values; each call moves on, so that no two members get the same."""

    def __init__(self, seed: int = 0) -> None:
        self._count = seed

    def structure(self, shape: Shape, *, only_required: bool = False, depth: int = 0) -> dict[str, Any]:
        """A value for each member (or each required one) of a structure; of a union, for the first."""
        names = [name for name in shape.members if not only_required or name in shape.required_members]
        if shape.is_tagged_union:
            names = names[:1]
        found: dict[str, Any] = {}
        for name in names:
            member = shape.members[name]
            if member.serialization.get("eventstream") or (
                depth >= DEPTH_MAX and member.type_name in ("structure", "list", "map")
            ):
                continue
            found[name] = self.value(member, depth=depth + 1)
        return found

    def value(self, shape: Shape, *, depth: int = 0) -> Any:
        """A value for a shape."""
        self._count += 1
        located = shape.serialization.get("location")
        match shape.type_name:
            case "structure":
                return self.structure(shape, depth=depth)
            case "list":
                return [self._item(shape.member, located, depth) for _ in range(2)]
            case "map":
                return {f"key-{index}": self._item(shape.value, located, depth) for index in range(2)}
            case "boolean":
                return self._count % 2 == 0
            case "integer" | "long":
                return self._count
            case "float" | "double":
                return self._count + 0.5
            case "timestamp":
                whole = located in ("header", "querystring") or shape.serialization.get("timestampFormat") == "rfc822"
                return _START.replace(microsecond=0 if whole else 678000) + timedelta(seconds=self._count)
            case "blob":
                return bytes([self._count % 256]) + b"\x00\xff bytes"
        return self.text(shape, located)

    def text(self, shape: Shape, located: str | None) -> str:
        """A text for a string shape: one of its enum, or one with characters that need care where it travels."""
        if shape.enum:
            return str(shape.enum[self._count % len(shape.enum)])
        texts = _HEADER_TEXTS if located in ("header", "headers") else _TEXTS
        return f"{texts[self._count % len(texts)]}-{self._count}"

    def _item(self, shape: Shape, located: str | None, depth: int) -> Any:
        if shape.type_name == "string" and located is not None:
            self._count += 1
            return self.text(shape, located)
        return self.value(shape, depth=depth)
