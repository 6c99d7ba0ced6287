"""Sources of metrics when no stress test publishes its own: this machine, a probed URL, a simulated test.

Collectors return metrics as dicts and know neither Django nor the channel layer; the commands `emit_host_metrics` and
`emit_demo_metrics` publish them with a Broadcaster.
"""
