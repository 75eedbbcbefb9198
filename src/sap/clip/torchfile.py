"""Files of torch.save from strangers: what they hold is bounded before torch unpacks it, and no code in them runs.

A torch file is a zip archive of a pickle (data.pkl) and one entry for each storage, uncompressed; before torch 1.6 it
was five pickles in a row with the storages behind them. Pickled instructions that take memory out of nothing, and
entries that inflate to many times the file, are found by reading what is declared, which costs nothing.
"""

import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from sap.errors import SapError
from sap.realfile import head_of, real_file

PICKLE_BYTES = 2**21  # that of a ViT-bigG with its optimizer has 0.5 MB; each byte can take 64 of memory
TUPLE_DEPTH = 8  # of tuples in one another: 3 in a parameter; hashing 40 pairs of pairs takes 2^40 steps in one C call
EXPANSION = 4  # times the file's size that it may hold: torch does not compress, and names share few weights
SLACK = 2**20  # bytes besides, for what a small archive compresses
LEGACY_PICKLES = 5  # magic number, protocol, system, the object, keys of the storages


def read_torch_file(path: str | Path) -> Any:
    """What `torch.load` makes of the file, on the CPU, if it is made of tensors and plain containers only.

    SapError for whatever is wrong with the file: it is no torch file, damaged, holds other Python objects or a
    program, or more bytes than a file of its size.
    """
    path = real_file(path)
    try:
        _check_declared(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SapError:
        raise
    except pickle.UnpicklingError as error:
        raise SapError(
            f"{path}: holds pickled Python objects, not only weights, and is not loaded because that runs code. "
            "Save its state dict as .safetensors and name that file."
        ) from error
    except Exception as error:  # torch's unpickler meets bytes of a stranger with whatever exception they lead to
        if "TorchScript" in str(error):  # torch's own advice there is to let the file run code
            raise SapError(
                f"{path}: is a TorchScript archive, a program, and is not run. Save its state dict as .safetensors "
                "and name that file."
            ) from error
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise SapError(f"{path}: cannot be read as a weights file ({said}). Copy or download it again.") from error


def most_bytes(path: Path) -> int:
    """What all tensors of a torch file may have together."""
    return EXPANSION * path.stat().st_size + SLACK


def _check_declared(path: Path) -> None:
    """SapError where the file holds no pickle of a state dict, or declares more than a file of its size can hold."""
    head = head_of(path)
    if head.startswith(b"PK\3\4"):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > most_bytes(path):
                raise SapError(
                    f"{path}: unpacks to {unpacked} bytes, {unpacked // path.stat().st_size} times its size, which no "
                    "file of torch.save does. Save its state dict again and name that file."
                )
            for entry in archive.infolist():
                if entry.filename.endswith("data.pkl"):
                    _check_size(path, entry.file_size)
                    with archive.open(entry) as handle:
                        _check_pickle(path, handle)
    elif head.startswith(b"\x80"):
        with open(path, "rb") as handle:
            for number in range(LEGACY_PICKLES):
                if number and not handle.peek(1):
                    raise SapError(
                        f"{path}: is a plain pickle, not a file of torch.save. Save its state dict as .safetensors and "
                        "name that file."
                    )
                _check_pickle(path, handle)
    else:
        raise SapError(
            f"{path}: is no file of torch.save, which is a zip archive or a pickle; it begins with {head[:20]!r}. "
            "Name the weights file itself."
        )


def _check_pickle(path: Path, handle: IO[bytes]) -> None:
    """Walk through the instructions of one pickle without following them.

    A bytearray is the one object that torch allows and that a number of a few digits makes gigabytes of.
    """
    start = handle.tell()
    stack: list[int | None] = []
    memo: dict[int, int | None] = {}
    for instruction, argument, position in pickletools.genops(handle):
        _check_size(path, (position or start) - start)
        if _tuple_depth(instruction, argument, stack, memo) > TUPLE_DEPTH:
            raise SapError(
                f"{path}: holds tuples nested more than {TUPLE_DEPTH} deep, which no state dict does. Save its state "
                "dict as .safetensors and name that file."
            )
        if instruction.name == "GLOBAL" and str(argument).split(" ")[-1] == "bytearray":
            raise SapError(
                f"{path}: holds a bytearray, which no state dict does. Save its state dict as .safetensors and name "
                "that file."
            )


def _tuple_depth(
    instruction: pickletools.OpcodeInfo, argument: Any, stack: list[int | None], memo: dict[int, int | None]
) -> int:
    """How deep tuples lie in one another in what the instruction leaves on the stack.

    `stack` and `memo` are the unpickler's, with that depth in place of each object, and None for a mark.
    """
    if "PUT" in instruction.name or instruction.name == "MEMOIZE":
        memo[len(memo) if argument is None else argument] = stack[-1] if stack else 0
        return 0
    if "GET" in instruction.name:
        stack.append(memo.get(argument, 0))
        return 0
    before, taken = instruction.stack_before, []
    if pickletools.stackslice in before:  # everything down to the mark, and what is asked for below it
        while stack and (depth := stack.pop()) is not None:
            taken.append(depth)
        before = before[: before.index(pickletools.markobject)]
    taken += [stack.pop() or 0 for _ in before[: len(stack)]]
    depth = max(taken, default=0) + instruction.name.startswith("TUPLE")
    stack += [None if left is pickletools.markobject else depth for left in instruction.stack_after]
    return depth


def _check_size(path: Path, size: int) -> None:
    if size > PICKLE_BYTES:
        raise SapError(
            f"{path}: its pickle has more than {PICKLE_BYTES} bytes, that of a state dict is smaller. Save the state "
            "dict alone and name that file."
        )
