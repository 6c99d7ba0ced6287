"""What the program logs, which Django's settings would otherwise keep from pytest."""

import logging

import pytest


@pytest.fixture
def log(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("metrics_stream"), "propagate", True)
    return caplog
