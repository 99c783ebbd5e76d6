"""The settings that reach the builds of environments."""

from pathlib import Path

from tarry.backends.environments import BuildRules
from tarry.bootstrap.images import open_catalogue
from tarry.settings import EngineSettings, Settings


def test_builds_have_the_settings_limit_and_the_engines_token(tmp_path: Path) -> None:
    catalogue = open_catalogue(Settings(data_dir=tmp_path, engine=EngineSettings(build_timeout_s=5)), owner="token")
    assert catalogue._environments._rules == BuildRules(timeout_s=5, owner="token")
    first, second = (open_catalogue(Settings(data_dir=tmp_path))._environments._rules for _ in range(2))
    assert first.owner != second.owner, "without an engine nobody else's build is one's own"
