"""What every test has: an environment without the machine's AWS settings, proxies and Tarry settings."""

import os
from collections.abc import Callable, Iterator

import pytest
from tests.support.dockerd import CannotRunError, Dockerd

_ALWAYS_REMOVED = ("AWS_", "TARRY_SERVER", "TARRY_SCOPE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY")

for _name in list(os.environ):
    if _name.startswith(_ALWAYS_REMOVED):
        del os.environ[_name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["NO_PROXY"] = "127.0.0.1,localhost"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Long bytes are named by their length: an archive holds the time of its making, which differs between test processes."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 40 else None


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """A Docker daemon with the stub image. Tests that use it belong to the xdist group ``docker``: one daemon is enough."""
    daemon = Dockerd()
    try:
        daemon.start()
        daemon.make_stub_image()
        yield daemon
    except CannotRunError as error:
        pytest.skip(f"NOT TESTED, the Docker engine: {error}")
    finally:
        daemon.close()


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say a line (a seed, a count) that the summary of the run shows, whether the test passes or not."""
    return lambda line: record_property("told", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have told."""
    reports = [report for which in ("passed", "failed") for report in terminalreporter.getreports(which)]
    for report in reports:
        for name, value in report.user_properties:
            if name == "told":
                terminalreporter.write_line(f"{report.nodeid}: {value}")
