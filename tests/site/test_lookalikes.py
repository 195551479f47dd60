"""A reader's own picture: its hash, and how often it is found or mistaken."""

import base64
import io

import numpy as np
from PIL import Image

from atlas.inputs.picture import difference_hash
from atlas.site.lookalikes import NEAR_BITS, distances, hash_webp, measure_accuracy, picture_table


def webp_of(levels):
    data = io.BytesIO()
    Image.fromarray(levels, "RGB").save(data, "WEBP", lossless=True)
    return data.getvalue()


def noise(seed, px=48):
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(small, "RGB").resize((px, px), Image.Resampling.BICUBIC))


def test_a_thumbnail_has_the_hash_of_its_picture():
    levels = noise(1)
    assert hash_webp(webp_of(levels)) == difference_hash(Image.fromarray(levels)) % 2**64


def test_distances_count_bits():
    hashes = np.array([0, 1, 3, 2**64 - 1], np.uint64)
    assert distances(1, hashes).tolist() == [1, 0, 1, 63]


def test_copies_are_found_and_nothing_else_is():
    webps = [webp_of(noise(seed)) for seed in range(40)]
    hashes = np.array([hash_webp(webp) for webp in webps], np.uint64)
    found = measure_accuracy(webps[:20], hashes, range(20))
    assert found.found >= 0.95
    assert found.mistaken == 0
    assert found.n == 20


def test_a_picture_with_a_near_twin_is_mistaken_and_one_with_an_equal_one_is_not():
    webp = webp_of(noise(3))
    bits = hash_webp(webp)
    near, far = bits ^ (2**NEAR_BITS - 1), bits ^ (2 ** (NEAR_BITS + 1) - 1)
    for other, share in ((near, 1.0), (far, 0.0), (bits, 0.0)):
        assert measure_accuracy([webp], np.array([bits, other], np.uint64), [0]).mistaken == share


def test_the_page_gets_differences_and_eight_bytes_a_picture():
    table = picture_table([3, 10, 11], np.array([1, 2, 2**63], np.uint64), [[5], [1, 2, 3, 4], []])
    assert table["images"] == [3, 7, 1]
    assert base64.b64decode(table["hashes"]) == b"".join(n.to_bytes(8) for n in (1, 2, 2**63))
    assert table["features"] == [[5], [1, 2, 3], []]
