"""What of each AWS service exists here: read from the registry of operations, so that the page cannot say what is not so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tarry.aws.call import Service
from tarry.aws.services.sagemaker.members import MEMBERS, DescribedBack, Refused, Treatment
from tarry.aws.specs import load_spec


@dataclass(frozen=True, slots=True)
class Listed:
    """One operation of a service, and whether it is implemented. ``refused``: it is here only to refuse in AWS's words."""

    service: str
    operation: str
    implemented: bool
    refused: bool


def operations(services: Mapping[str, Service]) -> Iterator[Listed]:
    """Every operation of every service served, in alphabetical order."""
    for name in sorted(services):
        for operation in sorted(load_spec(name).operation_names):
            refused = operation in services[name].refused
            yield Listed(name, operation, operation in services[name].operations and not refused, refused)


def render_members() -> list[str]:
    """What becomes of each member that a SageMaker request can carry."""
    lines = [
        "",
        "## Members of SageMaker's requests",
        "",
        "*Honoured*: it has its effect. *Described back*: it has none here, for the reason shown; Describe shows it.",
        "*Refused*: the request fails with ValidationException and the sentence that is shown. Nothing is dropped in silence.",
        "",
        "| Structure | Member | |",
        "|---|---|---|",
    ]
    for shape in sorted(MEMBERS):
        for name, treatment in MEMBERS[shape].items():
            lines.append(f"| {shape} | `{name}` | {_told(name, treatment)} |")
    return lines


def _told(name: str, treatment: Treatment) -> str:
    if isinstance(treatment, Refused):
        return f"refused: `{name} {treatment.reason}`"
    return f"described back: {treatment.reason}" if isinstance(treatment, DescribedBack) else "honoured"


def render_markdown(services: Mapping[str, Service]) -> str:
    """The compatibility page."""
    listed = list(operations(services))
    lines = [
        "# Compatibility",
        "",
        "Generated from the registry of operations; do not edit. An operation that is not listed as implemented is refused by",
        "name (`NotImplementedException`, on S3 `NotImplemented`; status 501), never answered as if it had been done. What is",
        "listed as refused always gives the error that AWS gives for it at an asynchronous endpoint.",
        "",
        "| Service | Protocol | Implemented | Refused | Of |",
        "|---|---|---|---|---|",
    ]
    for name in sorted(services):
        own = [item for item in listed if item.service == name]
        implemented, refused = sum(item.implemented for item in own), sum(item.refused for item in own)
        lines.append(f"| {name} | {load_spec(name).family} | {implemented} | {refused} | {len(own)} |")
    for name in sorted(services):
        lines += ["", f"## {name}", ""]
        lines += [f"* {item.operation}" for item in listed if item.service == name and item.implemented]
        lines += [f"* {item.operation} (refused)" for item in listed if item.service == name and item.refused]
    lines += render_members()
    return "\n".join(lines) + "\n"
