"""The named points in the life of an invocation at which a process may die or stand still.

Each is a moment between two steps that cannot be one: the comment says what is true at it. The server and its workers are one
process on the embedded path, so a point is both "the server dies here" and "the worker dies here".
"""

from enum import StrEnum


class Point(StrEnum):
    """Where whoever comes by is held."""

    INSERTED = "after the insert, before its commit"
    """The caller has no answer; the row is in the transaction of the writer's thread."""
    ACCEPTED = "after 202, before a claim"
    """Every claim is held (not only the next); the test itself awaits the caller's answer."""
    CLAIMED = "after the claim"
    """The lease is on disk; nobody has begun to work."""
    DOWNLOADING = "in the middle of the download"
    """The first chunk of the input is on its way to the model server."""
    INFERRING = "in the middle of the inference"
    """Held by the model server itself: see ``meet`` of the stub image."""
    STAGING = "in the middle of staging"
    """The first chunk of the answer has been taken."""
    STAGED = "after staging, before the decision"
    """The answer is durable where nobody can see it."""
    DECIDING = "inside the decision's transaction"
    """Embedded: outcome, object, end and the topic's message are written and not committed."""
    DECIDED = "after the decision, before publishing"
    """Only in separate commits, as this and the next three: the embedded stores make them one."""
    PUBLISHED = "after publishing, before the finish"
    """The object is visible, the end is not on disk."""
    FINISHED = "after the finish, before the notification"
    """The end is on disk, the topic has not been told."""
    HANDED_OVER = "in the middle of the notification: its topic has it"
    """The topic has written one push for each subscriber; the outbox does not know that yet."""
    PUSHING = "in the middle of the notification: its subscriber is about to get it"
    """The pusher has taken the push up; nothing has been sent."""
    PUSHED = "in the middle of the notification: its subscriber has it"
    """The subscriber has answered 200; that is not written down yet."""
    GIVING_BACK = "before an attempt gives its invocation back"
    """Nobody could write its result, or its instance died."""
    RENEWING = "before leases are renewed"
    """Held, no renewal gets through: a lease that has been slept over is lost for certain."""


SEPARATE_COMMITS = (Point.DECIDED, Point.PUBLISHED, Point.FINISHED, Point.HANDED_OVER)
"""Points that exist only where deciding, publishing, finishing and announcing are not one: `HeldServer.separate_commits`."""
EMBEDDED = tuple(point for point in Point if point not in {*SEPARATE_COMMITS, Point.GIVING_BACK, Point.RENEWING})
"""The points of the path as it is served."""
