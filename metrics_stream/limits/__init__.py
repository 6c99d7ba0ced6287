"""Limits that hold for a whole installation: counted in Redis, or for each process while Redis is away."""
