"""A package that no image has, made here so that no package index is needed."""

import io
import zipfile

WHEEL = "tiny-1.0-py3-none-any.whl"


def tiny_wheel() -> bytes:
    """A wheel of ``tiny`` 1.0, with one module, whose ``ANSWER`` is 42; its file name is WHEEL."""
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return body.getvalue()
