"""Digests of files and values."""

from hypothesis import given
from hypothesis import strategies as st

from atlas.base.files import DigestCache, digest_json


@given(st.dictionaries(st.text(), st.integers()))
def test_a_digest_ignores_the_order_of_keys(mapping):
    assert digest_json(mapping) == digest_json(dict(reversed(mapping.items())))


def test_the_digest_cache_notices_a_changed_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("one")
    cache = DigestCache(tmp_path / "cache.json")
    first = cache.digest(path)
    cache.save()
    path.write_text("three")
    assert DigestCache(tmp_path / "cache.json").digest(path) != first
