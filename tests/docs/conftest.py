"""A reader of the documents: a copy of the project, with the stack that the README starts."""

from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from tests.support.blocks import Listener, Workshop, blocks_of
from tests.support.documents import README


@pytest.fixture(scope="package")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    shop = Workshop(tmp_path_factory.mktemp("reader"))
    [command] = [block.code for block in blocks_of(README) if block.code.startswith("ALLOWED_ORIGINS")]
    with shop.stack(command):
        yield shop


@pytest.fixture
def reader(workshop: Workshop) -> Iterator[Workshop]:
    """Open a new terminal for a page."""
    workshop.forget()
    with connect(workshop.socket_url) as socket:
        workshop.listener = Listener(socket)
        yield workshop
    workshop.listener.join()
