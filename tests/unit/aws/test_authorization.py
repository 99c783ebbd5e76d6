"""Every operation that is served has something to be allowed, or says that it needs nothing."""

from tarry.aws.authorization import operations_known
from tarry.bootstrap.build import all_services


def test_the_table_has_exactly_what_is_served() -> None:
    served = {name: set(service.operations) for name, service in all_services().items()}
    assert {name: set(table) for name, table in operations_known().items()} == served
