"""What in a policy can never match anything here: a slip of the pen that a deny must not owe its silence to.

AWS accepts such patterns, since actions and resources may come into being later; so they are told, not refused.
"""

from collections.abc import Iterator

from tarry.aws.authorization import actions_known
from tarry.core.names import Scope
from tarry.core.policy import Policy
from tarry.core.wildcards import Wildcards


def unmatched(policy: Policy, scope: Scope) -> Iterator[str]:
    """A sentence for each pattern that no action or no resource of this server matches."""
    actions = [action.lower() for action in actions_known()]
    fields = _fields_known(scope)
    for number, statement in enumerate(policy.statements, 1):
        for pattern in statement.actions:
            wildcards = Wildcards([[pattern.lower()]])
            if not any(wildcards.match(action) for action in actions):
                yield f"statement {number}: no operation of this server needs the action {pattern!r}."
        for pattern in statement.resources:
            if pattern != "*" and not any(_may_match(pattern, known) for known in fields):
                yield (
                    f"statement {number}: no resource of this server is called {pattern!r}. Its ARNs begin with "
                    + ", ".join(":".join(known) + ":" for known in fields)
                    + "."
                )


def _may_match(pattern: str, known: tuple[str, ...]) -> bool:
    wanted = pattern.split(":", len(known))[: len(known)]
    return all(Wildcards([[one]]).match(field) for one, field in zip(wanted, known, strict=True))


def _fields_known(scope: Scope) -> tuple[tuple[str, ...], ...]:
    """What ARNs of this server begin with: arn, partition, service, region and account."""
    here = (scope.region, scope.account_id)
    places = {"sagemaker": here, "s3": ("", ""), "sns": here, "tarry": here, "iam": ("", scope.account_id)}
    return tuple(("arn", scope.partition, service, *place) for service, place in places.items())
