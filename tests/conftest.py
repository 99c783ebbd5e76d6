"""What every test has: an environment without the machine's AWS settings, proxies and Tarry settings."""

import os

_ALWAYS_REMOVED = ("AWS_", "TARRY_SERVER", "TARRY_SCOPE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY")

for _name in list(os.environ):
    if _name.startswith(_ALWAYS_REMOVED):
        del os.environ[_name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["NO_PROXY"] = "127.0.0.1,localhost"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Long bytes are named by their length: an archive holds the time of its making, which differs between test processes."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 40 else None
