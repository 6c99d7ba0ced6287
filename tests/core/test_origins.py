import pytest

from metrics_stream.core.origins import Origin, parse_origin


@pytest.mark.parametrize(
    ("text", "origin", "written"),
    [
        ("https://portal.example.org", Origin("https", "portal.example.org", 443), "https://portal.example.org"),
        ("HTTPS://Portal.Example.org:443", Origin("https", "portal.example.org", 443), "https://portal.example.org"),
        ("http://localhost:8000", Origin("http", "localhost", 8000), "http://localhost:8000"),
        ("http://192.0.2.7", Origin("http", "192.0.2.7", 80), "http://192.0.2.7"),
        ("http://[2001:DB8:0::7]:81", Origin("http", "[2001:db8::7]", 81), "http://[2001:db8::7]:81"),
    ],
)
def test_an_origin_is_scheme_host_and_port(text, origin, written):
    assert parse_origin(text) == origin
    assert str(origin) == written


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "null",
            "portal.example.org",
            "file://",
            "file:///x",
            "//host",
            "https://",
            "https:host",
            "ftp://host:21",
        ),
        *("https://host/", "https://host/x", "https://host?x", "https://host#x", "https://user@host", " https://host"),
        *(
            "https://u:p@host",
            "https://host:",
            "https://host:0",
            "https://host:65536",
            "https://host:x",
            "https://*.host",
        ),
        *("https://[::1", "https://[1:2]", "https://host\n", "https://h\u00f6st", "https://a,https://b", "*"),
    ],
)
def test_everything_else_is_none(text):
    assert parse_origin(text) is None
