"""A person with a browser at a real server: keeps cookies, follows redirects, sends forms."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from typing import NamedTuple


class Answer(NamedTuple):
    """What a page answered in the end, after redirects."""

    status: int
    url: str
    text: str


class Visitor:
    """Visits one origin."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._cookies = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    def get(self, path: str, **headers: str) -> Answer:
        return self._open(urllib.request.Request(f"{self.origin}{path}", headers=headers))

    def send_form(self, path: str, **fields: str) -> Answer:
        """Send the form of a page with these fields, and its token."""
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path).text)
        assert found, f"{path} has no form"
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": found[1], **fields}).encode()
        request = urllib.request.Request(f"{self.origin}{path}", body, {"Referer": f"{self.origin}{path}"})
        return self._open(request)

    def sign_in(self, path: str, name: str, password: str) -> Answer:
        return self.send_form(path, username=name, password=password)

    @property
    def socket_headers(self) -> dict[str, str]:
        """The headers that a browser sends in a handshake from one of these pages."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)
        return {"Origin": self.origin, "Cookie": cookies}

    def _open(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=10) as answer:
                return Answer(answer.status, answer.url, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.url, error.read().decode())
