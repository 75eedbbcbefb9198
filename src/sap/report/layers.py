"""Where a layer lies: its depth and its kind, with the names and colours that figures give the kinds."""

import re

import pandas as pd

from sap.report.style import COLOURS, OTHERS

KINDS = {
    "attn.in_proj": ("attention in", COLOURS["none"]),
    "attn.out_proj": ("attention out", OTHERS[0]),
    "mlp.c_fc": ("MLP in", COLOURS["taylor_absolute"]),
    "mlp.c_proj": ("MLP out", COLOURS["random"]),
}
_BLOCK = re.compile(r"(?:resblocks|blocks|layers?)\.(\d+)\.(.+?)[._]weight$")


def layer_place(layer: str) -> tuple[int, str]:
    """(depth, kind) of a layer's dotted name: visual.transformer.resblocks.3.mlp.c_fc.weight -> (3, "mlp.c_fc").

    A layer outside a numbered block has depth 0 and its whole name as kind.
    """
    found = _BLOCK.search(layer)
    return (int(found.group(1)), found.group(2)) if found else (0, layer)


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a frame by `layer` with its `depth` and its `part`, see `layer_place`."""
    places = {layer: layer_place(layer) for layer in frame["layer"].unique()}
    return frame.assign(
        depth=frame["layer"].map({name: place[0] for name, place in places.items()}),
        part=frame["layer"].map({name: place[1] for name, place in places.items()}),
    )
