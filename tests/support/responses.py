"""What the answers of views contain."""

import csv
import io

from asgiref.sync import async_to_sync
from django.utils.html import strip_tags


def text(response):
    """Return the text of a page that a person reads, with single spaces."""
    content = response.content.decode()
    main = content[content.index("<main") : content.index("</main>")]
    return " ".join(strip_tags(main).split()).replace("\u00a0", " ")


def body_of(response):
    """Return the file in a streamed answer."""

    async def read():
        return b"".join([piece async for piece in response])

    return async_to_sync(read)()


def csv_of(response):
    """Return the rows of a CSV file in a streamed answer."""
    return list(csv.reader(io.StringIO(body_of(response).decode(), newline="")))
