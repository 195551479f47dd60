"""The largest few values beside a sort of all."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.base.largest import largest


@given(values=st.lists(st.integers(-4, 4), max_size=40), n=st.integers(0, 45))
def test_the_largest_are_those_that_sorting_all_would_give(values, n):
    expected = sorted(range(len(values)), key=lambda place: (-values[place], place))[:n]
    assert largest(np.array(values, np.float32), n).tolist() == expected
