"""Arrow tables on disk, in either of Arrow's formats: a stream (Hugging Face datasets) or a file (Feather)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".arrow", ".feather")
MAGIC = b"ARROW1"
"""How a file in Arrow's file format begins; a stream begins otherwise."""


def arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an Arrow table, as they were written together.

    Each is checked in full first: an offset that points elsewhere would end the process when it is
    followed.

    Raises:
        pyarrow.ArrowException: The file is damaged, or in neither format.
        OSError: It can't be read.
    """
    import pyarrow as pa

    with path.open("rb") as file:
        whole = file.read(len(MAGIC)) == MAGIC
    with pa.memory_map(str(path)) as source:
        if not whole:
            with pa.ipc.open_stream(source) as stream:
                yield from map(_checked, stream)
            return
        with pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                yield _checked(reader.get_batch(number))


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose offsets, lengths and dictionaries were all looked at.

    Raises:
        pyarrow.ArrowInvalid: One points outside.
    """
    import pyarrow as pa

    # What is no UTF-8 is read with marks in its place, so texts are looked at as bytes.
    plain = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    for column in batch.columns:
        bytes_of = plain.get(column.type)
        (column.view(bytes_of) if bytes_of else column).validate(full=True)
    return batch
