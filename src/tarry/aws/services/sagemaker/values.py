"""What several operations of SageMaker read or write: tags and pages."""

from collections.abc import Mapping, Sequence

from tarry.aws.call import Params
from tarry.aws.services.sagemaker.members import take
from tarry.aws.services.values import microseconds
from tarry.control.requests import Tags
from tarry.ports import PageQuery, SortBy

LIST_RESULTS_DEFAULT = 10  # AWS: ListEndpoints API reference, MaxResults


def read_tags(tags: Sequence[Mapping[str, str]] | None) -> Tags:
    """A Tags member."""
    pairs = []
    for tag in tags or ():
        take("Tag", tag)
        pairs.append((tag["Key"], tag["Value"]))
    return tuple(pairs)


def write_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A Tags member of an answer."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def read_page(params: Params) -> PageQuery:
    """What all List operations share. AWS: by CreationTime, Descending, 10 a page (ListEndpoints API reference)."""
    return PageQuery(
        limit=params.get("MaxResults") or LIST_RESULTS_DEFAULT,
        token=params.get("NextToken"),
        sort_by=SortBy(params.get("SortBy", SortBy.CREATION_TIME)),
        ascending=params.get("SortOrder", "Descending") == "Ascending",
        name_contains=params.get("NameContains"),
        created_before_us=microseconds(params.get("CreationTimeBefore")),
        created_after_us=microseconds(params.get("CreationTimeAfter")),
        modified_before_us=microseconds(params.get("LastModifiedTimeBefore")),
        modified_after_us=microseconds(params.get("LastModifiedTimeAfter")),
        status=params.get("StatusEquals"),
    )
