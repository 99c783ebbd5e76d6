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
    * S3 requests: InvalidBucketName, BucketAlreadyOwned, BucketNotEmpty, KeyTooLong, InvalidRange, PreconditionFailed,
      NoSuchUpload, NoParts, InvalidPart, InvalidPartOrder, InvalidPartNumber, EntityTooSmall, ChecksumMismatch
  * DependencyError: the world outside this process failed
    * StorageFull
    * ObjectNotFound
    * BucketNotFound
    * ObjectRefused
    * ObjectDamaged
    * ImageNotFound
    * ImageBroken
    * ModelDataError
    * InstanceStartError
      * InsufficientCapacity
    * ModelServerUnreachable
      * ModelServerNotConnected
    * ModelServerTimeout
    * ModelResponseInvalid
    * PublishError
    * SigningKeyBroken
    * SchemaTooNew
    * ServerStopping
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
    """The name (compared without case) is taken. ``advice`` is a sentence on what else to do."""

    def __init__(self, kind: str, name: str, advice: str = "") -> None:
        super().__init__(f'Cannot create already existing {kind} "{name}". {advice}'.rstrip())
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


# ------------------------------------------------------------------------------- requests to the embedded object store


class InvalidBucketName(RequestError):
    """The name breaks the naming rules of S3."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"The bucket name {name!r} is not valid: {rule}")
        self.name = name
        self.rule = rule


class BucketAlreadyOwned(RequestError):
    """The bucket exists already; there is one account, so it is the caller's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The bucket {name!r} exists already and is yours.")
        self.name = name


class BucketNotEmpty(RequestError):
    """A bucket with objects in it is not deleted."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The bucket {name!r} is not empty; delete its objects first.")
        self.name = name


class KeyTooLong(RequestError):
    """The key has more bytes in UTF-8 than S3 allows."""

    def __init__(self, size: int, size_max: int) -> None:
        super().__init__(f"The key has {size} bytes in UTF-8; at most {size_max} are possible.")
        self.size = size
        self.size_max = size_max


class InvalidRange(RequestError):
    """No byte of the object lies in the requested range."""

    def __init__(self, requested: str, size: int) -> None:
        super().__init__(f"The range {requested!r} lies outside of an object of {size} bytes.")
        self.requested = requested
        self.size = size


class PreconditionFailed(RequestError):
    """A condition of the request does not hold; ``condition`` is the header's name (``If-Match``, ``If-None-Match``, …)."""

    def __init__(self, condition: str) -> None:
        super().__init__(f"The condition {condition} does not hold.")
        self.condition = condition


class NoSuchUpload(RequestError):
    """The multipart upload was never begun, has been completed, or was aborted."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"There is no unfinished multipart upload {upload_id!r}.")
        self.upload_id = upload_id


class NoParts(RequestError):
    """A multipart upload is to be completed without any part."""

    def __init__(self) -> None:
        super().__init__("At least one part has to be named.")


class InvalidPart(RequestError):
    """A named part was not uploaded, or its ETag or checksum is another."""

    def __init__(self, upload_id: str, number: int, etag: str) -> None:
        super().__init__(f"Part {number} with ETag {etag!r} was not uploaded.")
        self.upload_id = upload_id
        self.number = number
        self.etag = etag


class InvalidPartOrder(RequestError):
    """The parts of a completion are not named in ascending order."""

    def __init__(self, upload_id: str) -> None:
        super().__init__("The parts have to be named in ascending order of their numbers.")
        self.upload_id = upload_id


class InvalidPartNumber(RequestError):
    """The part number is not one of the possible ones: ``1..number_max``."""

    def __init__(self, number: int, number_max: int) -> None:
        super().__init__(f"Expected a part number from 1 to {number_max}, got {number}.")
        self.number = number
        self.number_max = number_max


class EntityTooSmall(RequestError):
    """A part other than the last is smaller than S3 allows."""

    def __init__(self, *, number: int, etag: str, size: int, size_min: int) -> None:
        super().__init__(f"Part {number} has {size} bytes; all parts but the last need at least {size_min}.")
        self.number = number
        self.etag = etag
        self.size = size
        self.size_min = size_min


class ChecksumMismatch(RequestError):
    """A checksum that the caller gave is not that of the bytes."""

    def __init__(self, algorithm: str, *, expected: str, calculated: str) -> None:
        super().__init__(f"The {algorithm.upper()} {expected!r} was given, the bytes have {calculated!r}.")
        self.algorithm = algorithm
        self.expected = expected
        self.calculated = calculated


class DependencyError(TarryError):
    """The world outside this process failed: a disk, a store, a model server, a topic."""


class ServerStopping(DependencyError):
    """The server stopped before the request was done; what had been written of it stays."""


class StorageFull(DependencyError):
    """The disk has no room; nothing was half-written."""


class ObjectNotFound(DependencyError):
    """The object store has no object at this location."""


class BucketNotFound(DependencyError):
    """The object store has no such bucket."""


class ObjectRefused(DependencyError):
    """The object store will not take an object at this location: its key could never be one. Trying again cannot help."""


class ObjectDamaged(DependencyError):
    """The object store knows the object and cannot give its bytes: they are missing, cut short or unreadable on its disk."""


class ImageNotFound(DependencyError):
    """No known image matches the reference."""


class ImageBroken(DependencyError):
    """The image is known but its environment could not be built."""


class ModelDataError(DependencyError):
    """The model archive could not be fetched or unpacked safely."""


class InstanceStartError(DependencyError):
    """The engine could not start the instance."""


class InsufficientCapacity(InstanceStartError):
    """There is no room for another instance, now; ``cause`` is a sentence that says why."""

    def __init__(self, cause: str) -> None:
        # AWS: the words that programs look for; SDK v2 raises its own CapacityError where it sees that name.
        super().__init__(
            "CapacityError: Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please "
            f"retry using a different ML instance type. (Here: {cause})"
        )


class ModelServerUnreachable(DependencyError):
    """No connection to the model server, or it broke before the whole answer was there."""


class ModelServerNotConnected(ModelServerUnreachable):
    """The model server took no connection: it has seen nothing of the request."""


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


class SigningKeyBroken(DependencyError):
    """The file with the key and certificate that messages to subscribers are signed with cannot be used."""


class SchemaTooNew(DependencyError):
    """The database was written by a newer version of this program; nothing was read or changed."""


class RaceError(TarryError):
    """Somebody else was first; the loser drops its work and changes nothing."""


class LeaseLost(RaceError):
    """The lease ran out, was voided, or the invocation has been decided by somebody else."""


class StopRequested(RaceError):
    """The invocation is to be stopped: no other end can be decided for it any more."""


class Conflict(RaceError):
    """The entity changed since it was read."""


class Bug(TarryError):
    """This program is wrong; please report it."""
