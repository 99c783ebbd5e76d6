"""The SageMaker Python SDK 2 asks a fixed address of AWS for the account when it makes up the name of its default bucket.

No endpoint URL reaches that call, but the SDK has a configuration file in which the name can be given; ``tarry env`` points the
SDK at ours. Its telemetry, which would go to a bucket of AWS's, is off.
"""

from pathlib import Path

from tarry.core.names import Scope
from tarry.files import write_file

FILE = "sagemaker-sdk.yaml"


def default_bucket(scope: Scope) -> str:
    """The bucket that people expect to be there for what they do not place themselves."""
    # AWS: the name that the SDK would make up (sagemaker-python-sdk, session.py: generate_default_sagemaker_bucket_name).
    return f"sagemaker-{scope.region}-{scope.account_id}"


def write_sdk_config(root: Path, scope: Scope) -> None:
    """Write the file below the data directory; the same content every time."""
    text = f"""\
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session:
        DefaultS3Bucket: {default_bucket(scope)}
"""
    write_file(root / FILE, text.encode())
