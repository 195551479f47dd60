"""Step photographs: the ImageNet network as it comes, as an encoder of 1,280 dimensions.

Photographs are embedded by it, and the demo's icons are looked at by it a second time.
"""

from __future__ import annotations

from atlas.base.files import write_json
from atlas.demo import trunk
from atlas.demo.places import PHOTOGRAPHS
from atlas.prepare.own_pictures import PHOTOGRAPHS_ID

WIDTH = 1280


def run() -> None:
    """Write the folder photographs."""
    state = {f"visual.trunk.{name}": one for name, one in trunk.weights().items()}
    trunk.write_open_clip(PHOTOGRAPHS, state, WIDTH, trunk.IMAGE_PX, {"timm_proj": "none"})
    write_json(
        PHOTOGRAPHS / "encoder.json",
        {
            "id": PHOTOGRAPHS_ID,
            "width": WIDTH,
            "normalized": False,
            "library": "open_clip",
            "image_px": trunk.IMAGE_PX,
            "preprocessing": "(value - 127) / 128, stretched to a square, bicubic",
            "tower": "EfficientNet-Lite0, ImageNet weights",
            "head": "none: what the network gives before its classifier",
            "license": "Apache-2.0",
        },
    )
