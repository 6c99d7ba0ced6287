import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 2}, "needs a channel layer that joins processes.*set REDIS_URL"),
        ({"workers": 0}, "--workers is 0; it must be 1 to 64"),
        ({"port": 70_000}, "--port is 70000; it must be 1 to 65535"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_is_allowed(options, words):
    with pytest.raises(CommandError, match=words):
        call_command("serve", **options)
