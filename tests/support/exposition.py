"""The text of /metrics as a Prometheus server reads it."""

from prometheus_client.parser import text_string_to_metric_families


def values_of(body: bytes) -> dict[str, float]:
    """Return every value by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        assert family.documentation
        for item in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in item.labels.items())
            found[f"{item.name.removeprefix('metrics_stream_')}{{{labels}}}"] = item.value
    return found
