"""What an atlas is made from, and the identity that its citations rest on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.base.files import digest_json, read_json, write_json
from atlas.base.tables import TABLES_VERSION, tables_digest
from atlas.base.version import __version__
from atlas.inputs.embeddings import read_embeddings
from atlas.run.stage import Job
from atlas.sae.activations import SCAN
from atlas.sae.model import SAE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def atlas_id(sae_digest: str, shard_digests: list[str]) -> str:
    """Return the identity of an atlas: what a citation of one of its features rests on."""
    return "atlas:" + digest_json([sae_digest, shard_digests])[:12]


def sae_facts(job: Job, read_sae: Callable[[], SAE]) -> dict[str, Any]:
    """Return the digest and provenance of the SAE; a part, so that its weights are read once."""

    def write(path: Path) -> None:
        sae = read_sae()
        write_json(path, {"digest": sae.digest(), "provenance": dict(sae.provenance)})

    found: dict[str, Any] = read_json(job.part("sae", ".json", {"sae": job.digests["sae"]}, write))
    return found


def insert_provenance(db: DuckDBPyConnection, job: Job, read_sae: Callable[[], SAE]) -> None:
    """Fill the table of facts about this atlas."""
    sae = sae_facts(job, read_sae)
    embeddings = read_embeddings(job.inputs["embed"])
    encoder = embeddings.encoder
    counts = db.execute("SELECT count(*), count(*) FILTER (alive) FROM features").fetchone()
    assert counts is not None
    grouped = read_json(job.inputs["concepts"] / "concepts.json")
    facts = {
        "id": atlas_id(sae["digest"], [shard.sha256 for shard in embeddings.shards]),
        "title": job.settings.title,
        "note": job.settings.note,
        "credit": job.settings.credit,
        "license_url": job.settings.license_url,
        "synthetic": str(job.settings.synthetic).lower(),
        "owner_url": job.settings.owner_url,
        "encoder": str(encoder.get("id", "unknown")),
        "d": str(embeddings.width),
        "n_images": str(embeddings.rows),
        "n_features": str(counts[0]),
        "n_alive": str(counts[1]),
        **{name: str(grouped[name]) for name in ("tau_scale", "tau_coarse", "tau_fine")},
        "grouping_restarts": str(grouped["restarts"]),
        "grouping_seed": str(grouped["seed"]),
        "sae_digest": sae["digest"],
        "sae": json.dumps(sae["provenance"], sort_keys=True),
        "tables": tables_digest(),
        "tables_version": str(TABLES_VERSION),
        "made_with": f"feature-atlas {__version__}",
    }
    why_unfit = read_json(job.inputs["scan"] / SCAN)["fit"]["why"]
    if why_unfit:
        facts["unfit"] = why_unfit
    if embeddings.ground:
        facts["ground"] = embeddings.ground
    db.executemany("INSERT INTO provenance VALUES (?, ?)", sorted(facts.items()))
