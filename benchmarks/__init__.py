"""Benchmarks of metrics_stream and of its peers; `python3 dev.py bench` runs them, README.md describes them."""
