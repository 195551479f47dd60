"""Step decoder: the demo's decoder of Kandinsky 2.2's classes, trained here on the training split.

A UNet that takes an image embedding, in the latent space of step movq. It learns from raw
embeddings, from what the SAE makes of them, and from the template with one feature set, since
icons live there. A feature stands for its top images at first, and later for those that still excite
it after the autoencoder: pictures alone where they do, so that icons come out as one thing, and
compositions where only they do. The dropped condition is the embedding of the mean-gray picture, which is the
pipeline's negative. It is not Kandinsky, and no figure of it is a finding about Kandinsky.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from atlas.base.files import draft, read_json, read_parquet, write_json
from atlas.base.progress import Progress
from atlas.demo import movq
from atlas.demo.movq import BATCH as MOVQ_BATCH
from atlas.demo.movq import schedule
from atlas.demo.places import CACHE, DECODER, DEMO, ENCODER, IMAGES, SAE, VECTORS
from atlas.icons.decoder import NOTE
from atlas.inputs.encoder import embed_images, ensure_torchvision, load_encoder, read_encoder_note
from atlas.pipeline import build_atlas
from atlas.sae.activations import FeatureActivations
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import make_encoder, reconstruct
from atlas.settings.load import load_config

CONFIG: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 8,
    "layers_per_block": 1,
    "block_out_channels": (64, 96, 128),
    "down_block_types": (
        "ResnetDownsampleBlock2D",
        "SimpleCrossAttnDownBlock2D",
        "SimpleCrossAttnDownBlock2D",
    ),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": (
        "SimpleCrossAttnUpBlock2D",
        "SimpleCrossAttnUpBlock2D",
        "ResnetUpsampleBlock2D",
    ),
    "addition_embed_type": "image",
    "encoder_hid_dim_type": "image_proj",
    "encoder_hid_dim": 192,
    "cross_attention_dim": 96,
    "attention_head_dim": 32,
    "resnet_time_scale_shift": "scale_shift",
}
NOISE_STEPS = 1000
BETAS = (0.00085, 0.012)
"""First and last, on a line, as in Kandinsky 2.2."""
ROUNDS = ((12_000, 6e-4), (15_500, 4e-4), (16_450, 3e-4))
"""Last step and learning rate of each round; the schedule starts again with each."""
STEPS = ROUNDS[-1][0]
BATCH = 64
WARMUP_STEPS = 100
EMA = 0.997
DROPPED_SHARE = 0.12
CONDITION_NOISE = 0.1
"""Over the embeddings' own spread, so that a near miss of a condition still means the picture."""
SHARES = ((0.45, 0.25, 0.15), (0.15, 0.65, 0.1))
"""Of a batch, in the first round and later: a picture alone, the template with a feature set, an
SAE reconstruction; the rest is any image."""
LEAST_MODEL = 0.7
"""Least activation of an image that stands for a feature, over the strongest such image's."""
STRENGTHS = (0.8, 3.0)
"""What a feature is set to, over its largest activation, drawn evenly in the logarithm."""
ICON_SHARE = 0.5
"""Of the features of a batch, in later rounds: those set to the upper of STRENGTHS, as for an icon."""
TEMPLATE_SCALE = 0.2
MODELS_PER_FEATURE = 6
COMPOSED_WEIGHT = 3
"""How much more often a feature comes that no picture alone excites: a composition is harder."""
MOST_SNR = 5.0
CHECKPOINT_STEPS = 50
SOFTENED_BLOCK = 512
THREADS = 1
SEED = 0


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a batch is drawn from."""

    codes: torch.Tensor
    """(2, image, 4, 16, 16) of every training image, and of its mirror image."""
    raw: torch.Tensor
    """(image, d) embeddings."""
    rebuilt: torch.Tensor
    """(image, d) what the SAE makes of them."""
    single: NDArray[np.int64]
    """Rows of the images that show one picture."""
    feature: NDArray[np.int64]
    """(pair,) a feature."""
    shown: NDArray[np.int64]
    """(pair,) the row of one of its top images."""
    model_feature: NDArray[np.int64]
    """(model pair,) a feature."""
    model_shown: NDArray[np.int64]
    """(model pair,) the row of an image that excites it after the autoencoder."""
    top: torch.Tensor
    """(feature,) its largest activation."""
    decoder: torch.Tensor
    """(feature, d)."""
    template: torch.Tensor
    """(d,) the scaled template, bias included, no feature set."""
    template_codes: torch.Tensor
    """(feature,) the scaled codes of the template."""
    nothing: torch.Tensor
    """(d,) the embedding of the mean-gray picture."""
    spread: float
    """Mean standard deviation of a dimension of the embeddings."""


def run() -> None:
    """Train, resuming from the cache, and write the pipeline's folder."""
    torch.set_num_threads(THREADS)
    lessons = read_lessons()
    model, averaged = make(), make()
    optimizer = torch.optim.AdamW(
        model.parameters(), ROUNDS[0][1], betas=(0.9, 0.99), weight_decay=0.01
    )
    step = _restore(model, averaged, optimizer)
    alphas = alphas_cumulative()
    recent: list[float] = []
    while step < STEPS:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        random = np.random.default_rng([SEED, step])
        codes, condition = draw_batch(lessons, random, late=step >= ROUNDS[0][0])
        with torch.autocast("cpu", torch.bfloat16, enabled=movq.has_bfloat16()):
            loss = _loss(model, codes, condition, alphas, step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        _average(averaged, model, min(EMA, step / (step + 9)))
        recent.append(float(loss.detach()))
        if step % CHECKPOINT_STEPS == 0 or step == STEPS:
            print(f"decoder: step {step} of {STEPS}, loss {np.mean(recent):.4f}", flush=True)
            recent.clear()
            _save(model, averaged, optimizer, step)
    export()


def learning_rate(step: int) -> float:
    """Return the optimizer's rate at a step: a rise and a fall in each round."""
    now = next(i for i, (last, _) in enumerate(ROUNDS) if step < last)
    (last, rate), first = ROUNDS[now], ROUNDS[now - 1][0] if now else 0
    return rate * schedule(step - first, last - first, WARMUP_STEPS)


def make() -> Any:
    """Return an untrained UNet; the same one each time."""
    ensure_torchvision()
    from diffusers import UNet2DConditionModel

    torch.manual_seed(SEED)
    model: Any = UNet2DConditionModel(**CONFIG)  # type: ignore[no-untyped-call]  # diffusers' own
    return model.to(memory_format=torch.channels_last)


def read_averaged() -> Any:
    """Return the averaged UNet as far as it is trained."""
    model = make()
    model.load_state_dict(torch.load(_state_path(), weights_only=True)["averaged"])
    return model.eval()


def alphas_cumulative() -> torch.Tensor:
    """Return (time,) the share of signal that is left."""
    return torch.cumprod(1 - torch.linspace(*BETAS, NOISE_STEPS), dim=0)


def draw_batch(
    lessons: Lessons, random: np.random.Generator, *, late: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes and the conditions of one step."""
    n_single, n_feature, n_rebuilt = (int(share * BATCH) for share in SHARES[late])
    feature, shown = lessons.feature, lessons.shown
    if late:
        feature, shown = lessons.model_feature, lessons.model_shown
    single = random.choice(lessons.single, n_single)
    pair = random.integers(len(feature), size=n_feature)
    rebuilt = random.integers(len(lessons.raw), size=n_rebuilt)
    rest = random.integers(len(lessons.raw), size=BATCH - n_single - n_feature - n_rebuilt)
    rows = np.concatenate([single, shown[pair], rebuilt, rest])
    condition = torch.cat(
        [
            lessons.raw[single],
            with_feature(lessons, feature[pair], random, ICON_SHARE if late else 0.0),
            lessons.rebuilt[rebuilt],
            lessons.raw[rest],
        ]
    )
    noise = torch.from_numpy(random.standard_normal(condition.shape).astype(np.float32))
    condition = condition + CONDITION_NOISE * lessons.spread * noise
    dropped = torch.from_numpy(random.random(BATCH) < DROPPED_SHARE)
    condition = torch.where(dropped[:, None], lessons.nothing, condition)
    mirrored = torch.from_numpy((random.random(BATCH) < 0.5).astype(np.int64))
    return lessons.codes[mirrored, torch.from_numpy(rows)], condition


def with_feature(
    lessons: Lessons,
    feature: NDArray[np.int64],
    random: np.random.Generator,
    icon_share: float = 0.0,
) -> torch.Tensor:
    """Return the template's embedding with one feature set in each row; a share as for an icon."""
    low, high = np.log(STRENGTHS)
    factor = np.exp(random.uniform(low, high, len(feature))).astype(np.float32)
    factor[: round(icon_share * len(feature))] = STRENGTHS[1]
    which = torch.from_numpy(feature)
    change = torch.from_numpy(factor) * lessons.top[which] - lessons.template_codes[which]
    return lessons.template + change[:, None] * lessons.decoder[which]


def _loss(
    model: Any, codes: torch.Tensor, condition: torch.Tensor, alphas: torch.Tensor, step: int
) -> torch.Tensor:
    random = torch.Generator().manual_seed(SEED * 1_000_003 + step)
    time = torch.randint(NOISE_STEPS, (len(codes),), generator=random)
    noise = torch.randn(codes.shape, generator=random)
    alpha = alphas[time]
    noisy = (
        alpha.sqrt()[:, None, None, None] * codes + (1 - alpha).sqrt()[:, None, None, None] * noise
    )
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    given = {"image_embeds": condition}
    found = model(noisy, time, encoder_hidden_states=None, added_cond_kwargs=given).sample[:, :4]
    error = (found.float() - noise).square().mean(dim=(1, 2, 3))
    # The steps that are nearly clean teach little; capping their weight speeds all others up.
    ratio = alpha / (1 - alpha)
    loss: torch.Tensor = (error * ratio.clamp(max=MOST_SNR) / ratio).mean()
    return loss


@torch.no_grad()
def _average(averaged: Any, model: Any, keep: float) -> None:
    for mean, now in zip(averaged.parameters(), model.parameters(), strict=True):
        mean.lerp_(now, 1 - keep)


def _state_path() -> Any:
    return CACHE / "decoder.pt"


def _save(model: Any, averaged: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    with draft(_state_path()) as path:
        torch.save(state, path)


def _restore(model: Any, averaged: Any, optimizer: torch.optim.Optimizer) -> int:
    """Go on from the cache, or from the decoder that ships; returns the steps that are done."""
    if not _state_path().exists():
        step = 0
        if (DECODER / NOTE).exists():
            model.load_state_dict(_shipped_weights("unet"))
            step = int(read_json(DECODER / NOTE)["steps"])
        averaged.load_state_dict(model.state_dict())
        return step
    state = torch.load(_state_path(), weights_only=True)
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def read_lessons() -> Lessons:
    """Return all that batches are drawn from; the slow parts are kept in the cache."""
    config = load_config(DEMO / "atlas.toml")
    build_atlas(config, ("scan",), progress=Progress())
    table = read_parquet(IMAGES, ["split", "terms"])
    train = np.flatnonzero(np.array(table["split"].to_pylist()) == "train")
    row_of = np.full(len(table), -1)
    row_of[train] = np.arange(len(train))
    raw = np.concatenate([np.load(p) for p in sorted(VECTORS.glob("*.npy"))]).astype(np.float32)
    sae = load_sae(SAE)
    plain, gray = embed_grounds()
    template_codes = _codes_of(sae, plain) * TEMPLATE_SCALE
    tops = read_parquet(config.out_dir / "scan" / "top_images.parquet")
    feature, image = tops["feature"].to_numpy(), tops["image"].to_numpy()
    activation, rank = tops["activation"].to_numpy(), tops["rank"].to_numpy()
    strongest = np.zeros(sae.n_features, np.float32)
    strongest[feature[rank == 0]] = activation[rank == 0]
    single = np.array([len(terms) == 1 for terms in table["terms"].to_pylist()])
    good = (row_of[image] >= 0) & (activation >= 0.4 * strongest[feature])
    # What shows one picture says more of a feature than what shows four.
    repeats = np.where(single[image[good]], 4, 1)
    rebuilt = _rebuild(sae, raw[train])
    codes = _image_codes(train)
    model_feature, model_shown = _model_pairs(
        sae, FeatureActivations(config.out_dir / "scan"), _softened(codes[0]), single[train]
    )
    return Lessons(
        codes=torch.from_numpy(codes),
        raw=torch.from_numpy(raw[train]),
        rebuilt=torch.from_numpy(rebuilt),
        single=np.flatnonzero(single[train]),
        feature=np.repeat(feature[good], repeats).astype(np.int64),
        shown=np.repeat(row_of[image[good]], repeats),
        model_feature=model_feature,
        model_shown=model_shown,
        top=torch.from_numpy(strongest),
        decoder=torch.from_numpy(sae.W_dec.copy()),
        template=torch.from_numpy(template_codes @ sae.W_dec + sae.b_dec),
        template_codes=torch.from_numpy(template_codes),
        nothing=torch.from_numpy(gray),
        spread=float(raw[train].std(axis=0).mean()),
    )


def _model_pairs(
    sae: Any,
    firings: FeatureActivations,
    softened: NDArray[np.float32],
    single: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return features and the training rows that stand for them.

    Those are the pictures alone that still excite a feature as much as half of its images do once
    the autoencoder has had them; where there are none, the images of any kind that excite it most.

    Args:
        sae: The SAE.
        firings: What fires on the scanned images.
        softened: (row, d) raw embeddings of the training images after the autoencoder.
        single: (row,) it shows one picture.
    """
    found = make_encoder(sae).fire(softened)
    order = np.argsort(found.feature, kind="stable")
    bounds = np.searchsorted(found.feature[order], np.arange(sae.n_features + 1))
    features, rows = [], []
    for feature in range(sae.n_features):
        ours = order[bounds[feature] : bounds[feature + 1]]
        row, activation = found.image[ours], found.activation[ours]
        usual = np.median(firings[feature][1]) if len(firings[feature][1]) else np.inf
        alone = single[row] & (activation >= usual)
        if alone.any():
            row, activation = row[alone], activation[alone]
        if not len(row):
            continue
        best = np.lexsort((row, -activation))[:MODELS_PER_FEATURE]
        good = best[activation[best] >= LEAST_MODEL * activation[best[0]]]
        n = MODELS_PER_FEATURE * (1 if alone.any() else COMPOSED_WEIGHT)
        features.append(np.full(n, feature))
        rows.append(np.resize(row[good], n))
    return np.concatenate(features), np.concatenate(rows)


def embed_grounds() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the embeddings of the plain white picture and of the mean-gray one."""
    encoder = load_encoder(ENCODER, device="cpu")
    side = (encoder.image_px, encoder.image_px)
    found = embed_images(
        encoder, [Image.new("RGB", side, level) for level in ("white", (127, 127, 127))]
    )
    return found[0].astype(np.float32), found[1].astype(np.float32)


def _codes_of(sae: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    found = make_encoder(sae).fire(x[None])
    codes = np.zeros(sae.n_features, np.float32)
    codes[found.feature] = found.activation
    return codes


def _rebuild(sae: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    encoder = make_encoder(sae)
    parts = [x[start : start + 4096] for start in range(0, len(x), 4096)]
    return np.concatenate([reconstruct(sae, encoder.fire(p), len(p)) for p in parts]).astype("f4")


def _image_codes(train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (2, image, 4, 16, 16) codes of the images and their mirror images."""
    path = CACHE / "codes.npy"
    if not path.exists():
        model = movq.read()
        pixels = movq.draw_all()
        found = np.empty((2, len(train), 4, 16, 16), np.float32)
        block = 32 * MOVQ_BATCH
        for start in range(0, len(train), block):
            some = np.asarray(pixels[train[start : start + block]])
            for side, seen in enumerate((some, some[:, :, ::-1])):
                found[side, start : start + len(some)] = movq.encode(model, seen)
            print(f"codes: {start + len(some)} of {len(train)} images", flush=True)
        with draft(path) as unfinished, unfinished.open("wb") as file:
            np.save(file, found)
    codes: NDArray[np.float32] = np.load(path)
    return codes


def _softened(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return raw embeddings (image, d) of images as the autoencoder gives them back."""
    path = CACHE / "softened.npy"
    if not path.exists():
        model, encoder = movq.read(), load_encoder(ENCODER, device="cpu")
        found = []
        for start in range(0, len(codes), SOFTENED_BLOCK):
            drawn = movq.decode(model, codes[start : start + SOFTENED_BLOCK])
            found.append(embed_images(encoder, [Image.fromarray(one) for one in drawn]))
            print(f"softened: {start + len(drawn)} of {len(codes)} images", flush=True)
        with draft(path) as unfinished, unfinished.open("wb") as file:
            np.save(file, np.concatenate(found).astype(np.float32))
    embedded: NDArray[np.float32] = np.load(path)
    return embedded


def _shipped_weights(part: str) -> dict[str, torch.Tensor]:
    found = load_file(DECODER / part / "diffusion_pytorch_model.safetensors")
    return {name: one.float() for name, one in found.items()}


def export() -> None:
    """Write the decoder's folder, as diffusers saves a pipeline, in half precision."""
    ensure_torchvision()
    from diffusers import DPMSolverMultistepScheduler, KandinskyV22Pipeline

    # Six of its steps draw what ten of DDPM's do.
    scheduler: Any = DPMSolverMultistepScheduler(  # type: ignore[no-untyped-call]  # diffusers' own
        num_train_timesteps=NOISE_STEPS,
        beta_start=BETAS[0],
        beta_end=BETAS[1],
        beta_schedule="linear",
        timestep_spacing="trailing",
    )
    pipeline: Any = KandinskyV22Pipeline(  # type: ignore[no-untyped-call]  # diffusers' own
        unet=read_averaged().half(), scheduler=scheduler, movq=movq.read().half()
    )
    pipeline.save_pretrained(str(DECODER), safe_serialization=True)
    write_json(
        DECODER / NOTE,
        {
            "encoder": read_encoder_note(ENCODER)["id"],
            "license": "Apache-2.0",
            "steps": steps_done(),
            "what": "a decoder of Kandinsky 2.2's classes, trained here; not Kandinsky",
        },
    )


def steps_done() -> int:
    """Return how many steps the kept weights have seen."""
    return int(torch.load(_state_path(), weights_only=True)["step"])
