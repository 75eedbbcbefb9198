"""What the `backbone` section and the `train.lora` section of the config may say."""

from dataclasses import dataclass

from sap.config import option

INTERPOLATIONS = ("bicubic", "bilinear")
RESIZE_MODES = ("shortest", "longest", "squash")


@dataclass(frozen=True)
class ScratchOptions:
    width: int = option(64, "width of both towers", low=8)
    layers: int = option(3, "layers of the visual tower", low=1)
    text_layers: int = option(1, "layers of the text tower", low=1)
    head_width: int = option(32, "width of one attention head", low=4)
    patch_size: int = option(4, "patch side, pixels", low=1)
    embed_dim: int = option(64, "size of the joint embedding", low=4)
    steps: int = option(1600, "contrastive training steps", low=1)
    batch_size: int = option(128, "pairs per step", low=2)
    learning_rate: float = option(2e-3, "peak AdamW learning rate", above=0)
    warmup: int = option(50, "steps of linear warm-up before the cosine decay", low=0)
    weight_decay: float = option(0.1, "AdamW weight decay", low=0)
    caption_noise: float = option(0.0, "share of captions that name a wrong class", low=0, below=1)
    seed: int = option(0, "initial weights and order of pairs", low=0)


@dataclass(frozen=True)
class BackboneOptions:
    kind: str = option(
        "scratch",
        "`scratch` pretrains on the digits corpus; `pretrained` is an open_clip name and tag (downloads); "
        "`checkpoint` is a local file or folder",
        choices=("scratch", "pretrained", "checkpoint"),
    )
    model: str | None = option(None, "open_clip model name such as ViT-B-32 (`pretrained`, or `checkpoint` files)")
    pretrained: str | None = option(None, "open_clip pretrained tag such as openai or laion2b_s34b_b79k")
    checkpoint: str | None = option(
        None, "a folder in open_clip's own format (open_clip_config.json beside weights), or a weights file"
    )
    model_config: str | None = option(None, "JSON file with a custom model config for `checkpoint`")
    prompts: tuple[str, ...] = option(
        ("a photo of a {}.",), "prompt templates; their text features are averaged per class", min_items=1
    )
    interpolation: str | None = option(
        None, "how images are resized; null follows the checkpoint (bicubic for a tag)", choices=INTERPOLATIONS
    )
    resize_mode: str | None = option(
        None,
        "how images are fitted; null follows the checkpoint (shortest for a tag)",
        choices=RESIZE_MODES,
    )
    scratch: ScratchOptions = option(ScratchOptions(), "size and pretraining of a `scratch` backbone")


@dataclass(frozen=True)
class LoraOptions:
    rank: int = option(8, "rank r of every adapted layer", low=1)
    alpha: float = option(16.0, "LoRA alpha; the update is alpha/rank · B·A", above=0)
    dropout: float = option(0.0, "LoRA dropout on the MLP layers (attention has none in peft)", low=0, below=1)
    targets: tuple[str, ...] = option(
        ("attention", "mlp_in", "mlp_out"),
        "`attention` is in_proj and out_proj, `mlp_in` is c_fc, `mlp_out` is c_proj",
        choices=("attention", "mlp_in", "mlp_out"),
        min_items=1,
    )
    factors: str = option(
        "both",
        "which factors train: `both`, or one of them; the other keeps its random start, the trained one starts at zero",
        choices=("both", "A", "B"),
    )
    start: str = option(
        "shared",
        "the random factor at the start: `shared` by all clients of a seed, or `independent`",
        choices=("shared", "independent"),
    )
    first_block: int = option(
        0, "first adapted block of the visual tower; what lies below it is then computed once, not at each point", low=0
    )
    towers: str = option(
        "visual",
        "`visual`, or `both`: all blocks of the text tower, too, and each step computes the class texts anew",
        choices=("visual", "both"),
    )
