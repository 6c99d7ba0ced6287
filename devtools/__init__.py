"""The commands of dev.py; they need Python 3.11+ and nothing that is installed."""
