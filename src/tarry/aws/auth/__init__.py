"""Who signed this request, and is every byte of it what was signed? Pure verification: no I/O but the key lookup given.

``authenticate`` is the way in; ``claimed_service`` comes before it, ``open_body`` after it.
"""

from tarry.aws.auth.authenticate import authenticate, claimed_service
from tarry.aws.auth.bodies import open_body
from tarry.aws.auth.request import ChunkSeed, Family, How, KeyLookup, RawRequest, Verified

__all__ = [
    "ChunkSeed",
    "Family",
    "How",
    "KeyLookup",
    "RawRequest",
    "Verified",
    "authenticate",
    "claimed_service",
    "open_body",
]
