"""Formats of text that arrives from outside."""
