"""What a server takes over from whoever starts it."""

import os

from tarry.bootstrap.serve import _keep_descriptors_to_ourselves


def test_what_the_starter_left_open_is_not_for_the_programs_of_the_server() -> None:
    left_open = os.memfd_create("left open", 0)
    try:
        assert os.get_inheritable(left_open)
        _keep_descriptors_to_ourselves()
        assert not os.get_inheritable(left_open)
        assert os.get_inheritable(0)
    finally:
        os.close(left_open)
