"""What a process and a program know of declared metric types, for tests that start afresh."""

from metrics_stream.definitions.lookup import _Program
from metrics_stream.metric_types import replace_declared_types
from metrics_stream.models.known_types import _Read


def forget_definitions() -> None:
    """Let this process know no declared type, as if it had read nothing, and this program have looked up none."""
    _Read.version = -1
    replace_declared_types(())
    _Program.created, _Program.read_again_at = 0, 0.0
    _Program.refused.clear()
