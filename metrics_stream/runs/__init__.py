"""Test runs: their life cycle, and what is recorded of them."""
