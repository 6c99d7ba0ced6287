"""What a person types into the forms of the admin, by the name of each field."""

PRESET = {
    "name": "Mine",
    "slug": "mine",
    "description": "For me",
    "metric_types": ["system", "agent"],
    "agent_ids": "agent-1\n agent-2 \n\nagent-1",
    "keys": "name=/a,b\n method = GET ",
    "sources": "",
    "fields": "error_rate, throughput_tps",
    "interval_seconds": "2",
    "batch_size": "5",
    "batch_timeout_seconds": "0",
    "sends_newest": "on",
    "mode": "latest",
}
DASHBOARD = {"title": "Mine", "slug": "mine", "description": "", "kind": "standard", "preset": "", "published": "on"}
PANEL = {
    "title": "Throughput",
    "kind": "line",
    "metric_type": "system",
    "fields": "throughput_tps",
    "unit": "",
    "decimals": "",
    "warning_at": "",
    "critical_at": "",
    "size": "medium",
    "order": "",
    "option_window_seconds": "",
    "option_minimum": "",
    "option_maximum": "",
    "option_max_rows": "",
    "option_text": "",
}
RUN = {
    "name": "Checkout soak",
    "sources": "a\nb",
    "target_tps": "200",
    "tags": "soak, release-42",
    "parameters": "commit=3f2a9c1\nusers=50",
    "notes": "x",
}
