"""Every error that Tarry raises on purpose, in one tree.

* TarryError
  * RequestError: the caller asked for something that cannot be; the caller can mend it
    * InvalidRequest
      * NotSupported
    * NotFound
      * EndpointNotFound
    * AlreadyExists
    * InProgress
    * LimitExceeded
    * Throttled
    * AccessDenied
  * DependencyError: the world outside this process failed
    * StorageFull
    * ObjectNotFound
    * BucketNotFound
    * ImageNotFound
    * ImageBroken
    * ModelDataError
    * InstanceStartError
    * ModelServerUnreachable
    * ModelServerTimeout
    * ModelResponseInvalid
    * PublishError
  * RaceError: somebody else was first; the loser drops its work
    * LeaseLost
    * Conflict
  * Bug: this program is wrong

The tree knows nothing of AWS: ``aws/errors.py`` turns each class into a code, a status and a wording.
"""


class TarryError(Exception):
    """The base of all errors that Tarry raises on purpose."""


class RequestError(TarryError):
    """The caller's request cannot be carried out as it is; nothing has changed."""


class InvalidRequest(RequestError):
    """A value is wrong; the message says what was expected, what came and what to do."""


class NotSupported(InvalidRequest):
    """A parameter that Tarry knows and cannot honour: refused, never silently dropped."""


class NotFound(RequestError):
    """Nothing of this kind has this name (or ARN)."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f'Could not find {kind} "{name}".')
        self.kind = kind
        self.name = name


class EndpointNotFound(NotFound):
    """No endpoint of this name takes invocations: it does not exist, is not in service yet, or is being deleted."""

    def __init__(self, name: str) -> None:
        super().__init__("endpoint", name)


class AlreadyExists(RequestError):
    """The name (compared without case) is taken."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f'Cannot create already existing {kind} "{name}".')
        self.kind = kind
        self.name = name


class InProgress(RequestError):
    """The endpoint is being changed; only reading and invoking are possible until that ends."""

    def __init__(self, name: str) -> None:
        super().__init__(f'Cannot update in-progress endpoint "{name}".')
        self.name = name


class LimitExceeded(RequestError):
    """A documented bound would be passed."""


class Throttled(RequestError):
    """Too much at once; nothing was taken on, and the same request may succeed in a moment."""


class AccessDenied(RequestError):
    """The caller's key may not do this."""


class DependencyError(TarryError):
    """The world outside this process failed: a disk, a store, a model server, a topic."""


class StorageFull(DependencyError):
    """The disk has no room; nothing was half-written."""


class ObjectNotFound(DependencyError):
    """The object store has no object at this location."""


class BucketNotFound(DependencyError):
    """The object store has no such bucket."""


class ImageNotFound(DependencyError):
    """No known image matches the reference."""


class ImageBroken(DependencyError):
    """The image is known but its environment could not be built."""


class ModelDataError(DependencyError):
    """The model archive could not be fetched or unpacked safely."""


class InstanceStartError(DependencyError):
    """The engine could not start the instance."""


class ModelServerUnreachable(DependencyError):
    """No connection to the model server, or it broke before the whole answer was there."""


class ModelServerTimeout(DependencyError):
    """The model server did not answer within the invocation timeout."""


class ModelResponseInvalid(DependencyError):
    """The model server's answer breaks the container contract."""


class PublishError(DependencyError):
    """A notification could not be handed to its topic.

    ``permanent`` is true where trying again cannot help (the topic does not exist).
    """

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class RaceError(TarryError):
    """Somebody else was first; the loser drops its work and changes nothing."""


class LeaseLost(RaceError):
    """The lease ran out, was voided, or the invocation has been decided by somebody else."""


class Conflict(RaceError):
    """The entity changed since it was read."""


class Bug(TarryError):
    """This program is wrong; please report it."""
