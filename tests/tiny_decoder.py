"""Pipelines of the real classes with tiny random weights, saved to disk: one of each renderer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from atlas.inputs.encoder import ensure_torchvision

WORDS = ("<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "c</w>", "d</w>")
TEXT_WIDTH = 16
CASCADE_LAYERS = (
    ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
    ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
)


def save_tiny(renderer: str, folder: Path, width: int, seed: int = 0) -> Path:
    """Write the tiny pipeline of a renderer, for embeddings of a width."""
    return MAKERS[renderer](folder, width, seed)


def save_tiny_decoder(folder: Path, width: int, seed: int = 0) -> Path:
    """Write Kandinsky 2.2's decoder; it draws pictures of any size."""
    ensure_torchvision()
    import torch
    from diffusers import DDPMScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        layers_per_block=1,
        block_out_channels=(32, 32),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        addition_embed_type="image",
        encoder_hid_dim_type="image_proj",
        encoder_hid_dim=width,
        cross_attention_dim=16,
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
    )
    movq = VQModel(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(32, 32),
        layers_per_block=1,
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=8,
        norm_num_groups=16,
        norm_type="spatial",
        mid_block_add_attention=False,
    )
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False
    )
    KandinskyV22Pipeline(unet=unet, scheduler=scheduler, movq=movq).save_pretrained(
        str(folder), safe_serialization=True
    )
    return folder


def save_tiny_ip_adapter(folder: Path, width: int, seed: int = 0) -> Path:
    """Write SDXL with an adapter that takes pooled embeddings."""
    ensure_torchvision()
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tokenizer = _tokenizer(folder)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        cross_attention_dim=2 * TEXT_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + TEXT_WIDTH,
    )
    StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_text_encoder(projected=False),
        text_encoder_2=_text_encoder(projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
    ).save_pretrained(str(folder), safe_serialization=True)
    crossed = 2 * TEXT_WIDTH
    adapter = {
        "image_proj.proj.weight": torch.randn(4 * crossed, width),
        "image_proj.proj.bias": torch.zeros(4 * crossed),
        "image_proj.norm.weight": torch.ones(crossed),
        "image_proj.norm.bias": torch.zeros(crossed),
    }
    across = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number in range(len(across)):
        for kind in ("k", "v"):
            name = f"ip_adapter.{2 * number + 1}.to_{kind}_ip.weight"
            adapter[name] = torch.randn(32, crossed)
    (folder / "ip_adapter").mkdir()
    save_file(adapter, folder / "ip_adapter" / "ip-adapter_sdxl.safetensors")
    return folder


def save_tiny_unclip(folder: Path, width: int, seed: int = 0) -> Path:
    """Write Stable unCLIP."""
    ensure_torchvision()
    import torch
    from diffusers import (
        DDIMScheduler,
        DDPMScheduler,
        StableUnCLIPImg2ImgPipeline,
        UNet2DConditionModel,
    )
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=8,
        cross_attention_dim=TEXT_WIDTH,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * width,
        resnet_time_scale_shift="scale_shift",
    )
    with torch.no_grad():
        unet.class_embedding.linear_2.weight *= 10  # else the condition drowns in rounding
    seer = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            projection_dim=width,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        )
    )
    StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(),
        image_encoder=seer,
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=width),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=_tokenizer(folder),
        text_encoder=_text_encoder(projected=False),
        unet=unet,
        scheduler=DDIMScheduler(),
        vae=_vae(),
    ).save_pretrained(str(folder), safe_serialization=True)
    return folder


def save_tiny_cascade(folder: Path, width: int, seed: int = 0) -> Path:
    """Write Stable Cascade's two pipelines."""
    ensure_torchvision()
    import torch
    from diffusers import (
        DDPMWuerstchenScheduler,
        StableCascadeDecoderPipeline,
        StableCascadePriorPipeline,
    )
    from diffusers.models import StableCascadeUNet
    from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel

    torch.manual_seed(seed)
    tokenizer = _tokenizer(folder)
    small: dict[str, Any] = {
        "timestep_ratio_embedding_dim": 8,
        "patch_size": 1,
        "conditioning_dim": 16,
        "block_out_channels": (16, 16),
        "num_attention_heads": (0, 2),
        "down_num_layers_per_block": (1, 1),
        "up_num_layers_per_block": (1, 1),
        "down_blocks_repeat_mappers": (1, 1),
        "up_blocks_repeat_mappers": (1, 1),
        "clip_text_pooled_in_channels": TEXT_WIDTH,
        "clip_seq": 2,
        "kernel_size": 3,
        "dropout": (0.0, 0.0),
        "self_attn": True,
    }
    prior = StableCascadeUNet(
        **small,
        in_channels=4,
        out_channels=4,
        clip_text_in_channels=TEXT_WIDTH,
        clip_image_in_channels=width,
        block_types_per_layer=CASCADE_LAYERS,
        switch_level=(False,),
    )
    StableCascadePriorPipeline(
        tokenizer=tokenizer,
        text_encoder=_text_encoder(projected=True),
        prior=prior,
        scheduler=DDPMWuerstchenScheduler(),
    ).save_pretrained(str(folder / "prior"), safe_serialization=True)
    decoder = StableCascadeUNet(
        **small | {"patch_size": 2},
        in_channels=4,
        out_channels=4,
        effnet_in_channels=4,
        block_types_per_layer=CASCADE_LAYERS,
    )
    vqgan = PaellaVQModel(
        bottleneck_blocks=1, num_vq_embeddings=2, levels=2, embed_dim=8, latent_channels=4
    )
    StableCascadeDecoderPipeline(
        decoder=decoder,
        tokenizer=tokenizer,
        text_encoder=_text_encoder(projected=True),
        scheduler=DDPMWuerstchenScheduler(),
        vqgan=vqgan,
    ).save_pretrained(str(folder / "decoder"), safe_serialization=True)
    index = folder / "decoder" / "model_index.json"
    named = json.loads(index.read_text())
    named["vqgan"] = ["wuerstchen", "PaellaVQModel"]  # as in the published folder
    index.write_text(json.dumps(named))
    return folder


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    source = folder / "words"
    source.mkdir(parents=True)
    (source / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    (source / "merges.txt").write_text("#version: 0.2\n")
    (source / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 8}))
    return CLIPTokenizer.from_pretrained(str(source), model_max_length=8)


def _text_encoder(*, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=TEXT_WIDTH,
        intermediate_size=16,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(32, 32),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=32,
    )


MAKERS = {
    "kandinsky22": save_tiny_decoder,
    "ip_adapter_sdxl": save_tiny_ip_adapter,
    "stable_cascade": save_tiny_cascade,
    "stable_unclip": save_tiny_unclip,
}
