"""What of each AWS service exists here: read from the registry of operations, so that the page cannot say what is not so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tarry.aws.call import Service
from tarry.aws.specs import load_spec


@dataclass(frozen=True, slots=True)
class Listed:
    """One operation of a service, and whether it is implemented."""

    service: str
    operation: str
    implemented: bool


def operations(services: Mapping[str, Service]) -> Iterator[Listed]:
    """Every operation of every service served, in alphabetical order."""
    for name in sorted(services):
        for operation in sorted(load_spec(name).operation_names):
            yield Listed(name, operation, operation in services[name].operations)


def render_markdown(services: Mapping[str, Service]) -> str:
    """The compatibility page."""
    listed = list(operations(services))
    lines = [
        "# Compatibility",
        "",
        "Generated from the registry of operations; do not edit. An operation that is not listed as implemented is refused by",
        "name (`NotImplementedException`, on S3 `NotImplemented`; status 501), never answered as if it had been done.",
        "",
        "| Service | Protocol | Implemented | Of |",
        "|---|---|---|---|",
    ]
    for name in sorted(services):
        own = [item for item in listed if item.service == name]
        lines.append(f"| {name} | {load_spec(name).family} | {sum(item.implemented for item in own)} | {len(own)} |")
    for name in sorted(services):
        lines += ["", f"## {name}", ""]
        lines += [f"* {item.operation}" for item in listed if item.service == name and item.implemented]
    return "\n".join(lines) + "\n"
