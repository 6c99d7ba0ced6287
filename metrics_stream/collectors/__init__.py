"""Where metrics come from when no stress test publishes its own: this machine, a probed URL, a simulated test.

Room: collectors. They make metric dicts and know nothing of Django or of the way a metric travels; the commands
`emit_host_metrics` and `emit_demo_metrics` join them with the helper.
"""
