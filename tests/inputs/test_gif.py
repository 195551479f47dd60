"""Of a GIF the first frame is read, whatever comes before and after it, in bounded time."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from faults.fuzzing import mutated
from PIL import Image

from atlas.base.errors import InputError
from atlas.inputs.gif import MOST_BLOCKS, first_frame
from atlas.inputs.picture import OTHER_FRAMES, decode_picture

REFUSED = (
    *(OSError, ValueError, SyntaxError, EOFError, InputError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
COMMENT = b"\x21\xfe\x01a\x00"


def gif(n_frames=1, **how):
    frames = [
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (24, 24, 3), np.uint8))
        for n in range(n_frames)
    ]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:], **how)
    return data.getvalue()


def straight(data):
    """The first frame as Pillow reads it from the whole file."""
    with Image.open(io.BytesIO(data), formats=("GIF",)) as opened:
        return np.asarray(opened.convert("RGBA"))


@pytest.mark.parametrize("how", [{}, {"comment": b"c" * 900, "loop": 0}, {"transparency": 3}])
def test_the_first_frame_is_the_one_that_the_whole_file_has(how):
    whole = gif(3, **how)
    cut, animated = first_frame(whole)
    assert animated
    assert len(cut) < len(whole) / 2
    assert (straight(cut) == straight(whole)).all()
    assert decode_picture(whole).notes == (OTHER_FRAMES,)
    alone, animated = first_frame(cut)
    assert (alone, animated) == (cut, False)
    assert decode_picture(cut).notes == ()


def test_a_mutated_file_is_read_as_pillow_reads_it_or_refused():
    """A file whose first frame is cut short may be refused either way."""
    whole, rng, n_read = gif(2), np.random.default_rng(0), 0
    for _ in range(300):
        data = mutated(whole, rng)
        try:
            found = straight(first_frame(data)[0])
            expected = straight(data)
        except REFUSED:
            continue
        n_read += 1
        assert found.shape == expected.shape
        assert (found == expected).all()
    assert n_read > 100


def test_millions_of_empty_blocks_cost_nothing():
    whole = gif()
    at = first_frame(whole)[0].index(b",")
    begin = time.process_time()
    with pytest.raises(InputError, match="its first frame comes after 10,000 other blocks"):
        decode_picture(whole[:at] + COMMENT * 3_000_000 + whole[at:])
    after = decode_picture(whole[:-1] + COMMENT * 3_000_000 + b";")
    assert time.process_time() - begin < 1  # read to the end: six seconds and half a gigabyte
    assert np.asarray(after.picture).shape == (24, 24, 3)
    few = decode_picture(whole[:at] + COMMENT * (MOST_BLOCKS // 2) + whole[at:])
    assert np.asarray(few.picture).shape == (24, 24, 3)


@pytest.mark.parametrize("size", [(17164, 3845), (8900, 8900)])
def test_a_few_bytes_that_claim_nearly_the_most_pixels_are_read_in_seconds(size):
    """The longest readings that fuzzing found were of such claims."""
    data = io.BytesIO()
    Image.new("L", size).save(data, "GIF")
    begin = time.process_time()
    assert decode_picture(data.getvalue()).picture.size == size
    assert time.process_time() - begin < 5
