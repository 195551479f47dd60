"""Step classes: the words of the photographic network, ImageNet's classes.

A class's vector is its row of the network's own classifier, centered on their mean.
"""

from __future__ import annotations

import numpy as np

from atlas.base.files import draft, write_json, write_text
from atlas.demo import trunk
from atlas.demo.places import CLASSES
from atlas.inputs.vocabulary import VECTORS, WORDS


def run() -> None:
    """Write the folder classes: words, unit vectors of 1,280 dimensions, note. Of equal words the first stays."""
    names = [name.lower() for name in trunk.class_names()]
    rows = [row for row, name in enumerate(names) if name not in names[:row]]
    vectors = trunk.weights()["classifier.weight"].float().numpy()
    vectors = (vectors - vectors.mean(axis=0))[rows]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_text(CLASSES / WORDS, "\n".join(names[row] for row in rows) + "\n")
    with draft(CLASSES / VECTORS) as path, path.open("wb") as file:
        np.save(file, vectors.astype(np.float16))
    note = {
        "words": len(rows),
        "width": vectors.shape[1],
        "source": "ImageNet's classes, the first synonym of each, as timm lists them",
        "center": "mean vector of the classes",
        "license": "Apache-2.0 (EfficientNet-Lite0's classifier); WordNet license (the words)",
    }
    write_json(CLASSES / "vocabulary.json", note)
