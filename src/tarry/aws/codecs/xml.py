"""XML in and out, by shape. What comes in may be hostile: no DTD, no entities, bounded depth and count, read by expat alone.

Going out, text is built directly: a listing of a thousand keys is a few thousand small strings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from tarry.aws.codecs.scalars import BadValueError, from_text, to_text
from tarry.aws.specs import Shape
from tarry.core.errors import Bug

DEPTH_MAX = 32
NODES_MAX = 100_000
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

_special = re.compile(r"[&<>\"\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


@dataclass(slots=True)
class Node:
    """An element: its name and attributes without namespaces, its text, its children."""

    name: str
    attributes: Mapping[str, str]
    text: str = ""
    children: list["Node"] = field(default_factory=list)


class _Builder:
    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []
        self._count = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._count += 1
        if len(self._open) >= DEPTH_MAX or self._count > NODES_MAX:
            raise BadValueError(f"Expected at most {DEPTH_MAX} levels and {NODES_MAX} elements.")
        node = Node(_local(name), {_local(key): value for key, value in attributes.items()})
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].text += data

    def refuse(self, *_: Any) -> None:
        raise BadValueError("Expected no document type declaration.")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def read_document(body: bytes) -> Node:
    """The root element of a document. Errors: BadValueError."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    try:
        parser.Parse(body, True)
    except BadValueError:
        raise
    except expat.ExpatError as error:
        raise BadValueError(f"Not well-formed XML: {error}.") from None
    except (UnicodeDecodeError, LookupError, ValueError) as error:
        raise BadValueError(f"Not readable XML: {error}.") from None
    if builder.root is None:
        raise BadValueError("Expected an XML element.")
    return builder.root


def parse_node(shape: Shape, node: Node) -> Any:
    """The value of an element. Unknown elements and missing required ones are errors: BadValueError."""
    match shape.type_name:
        case "structure":
            return parse_members(shape, node, tuple(shape.members))
        case "list":
            name = shape.member.serialization.get("name", "member")
            if any(child.name != name for child in node.children):
                raise BadValueError(f"Expected only {name} in {node.name}.")
            return [parse_node(shape.member, child) for child in node.children]
        case "map":
            return dict(_entry(shape, child) for child in node.children)
    if node.children:
        raise BadValueError(f"Expected text in {node.name}, got elements.")
    try:
        return from_text(shape, node.text)
    except BadValueError as error:
        raise BadValueError(f"{node.name}: {error}") from None


def parse_members(shape: Shape, node: Node, members: Sequence[str]) -> dict[str, Any]:
    """The given members of a structure from an element's children and attributes."""
    by_name: dict[str, list[Node]] = {}
    for child in node.children:
        by_name.setdefault(child.name, []).append(child)
    parsed: dict[str, Any] = {}
    for member in members:
        member_shape = shape.members[member]
        if member_shape.serialization.get("xmlAttribute"):
            value = node.attributes.get(member_shape.serialization["name"].rpartition(":")[2])
        else:
            value = _parse_member(member_shape, by_name.pop(wire_name(member, member_shape), None))
        if value is not None:
            parsed[member] = value
        elif member in shape.required_members:
            raise BadValueError(f"Expected {member} in {node.name}.")
    if by_name:
        raise BadValueError(f"Expected no {next(iter(by_name))[:64]} in {node.name}.")
    return parsed


def _parse_member(shape: Shape, nodes: list[Node] | None) -> Any:
    if nodes is None:
        return None
    if shape.serialization.get("flattened"):
        if shape.type_name == "map":
            return dict(_entry(shape, node) for node in nodes)
        return [parse_node(shape.member, node) for node in nodes]
    if len(nodes) > 1:
        raise BadValueError(f"Expected {nodes[0].name} once.")
    return parse_node(shape, nodes[0])


def _entry(shape: Shape, node: Node) -> tuple[Any, Any]:
    names = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
    found = {child.name: child for child in node.children}
    if set(found) != set(names):
        raise BadValueError(f"Expected {names[0]} and {names[1]} in {node.name}.")
    return parse_node(shape.key, found[names[0]]), parse_node(shape.value, found[names[1]])


def wire_name(member: str, shape: Shape) -> str:
    """The element name of a structure's member; a flattened list is called by its items."""
    if shape.type_name == "list" and shape.serialization.get("flattened"):
        item: str | None = shape.member.serialization.get("name")
        if item is not None:
            return item
    name: str = shape.serialization.get("name", member)
    return name


def escape(text: str) -> str:
    """Text as it may stand in an element or attribute.

    AWS: S3 writes characters that XML 1.0 cannot hold as references (``&#x1;``); encoding-type=url is the way around them
    (ListObjectsV2 API reference, EncodingType).
    """
    if not _special.search(text):
        return text
    return _special.sub(lambda match: _NAMED.get(match[0]) or f"&#x{ord(match[0]):X};", text)


def write_element(shape: Shape, value: Any, name: str, namespace: str = "") -> str:
    """One element with everything in it."""
    attributes = f' xmlns="{escape(namespace)}"' if namespace else ""
    if shape.type_name == "structure":
        own = shape.serialization.get("xmlNamespace")
        if isinstance(own, Mapping) and own.get("prefix"):
            attributes += f' xmlns:{own["prefix"]}="{escape(own["uri"])}"'
        attributes += "".join(_attributes(shape, value))
        return f"<{name}{attributes}>{''.join(write_members(shape, value, tuple(shape.members)))}</{name}>"
    return f"<{name}{attributes}>{_content(shape, value)}</{name}>"


def write_members(shape: Shape, value: Mapping[str, Any], members: Sequence[str]) -> Iterator[str]:
    """The elements of some members of a structure, in the order of the description."""
    unknown = value.keys() - shape.members.keys()
    if unknown:
        raise Bug(f"{shape.name} has no member {min(unknown)!r}.")
    for member in members:
        member_value = value.get(member)
        member_shape = shape.members[member]
        if member_value is None or member_shape.serialization.get("xmlAttribute"):
            continue
        name = wire_name(member, member_shape)
        if not member_shape.serialization.get("flattened"):
            yield write_element(member_shape, member_value, name)
        elif member_shape.type_name == "map":
            yield from (f"<{name}>{pair}</{name}>" for pair in _pairs(member_shape, member_value))
        else:
            yield from (write_element(member_shape.member, item, name) for item in member_value)


def _attributes(shape: Shape, value: Mapping[str, Any]) -> Iterator[str]:
    for member, member_shape in shape.members.items():
        if member_shape.serialization.get("xmlAttribute") and value.get(member) is not None:
            yield f' {member_shape.serialization["name"]}="{escape(str(value[member]))}"'


def _content(shape: Shape, value: Any) -> str:
    if shape.type_name == "list":
        name = shape.member.serialization.get("name", "member")
        return "".join(write_element(shape.member, item, name) for item in value)
    if shape.type_name == "map":
        return "".join(f"<entry>{pair}</entry>" for pair in _pairs(shape, value))
    return escape(to_text(shape, value))


def _pairs(shape: Shape, value: Mapping[str, Any]) -> Iterator[str]:
    key_name, value_name = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
    for key, item in value.items():
        yield write_element(shape.key, key, key_name) + write_element(shape.value, item, value_name)
