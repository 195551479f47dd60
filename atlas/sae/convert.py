"""The convert stage: an SAE checkpoint in another format, converted to our own."""

from __future__ import annotations

from typing import Literal

import numpy as np

from atlas.run.stage import Job
from atlas.sae.checkpoints import load_sae
from atlas.sae.formats.own import write_own
from atlas.sae.model import SAE
from atlas.settings.sae import SaeSettings


def run(job: Job) -> None:
    """Read a checkpoint in any format and write it as a folder of our own.

    Raises:
        InputError: It is damaged, or a convention of it can't be honored.
    """
    settings: SaeSettings = job.settings
    sae = load_sae(job.inputs["checkpoint"], settings)
    write_own(job.out_dir, sae, _storage(sae))


def _storage(sae: SAE) -> Literal["float16", "float32"]:
    """Return float16 where that loses nothing, as of a checkpoint that was float16."""
    with np.errstate(over="ignore"):
        lossless = all(
            np.array_equal(matrix.astype(np.float16).astype(np.float32), matrix)
            for matrix in (sae.W_enc, sae.W_dec)
        )
    return "float16" if lossless else "float32"
