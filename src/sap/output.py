"""The folder of a result that somebody named: nothing in it is overwritten unasked, and nothing stale stays beside it.

A folder can hold a file under a name that the result needs, somebody's adapter, or an earlier merge, whose meta.json
names its files. Only files that this tool wrote, bit for bit, are ever deleted.
"""

from collections.abc import Sequence
from pathlib import Path

from sap.errors import SapError
from sap.foreign import read_json
from sap.io import digest_file, is_intact

META_BYTES = 2**26  # norms and ranks of 100,000 layers
RESULTS = ("adapter_config.json", "adapter_model.safetensors", "update.safetensors")  # a model's, whoever made them


def check_folder(out: Path, names: Sequence[str], force: bool) -> list[Path]:
    """The files of an earlier merge in `out` that a new one, whose files are `names`, would leave behind.

    SapError where `out` is no folder, where something would be overwritten or lie beside the result (with `force` only
    what is not a file), or where a file to be deleted is no longer as the earlier merge wrote it.
    """
    if not out.exists():
        return []
    if not out.is_dir():
        raise SapError(f"--out {out} is a file. Name a folder, which is made where there is none.")
    earlier = _earlier_merge(out)
    held = [name for name in dict.fromkeys((*names, *RESULTS, "meta.json", *earlier)) if (out / name).exists()]
    folders = [name for name in held if (out / name).is_dir()]
    if folders:
        raise SapError(f"--out {out} holds a folder {folders[0]}, where a file would be written. Name another folder.")
    if held and not force:
        raise SapError(
            f"--out {out} already holds {', '.join(held)}. Name another folder, or add --force: it overwrites "
            f"{', '.join([*names, 'meta.json'])} and deletes what else an earlier merge wrote there."
        )
    stale = [out / name for name in earlier if name in held and name not in names]
    for path in stale:
        if not path.is_file() or digest_file(path) != earlier[path.name]:
            raise SapError(
                f"{path} is not what the earlier merge wrote there, so --force does not delete it, and it would lie "
                "beside the new files. Move it, or name another folder."
            )
    return stale


def _earlier_merge(out: Path) -> dict[str, str]:
    """File name -> digest of the merge whose meta.json lies in the folder; empty where there is none of ours."""
    if not (out / "meta.json").is_file():
        return {}
    meta = read_json(out / "meta.json", META_BYTES)
    if not is_intact(meta) or meta.get("stage") != "merge" or not isinstance(meta.get("files"), dict):
        return {}
    return {name: value for name, value in meta["files"].items() if Path(name).name == name}  # no paths elsewhere
