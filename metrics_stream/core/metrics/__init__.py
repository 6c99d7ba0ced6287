"""Metrics: types, encoding, permissions, projection, sketches and summaries."""
