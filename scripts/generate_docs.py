"""Writes the generated pages: docs/compatibility.md."""

from pathlib import Path

from tarry.aws.compatibility import render_markdown
from tarry.bootstrap.build import all_services

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    (ROOT / "docs" / "compatibility.md").write_text(render_markdown(all_services()))
