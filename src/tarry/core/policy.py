"""What a key may do, in IAM's policy language: statements that allow or deny actions on resources.

A deny beats every allow, and what nothing allows is denied. AWS: "Policy evaluation logic" and "IAM JSON policy elements
reference" in the IAM user guide. OURS: conditions and principals are refused when a policy is given, since a policy that is not
understood must not be half obeyed.
"""

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from tarry.core.errors import InvalidRequest

DOCUMENT_CHARS_MAX = 6144  # AWS: of a managed policy (IAM user guide, quotas)
VERSIONS = ("2012-10-17", "2008-10-17")
_ELEMENTS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource"})


class Verdict(Enum):
    """What a policy says of one action on one resource."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not allowed"  # nothing allows it
    DENIED = "denied"  # a statement denies it


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Patterns with ``*`` and ``?``. ``except_`` turns a list around: everything but these."""

    allows: bool
    actions: tuple[str, ...]
    except_actions: bool = False
    resources: tuple[str, ...]
    except_resources: bool = False

    def covers(self, action: str, resource: str) -> bool:
        """Whether it speaks of this action on this resource. Actions are compared without case."""
        named = any(_matches(pattern.lower(), action.lower()) for pattern in self.actions)
        meant = any(_matches(pattern, resource) for pattern in self.resources)
        return named != self.except_actions and meant != self.except_resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy as it was given, and read."""

    document: str
    statements: tuple[Statement, ...]

    def judge(self, action: str, resource: str) -> Verdict:
        """What it says of an action (``s3:GetObject``) on a resource (an ARN, or ``*``)."""
        covering = [statement for statement in self.statements if statement.covers(action, resource)]
        if any(not statement.allows for statement in covering):
            return Verdict.DENIED
        return Verdict.ALLOWED if covering else Verdict.NOT_ALLOWED


def read_policy(document: str) -> Policy:
    """Read a policy document. Errors: InvalidRequest, which says what was expected and what came."""
    if len(document) > DOCUMENT_CHARS_MAX:
        raise InvalidRequest(f"A policy has at most {DOCUMENT_CHARS_MAX} characters, got {len(document)}.")
    try:
        policy = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"Expected a policy as a JSON object, got text that is not JSON: {error}.") from None
    if not isinstance(policy, dict):
        raise InvalidRequest(f"Expected a policy as a JSON object, got {_kind(policy)}.")
    if unknown := sorted(set(policy) - {"Version", "Id", "Statement"}):
        raise InvalidRequest(f"A policy has the elements Version, Id and Statement; got {unknown[0]!r}.")
    if policy.get("Version", VERSIONS[1]) not in VERSIONS:
        raise InvalidRequest(f"The Version of a policy is {VERSIONS[0]}, got {policy['Version']!r}.")
    statements = policy.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise InvalidRequest(f"A policy must have a Statement: one object or a list of some; got {_kind(statements)}.")
    return Policy(document=document, statements=tuple(_statement(one, number) for number, one in enumerate(statements, 1)))


def _statement(given: Any, number: int) -> Statement:
    if not isinstance(given, dict):
        raise InvalidRequest(f"Statement {number} must be an object, got {_kind(given)}.")
    if unknown := sorted(set(given) - _ELEMENTS):
        raise InvalidRequest(
            f"Statement {number} has the element {unknown[0]!r}, which is not supported here. Use {', '.join(sorted(_ELEMENTS))}."
        )
    if given.get("Effect") not in ("Allow", "Deny"):
        raise InvalidRequest(f"The Effect of statement {number} must be Allow or Deny, got {given.get('Effect')!r}.")
    actions, except_actions = _patterns(given, "Action", number)
    resources, except_resources = _patterns(given, "Resource", number)
    for action in actions:
        if action != "*" and not re.fullmatch(r"[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+", action):
            raise InvalidRequest(f"An action is written service:Name, such as s3:GetObject; statement {number} has {action!r}.")
    return Statement(
        allows=given["Effect"] == "Allow",
        actions=actions,
        except_actions=except_actions,
        resources=resources,
        except_resources=except_resources,
    )


def _patterns(given: Mapping[str, Any], name: str, number: int) -> tuple[tuple[str, ...], bool]:
    """The patterns, and whether they are meant the other way round."""
    present = [element for element in (name, f"Not{name}") if element in given]
    if len(present) != 1:
        raise InvalidRequest(f"Statement {number} must have exactly one of {name} and Not{name}, got {len(present)}.")
    value = given[present[0]]
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, Sequence) or not patterns or not all(isinstance(one, str) and one for one in patterns):
        raise InvalidRequest(f"{present[0]} of statement {number} must be a text or a list of some, got {_kind(value)}.")
    return tuple(patterns), present[0] != name


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # fnmatch's translation never backtracks over a star that has found its place: no pattern is slow. Brackets mean nothing here.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def _matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).match(text) is not None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
