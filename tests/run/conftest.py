"""What the tests of building stages share."""

import pytest


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("abcdef")
    return path
