"""What a key may do, in IAM's policy language: statements that allow or deny actions on resources.

A deny beats every allow, and what nothing allows is denied. AWS: "Policy evaluation logic" and "IAM JSON policy elements
reference" in the IAM user guide. OURS: conditions, principals, policy variables and elements that are given twice are refused
when a policy is given, since a policy that is not understood must not be half obeyed: a deny that means nothing is open.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tarry.core.errors import InvalidRequest
from tarry.core.wildcards import Wildcards

DOCUMENT_CHARS_MAX = 6144  # AWS: of a managed policy (IAM user guide, quotas)
VERSIONS = ("2012-10-17", "2008-10-17")
RESOURCE_CHARS_MAX = 2048
"""OURS: no ARN here is longer (an object's key has at most 1024 bytes), so nothing allows what is, and it is not compared."""
# OURS: names of SageMaker and of keys are unique without case here, and AWS lower-cases the name in a SageMaker ARN; IAM compares
# with case. A deny of endpoint/MyEndpoint has to hit the one endpoint that can be meant.
_WITHOUT_CASE = re.compile(r"arn:[^:]*:(sagemaker:|tarry:[^:]*:[^:]*:access-key/)")
_ARN = re.compile(r"arn(:[^:]*){4}:.+", re.DOTALL)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy as it was given, and read."""

    document: str
    statements: tuple[Statement, ...]
    _actions: Wildcards = field(init=False, repr=False, compare=False)
    _resources: Wildcards = field(init=False, repr=False, compare=False)
    _resources_in_lower_case: Wildcards = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        resources = [statement.resources for statement in self.statements]
        object.__setattr__(self, "_actions", Wildcards(_lower(statement.actions) for statement in self.statements))
        object.__setattr__(self, "_resources", Wildcards(resources))
        object.__setattr__(self, "_resources_in_lower_case", Wildcards(_lower(patterns) for patterns in resources))

    def judge(self, action: str, resource: str) -> Verdict:
        """What it says of an action (``s3:GetObject``) on a resource (an ARN, or ``*``).

        Actions are compared without case, resources as their kind is.
        """
        if len(resource) > RESOURCE_CHARS_MAX:
            return Verdict.NOT_ALLOWED
        named = self._actions.match(action.lower())
        any_case = _WITHOUT_CASE.match(resource) is not None
        meant = self._resources_in_lower_case.match(resource.lower()) if any_case else self._resources.match(resource)
        covering = [
            statement
            for number, statement in enumerate(self.statements)
            if (number in named) != statement.except_actions and (number in meant) != statement.except_resources
        ]
        if any(not statement.allows for statement in covering):
            return Verdict.DENIED
        return Verdict.ALLOWED if covering else Verdict.NOT_ALLOWED

    def judge_all(self, action: str) -> Verdict:
        """What it says of an action on all resources at once: allowed on ``*``, and denied on none.

        A deny of the action counts whatever it is about, since nobody can tell which resources there will be; an Allow of
        ``NotResource`` excludes some, so it is not one of all.
        """
        named = self._actions.match(action.lower())
        covering = [one for number, one in enumerate(self.statements) if (number in named) != one.except_actions]
        if any(not one.allows for one in covering):
            return Verdict.DENIED
        of_all = any("*" in one.resources and not one.except_resources for one in covering)
        return Verdict.ALLOWED if of_all else Verdict.NOT_ALLOWED


def _lower(patterns: Iterable[str]) -> list[str]:
    return [pattern.lower() for pattern in patterns]


def read_policy(document: str) -> Policy:
    """Read a policy document. Errors: InvalidRequest, which says what was expected and what came."""
    if len(document) > DOCUMENT_CHARS_MAX:
        raise InvalidRequest(f"A policy has at most {DOCUMENT_CHARS_MAX} characters, got {len(document)}.")
    try:
        policy = json.loads(document, object_pairs_hook=_object)
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


def kept_policy(document: str) -> Policy:
    """A policy that was accepted once. If it would be refused today it allows nothing, until its key is given another."""
    try:
        return read_policy(document)
    except InvalidRequest:
        return Policy(document=document, statements=())


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in pairs:
        if name in read:
            raise InvalidRequest(f"A policy has the element {name!r} twice in one object; only one of them would be obeyed.")
        read[name] = value
    return read


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
    for resource in resources:
        _check_resource(resource, number)
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


def _check_resource(resource: str, number: int) -> None:
    if "${" in resource:
        raise InvalidRequest(
            f"Policy variables such as ${{aws:username}} are not supported here; statement {number} has {resource!r}. Write the "
            "name itself."
        )
    # AWS: an ARN or "*" (IAM user guide, "IAM JSON policy elements: Resource").
    # OURS: fewer than six fields are refused, since what would be meant by them is a guess.
    if resource != "*" and not _ARN.fullmatch(resource):
        raise InvalidRequest(
            f"A resource is * or an ARN with six fields, such as arn:aws:s3:::bucket/*; statement {number} has {resource!r}."
        )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
