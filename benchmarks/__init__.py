"""Benchmarks of metrics_stream beside its peers; `python3 dev.py bench` runs them, README.md describes them."""
