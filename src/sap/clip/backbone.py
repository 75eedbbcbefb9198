"""The frozen CLIP: loading the artifact of `prepare_backbone` and encoding images and texts with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import open_clip
import torch

from sap.clip.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Model, build_model, load_weights, read_config
from sap.errors import SapError
from sap.io import load_tensors, verified


@dataclass
class Backbone:
    """An open_clip model (evaluation mode, no gradients for its own weights) with its preprocessing.

    `mean` and `std` are (3,) float32 on the model's device; `size` is the side of the square input in pixels;
    `interpolation` and `resize_mode` say how a decoded image gets to that size (done before, by sap.data).
    """

    model: Model
    folder: Path
    mean: torch.Tensor
    std: torch.Tensor
    size: int
    interpolation: str
    resize_mode: str
    context_length: int

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def logit_scale(self) -> torch.Tensor:
        """exp of the model's own temperature, a scalar () float32."""
        return self.model.logit_scale.detach().exp().reshape(())

    @cached_property
    def tokenizer(self) -> open_clip.SimpleTokenizer:
        """The tokenizer that belongs to the model; built at the first use (reading its vocabulary takes a moment)."""
        return load_tokenizer(self.folder)

    def normalise(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Decoded images (N,H,W,3) uint8 to model input (N,3,H,W) float32 on the model's device.

        Raises SapError where H or W is not the model's input size.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
        if pixels.shape[1:] != (self.size, self.size, 3):
            raise SapError(
                f"images must be (N,{self.size},{self.size},3) for this backbone, were {tuple(pixels.shape)}. "
                "Prepare the domain again with this backbone's input size."
            )
        pixels = pixels.to(self.device).float().div_(255.0)
        return pixels.sub_(self.mean).div_(self.std).permute(0, 3, 1, 2).contiguous()

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Model input (N,3,H,W) to unit-norm features (N,E). Gradients flow where the caller asked for them."""
        return self.model.encode_image(pixels, normalize=True)

    def tokenize(self, texts: list[str] | tuple[str, ...]) -> torch.Tensor:
        """Texts to tokens (N,L) int64 on the model's device; longer texts are cut at the context length."""
        return self.tokenizer(list(texts)).to(self.device)

    def text_features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (N,L) int64 to unit-norm features (N,E)."""
        return self.model.encode_text(tokens, normalize=True)


def load_backbone(folder: str | Path, device: str = "cpu") -> Backbone:
    """Load a folder in open_clip's local-directory format: float32, evaluation mode, every weight frozen.

    Raises SapError naming the file for a missing or truncated file, weights that do not fit the config, or an
    input that is not square.
    """
    folder = Path(folder)
    model_cfg, preprocess = read_config(verified(folder / CONFIG_FILE))
    with torch.random.fork_rng(devices=[]):
        model = build_model(model_cfg, folder / CONFIG_FILE)
    load_weights(model, load_tensors(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    model.requires_grad_(False).eval().to(device)
    return Backbone(
        model=model,
        folder=folder,
        mean=torch.tensor(preprocess["mean"], dtype=torch.float32, device=device),
        std=torch.tensor(preprocess["std"], dtype=torch.float32, device=device),
        size=_side(preprocess["size"], folder / CONFIG_FILE),
        interpolation=preprocess["interpolation"],
        resize_mode=preprocess["resize_mode"],
        context_length=model_cfg["text_cfg"].get("context_length", 77),
    )


def load_tokenizer(folder: str | Path) -> open_clip.SimpleTokenizer:
    """The tokenizer of a backbone's folder, without its weights: texts to tokens (N,L) int64 on the CPU."""
    verified(Path(folder) / CONFIG_FILE)
    return open_clip.get_tokenizer(f"local-dir:{folder}")


def count_cut(tokenizer: open_clip.SimpleTokenizer, texts: Iterable[str]) -> int:
    """How many of the texts have more tokens than the model reads, the two that mark begin and end included.

    What is beyond is cut off in silence when they are tokenised.
    """
    return sum(len(tokenizer.encode(text)) + 2 > tokenizer.context_length for text in texts)


def _side(size: int | list[int], where: Path) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise SapError(f"{where}: the input must be square, was {height} × {width}. Use a model with a square input.")
    return height
