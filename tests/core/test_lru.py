from metrics_stream.core.lru import LruDict


def test_the_entry_that_was_not_used_for_the_longest_time_is_dropped():
    entries = LruDict(2)
    assert entries.put("a", 1) == 1
    entries.put("b", 2)
    assert entries.use("a") == 1
    entries.put("c", 3)
    assert list(entries.items()) == [("a", 1), ("c", 3)]


def test_a_look_up_is_no_use():
    entries = LruDict(2)
    entries.put("a", 1)
    entries.put("b", 2)
    assert "a" in entries
    assert entries.get("a") == 1
    entries.put("c", 3)
    assert list(entries) == ["b", "c"]


def test_an_entry_that_is_put_again_is_the_newest():
    entries = LruDict(2)
    entries.put("a", 1)
    entries.put("b", 2)
    entries.put("a", 3)
    entries.put("c", 4)
    assert list(entries.items()) == [("a", 3), ("c", 4)]


def test_an_unknown_key_has_no_value():
    assert LruDict(1).use("a") is None
