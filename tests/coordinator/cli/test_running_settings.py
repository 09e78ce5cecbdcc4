"""Options of the commands that ask a coordinator: ranges, and help that teaches."""

import pytest

from jangtq_coordinator.cli.main import program
from jangtq_coordinator.cli.running_settings import BenchSettings, StatusSettings
from jangtq_proto.errors import ConfigurationError


@pytest.mark.parametrize("command", ["chat", "status", "info", "bench"])
def test_help_names_the_coordinator_and_the_key(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program().read([command, "--help"])
    said = capsys.readouterr().out
    assert "--url URL" in said and "JANGTQ_API_KEY" in said and "http://127.0.0.1:8080" in said


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="--every 0: allowed are above 0"):
        StatusSettings(every_seconds=0)
    with pytest.raises(ConfigurationError, match="--sequences 0: allowed are 1 to 256"):
        BenchSettings(sequences=0)
