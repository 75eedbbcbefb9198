"""How many images a second a ViT-B/32 LoRA training takes, ours next to the plain loop that one would write instead.

    python benchmarks/training.py --threads 2

Both train the same random ViT-B/32 on the same folder of JPEGs that this script draws (four classes, 400 × 300), with
the same rank, layers, batches and AdamW at a constant rate, against text features computed once. The plain loop is
open_clip's own preprocessing in a DataLoader over torchvision's ImageFolder, stock peft, torch.optim.AdamW, float32.
Ours is `train_client` on a store of `prepare_domain`, whose one-off cost has a line of its own. Every loop runs in a
process of its own; images/s leave out each loop's first epoch. The losses may differ by order, start values and peft's
gradient of out_proj (see sap.clip.lora), not in their course: both loops see each image once per epoch. Ours with
another seed shows how far such curves lie apart by chance. Peak memory is that of the loop's own process, without the
DataLoader's; on a GPU, what torch allocated there.

Where a CUDA device is visible, lines for training and evaluation on it follow, with their share of the rate at which
one large bf16 product runs in the same process. The work counted is that of the products which torch executes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
CLASSES = ("circles", "squares", "stripes", "rings")
WIDTH, HEIGHT = 400, 300
RANK, ALPHA, RATE = 8, 16.0, 1e-3
MODULES = r"visual\.transformer\.resblocks\.\d+\.(attn|mlp\.c_fc|mlp\.c_proj)"
TEST_SHARE = 0.2
RUNS = (("plain", "float32", 0), ("ours", "float32", 0), ("ours", "bfloat16", 0), ("ours", "bfloat16", 1))
MATRIX = 8192  # rows and columns of the product that measures the matrix rate


# The inputs


def draw_images(root: Path, count: int, rng: np.random.Generator) -> None:
    """`count` JPEGs in all: noisy photo-like ground, some shapes of the class in it."""
    from PIL import Image, ImageDraw

    for number in range(count):
        name = CLASSES[number % len(CLASSES)]
        ground = Image.fromarray(rng.integers(0, 256, (15, 20, 3), np.uint8)).resize((WIDTH, HEIGHT))
        pixels = np.asarray(ground, np.int16) // 2 + rng.integers(0, 64, (HEIGHT, WIDTH, 3))
        image = Image.fromarray(pixels.astype(np.uint8))
        pen = ImageDraw.Draw(image)
        for x, y in rng.integers((80, 30), (270, 220), (6, 2)).tolist():
            box, colour = (x, y, x + 50, y + 50), tuple(rng.integers(120, 256, 3).tolist())
            if name == "circles":
                pen.ellipse(box, fill=colour)
            elif name == "squares":
                pen.rectangle(box, fill=colour)
            elif name == "rings":
                pen.ellipse(box, outline=colour, width=8)
            else:
                for step in range(0, 50, 16):
                    pen.rectangle((x, y + step, x + 50, y + step + 7), fill=colour)
        folder = root / "drawn" / name
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number:05d}.jpg", quality=90)


def prepare(folder: Path, images: int, name: str) -> float:
    """Draw the images, write a random ViT by open_clip's `name` and the store; returns the seconds of the store."""
    import open_clip
    import torch

    from sap.clip.checkpoint import build_model, preprocess_of, save_checkpoint

    torch.manual_seed(0)
    config = open_clip.get_model_config(name)
    save_checkpoint(folder / "backbone", build_model(config, name), config, preprocess_of({}, config))
    draw_images(folder / "images", round(images / (1 - TEST_SHARE)), np.random.default_rng(0))
    data = {"name": "drawn", "source": "folder", "root": str(folder / "images"), "domains": ["drawn"]}
    data["split"] = {"val": 0.0, "test": TEST_SHARE}
    plan = {"domain": "drawn", "data": data, "input": {"size": 224}, "classes": CLASSES, "listing": ""}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    command = [sys.executable, ROOT / "workflow/scripts/prepare_domain.py", "--plan", folder / "plan.json"]
    command += ["--code", "none", "--threads", "2", "--out", folder / "store"]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def text_features(backbone: Any) -> Any:
    from sap.clip.prompts import class_features

    return class_features(backbone, CLASSES, ["a photo of {}."])


# The loops, each in its own process


def plain(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What one writes with open_clip, peft and torchvision, following their own examples."""
    import open_clip
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional
    from torchvision.datasets import ImageFolder

    from sap.data.store import open_store

    store = open_store(folder / "store")
    training = {str(folder / "images" / store.files[row]) for row in store.rows("train")}
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder / 'backbone'}")
    model.to(given.device)
    images = ImageFolder(str(folder / "images" / "drawn"), preprocess, is_valid_file=lambda path: path in training)
    loader = torch.utils.data.DataLoader(
        images, batch_size=given.batch_size, shuffle=True, num_workers=given.workers, persistent_workers=True
    )
    tokens = open_clip.get_tokenizer(f"local-dir:{folder / 'backbone'}")(
        [f"a photo of {name}." for name in images.classes]
    )
    with torch.no_grad():
        texts = model.encode_text(tokens.to(given.device), normalize=True)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=MODULES))
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=RATE, weight_decay=0.0)
    scale = model.logit_scale.exp().detach()
    history = []
    for _ in range(given.epochs):
        started, total = time.perf_counter(), 0.0
        for pixels, labels in loader:
            features = model.encode_image(pixels.to(given.device), normalize=True)
            loss = functional.cross_entropy(scale * features @ texts.T, labels.to(given.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        seconds = time.perf_counter() - started
        history.append({"loss": total / len(images), "seconds": seconds, "images": len(images)})
    return {"history": history}


def ours(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    from torch.utils.flop_counter import FlopCounterMode

    from sap.clip.backbone import load_backbone
    from sap.clip.options import LoraOptions
    from sap.data.store import open_store
    from sap.evaluate.runner import DomainImages, Judge
    from sap.train.client import train_client
    from sap.train.examples import Examples
    from sap.train.options import TrainOptions

    store, backbone = open_store(folder / "store"), load_backbone(folder / "backbone", given.device)
    rows = store.rows("train")
    train = Examples((store.images,), np.zeros_like(rows), rows, store.labels[rows])
    nobody = Examples(train.sources, rows[:0], rows[:0], rows[:0])
    options = TrainOptions(
        epochs=given.epochs,
        batch_size=given.batch_size,
        learning_rate=RATE,
        schedule="constant",
        warmup=0.0,
        gradient_clip=None,
        augment="none",
        precision=given.precision,
        lora=LoraOptions(rank=RANK, alpha=ALPHA),
    )
    texts = text_features(backbone)
    trained = train_client(backbone, texts, train, nobody, options, "drawn", given.seed)
    found = {"history": [row | {"images": len(train)} for row in trained.history]}
    if given.device == "cuda":
        found |= {"matrix_rate": matrix_rate(), "train_work": train_work(backbone, train, texts, options)}
        fresh = load_backbone(folder / "backbone", given.device)
        test = DomainImages(store.images, np.resize(store.rows("test"), 4096), np.zeros(4096, np.int64))
        judge = Judge(fresh, texts, 100.0, 256, given.precision)
        judge.logits(test, None)
        started = time.perf_counter()
        judge.logits(test, None)
        found["evaluated"] = len(test.rows) / (time.perf_counter() - started)
        with FlopCounterMode(display=False) as counter:
            judge.logits(test, None)
        found["evaluate_work"] = counter.get_total_flops() / len(test.rows)
    return found


def train_work(backbone: Any, train: Any, texts: Any, options: Any) -> float:
    """Floating point operations of one training step's products, per image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from sap.train.loop import logits_of

    which = np.arange(options.batch_size)
    labels = torch.from_numpy(train.labels[which]).to(backbone.device)
    pixels = backbone.normalise(train.images(which))
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.cross_entropy(logits_of(backbone, pixels, texts, options.precision), labels).backward()
    return counter.get_total_flops() / options.batch_size


def matrix_rate() -> float:
    """Floating point operations a second of one large bf16 product."""
    import torch

    one = torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16)
    for _ in range(10):
        one @ one
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(50):
        one @ one
    torch.cuda.synchronize()
    return 50 * 2 * MATRIX**3 / (time.perf_counter() - started)


def run_loop(given: argparse.Namespace) -> None:
    import torch

    torch.manual_seed(given.seed)
    if given.threads:
        torch.set_num_threads(given.threads)
    found = plain(given.folder, given) if given.loop == "plain" else ours(given.folder, given)
    found["peak"] = (
        torch.cuda.max_memory_allocated()
        if given.device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    print(json.dumps(found))


# The table


def main(given: argparse.Namespace) -> None:
    import torch
    from tabulate import tabulate

    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        seconds = prepare(Path(scratch), given.images, given.model)
        for device in devices:
            baseline = None
            for loop, precision, seed in RUNS[: given.runs]:
                found = SimpleNamespace(
                    **in_process(given, loop=loop, precision=precision, seed=seed, device=device, folder=scratch)
                )
                later = found.history[1:] or found.history
                speed = sum(row["images"] for row in later) / sum(row["seconds"] for row in later)
                baseline = baseline or speed
                losses = " ".join(f"{row['loss']:.3f}" for row in found.history)
                name = f"{loop}, {precision}, {device}, seed {seed}"
                rows.append([name, speed, speed / baseline, losses, found.peak / 2**30, None])
                if device == "cuda" and loop == "ours" and not seed:
                    rows[-1][-1] = speed * found.train_work / found.matrix_rate
                    share = found.evaluated * found.evaluate_work / found.matrix_rate
                    rows.append([f"evaluation, {precision}, {device}", found.evaluated, None, "", None, share])
    headers = ["loop", "images/s", "×", "mean loss per epoch", "peak GiB", "share of matrix rate"]
    print(f"Once: prepare_domain stored {round(given.images / (1 - TEST_SHARE))} images in {seconds:.1f} s.\n")
    print(tabulate(rows, headers, floatfmt=".2f", tablefmt="github"))


def in_process(given: argparse.Namespace, **choices: Any) -> dict[str, Any]:
    """What `run_loop` finds with these choices, in a fresh process."""
    command = [sys.executable, __file__]
    for name, value in (vars(given) | choices).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512, help="training images; default: 512")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip name; default: ViT-B-32")
    parser.add_argument("--runs", type=int, default=len(RUNS), help="the first so many loops; default: all")
    parser.add_argument("--batch-size", type=int, default=32, help="default: 32")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads on the CPU; default: 2")
    parser.add_argument("--workers", type=int, default=2, help="the plain DataLoader's processes; default: 2")
    inner = parser.add_argument_group("one loop in this process; the script calls itself with these")
    inner.add_argument("--loop", choices=("plain", "ours"))
    inner.add_argument("--precision", default="float32")
    inner.add_argument("--seed", type=int, default=0)
    inner.add_argument("--device", default="cpu")
    inner.add_argument("--folder", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_args()
    if arguments.loop:
        run_loop(arguments)
    else:
        main(arguments)
