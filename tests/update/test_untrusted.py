"""Uploads of strangers: only a SapError comes out of a reader, soon, and without the memory that a file asks for."""

import json
import os
import resource
import struct
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from sap.errors import SapError
from sap.io import digests_of, read_meta, sealed
from sap.update import Update, load_adapter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BLOCK = "base_model.model.text-model.layers.0."
PLAIN = {"peft_type": "LORA", "peft_version": "1.0.0", "r": 2, "lora_alpha": 4, "use_rslora": False}
PLAIN |= {"rank_pattern": {r"mlp\.fc\d": 3}, "alpha_pattern": {"q-proj": 9}, "bias": "none", "task_type": "A"}
META = {"stage": "train_client", "sample_count": 100, "settings": {"seed": 0}, "files": {CONFIG: "0" * 64}}


def tensors(ranks=(2, 3), sizes=((5, 4), (4, 6))):
    found = {}
    for module, rank, (m, n) in zip(("self_attn.q-proj", "mlp.fc1"), ranks, sizes, strict=True):
        found[f"{BLOCK}{module}.lora_A.weight"] = torch.ones(rank, n)
        found[f"{BLOCK}{module}.lora_B.weight"] = torch.ones(m, rank)
    return found


def write(folder, weights=None, **config):
    save_file(tensors() if weights is None else weights, str(folder / WEIGHTS))
    (folder / CONFIG).write_text(json.dumps(PLAIN | config), encoding="utf-8")
    return folder


def header_only(folder, layers, rank, m, n):
    """An adapter file of zeros, which takes no space on the disk, whatever its header says."""
    header, end = {}, 0
    for i in range(layers):
        for factor, size in (("A", [rank, n]), ("B", [m, rank])):
            begin, end = end, end + 4 * size[0] * size[1]
            entry = {"dtype": "F32", "shape": size, "data_offsets": [begin, end]}
            header[f"base_model.model.l{i}.lora_{factor}.weight"] = entry
    text = json.dumps(header).encode()
    with (folder / WEIGHTS).open("wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        handle.truncate(8 + len(text) + end)


@pytest.fixture
def unread(monkeypatch):
    """Fails where a tensor of an open file is read: what is refused by shapes must not be."""
    from safetensors import safe_open

    class Unread:
        def __init__(self, *args, **kwargs):
            self._file = safe_open(*args, **kwargs)

        def __enter__(self):
            self._file.__enter__()
            return self

        def __exit__(self, *error):
            return self._file.__exit__(*error)

        def __getattr__(self, name):
            assert name != "get_tensor", "a tensor was read"
            return getattr(self._file, name)

    monkeypatch.setattr("safetensors.safe_open", Unread)


@pytest.mark.parametrize(
    ("layers", "rank", "m", "n", "words"),
    [
        (1, 50_000, 1, 1, r"l0\.weight: rank 50000 is too large for 1 × 1 weights"),  # asked for 20 GB
        (1, 257, 100, 100, r"l0\.weight: rank 257 is too large for 100 × 100 weights, at most 256"),
        (1, 1, 50_000, 50_000, r"l0\.weight: must have 1 to 2147483648 weights, is 50000 × 50000"),  # 10 GB, once dense
        (1, 1, 0, 9, r"l0\.weight: must have 1 to 2147483648 weights, is 0 × 9"),
        (600, 1, 46_000, 46_000, "its layers must have at most 1099511627776 weights in all"),
        (40_000, 1, 1, 1, r"cannot be read \(its header would have"),
        (1, 30_000, 30_000, 30_000, r"has 7200\d* bytes, a file of this kind at most 4294967296"),
    ],
)
def test_what_asks_for_too_much_is_refused_by_its_header(tmp_path, unread, layers, rank, m, n, words):
    write(tmp_path, r=rank, rank_pattern={})
    header_only(tmp_path, layers, rank, m, n)
    with pytest.raises(SapError, match=words):
        load_adapter(tmp_path)


@pytest.mark.parametrize(("m", "n", "rank"), [(1, 2048, 8), (2048, 1, 64), (10, 768, 64), (4, 4, 16)])
def test_a_rank_above_the_smaller_side_is_read(tmp_path, m, n, rank):
    """r on all linear modules includes MoE gates (1 × 2048 of Qwen's shared experts) and small heads."""
    module = "base_model.model.mlp.shared_expert_gate"
    write(
        tmp_path,
        {f"{module}.lora_A.weight": torch.ones(rank, n), f"{module}.lora_B.weight": torch.ones(m, rank)},
        r=rank,
    )
    update = load_adapter(tmp_path)
    assert torch.equal(update.dense("mlp.shared_expert_gate.weight"), torch.full((m, n), 4.0))


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "meta.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_a_pipe_or_device_in_an_upload_is_refused(tmp_path, name, make):
    (write(tmp_path) / name).unlink(missing_ok=True)
    make(tmp_path / name)
    with pytest.raises(SapError, match=f"{name} is not a regular file"):
        load_adapter(tmp_path)


def test_patterns_of_peft_and_hyphens_are_read(tmp_path):
    update = load_adapter(write(tmp_path))
    assert list(update) == ["text-model.layers.0.mlp.fc1.weight", "text-model.layers.0.self_attn.q-proj.weight"]
    assert torch.equal(update.dense("text-model.layers.0.self_attn.q-proj.weight"), torch.full((5, 4), 9.0))
    torch.testing.assert_close(update.dense("text-model.layers.0.mlp.fc1.weight"), torch.full((4, 6), 4.0))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rank_pattern": {"[": 3}}, r"rank_pattern: the pattern '\[' cannot be used"),
        ({"alpha_pattern": {"(?=a)": 3}}, r"alpha_pattern: the pattern '\(\?=a\)' cannot be used"),
        ({"rank_pattern": {".*": 10**400}}, "rank_pattern of text-model.* must be a positive integer below 1e6"),
        (
            {"alpha_pattern": {".*": None}},
            "alpha_pattern of text-model.* must be a positive number below 1e6, got None",
        ),
        ({"r": 10**400}, "r must be a positive integer below 1e6, got 1000"),
        ({"peft_version": 21}, "peft_version must be a version"),
        ({"peft_version": ["0.21"]}, "peft_version must be a version"),
        ({"peft_version": "9" * 5000}, "peft_version must be a version"),
        ({"loftq_config": "x" * 500_000}, "loftq_config is set to 'xxx"),
        ({"init_lora_weights": {"a": "x" * 500_000}}, "init_lora_weights {'a': 'xxx"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_odd_configs_are_one_sentence_of_bounded_length(tmp_path, config, words):
    with pytest.raises(SapError, match=rf"adapter_config\.json: {words}") as error:
        load_adapter(write(tmp_path, **config))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("module", ["a" * 501, "é", "²", "a b", "a/b", "a\x1b[2J", "9" * 100_000])
def test_odd_names_of_modules_are_one_sentence_of_bounded_length(tmp_path, module):
    weights = {f"base_model.model.{module}.lora_{factor}.weight": torch.ones(2, 2) for factor in "AB"}
    with pytest.raises(SapError, match="unexpected key 'base_model") as error:
        load_adapter(write(tmp_path, weights))
    assert len(str(error.value)) < 1000
    assert str(error.value).isprintable()


ODD = [None, True, False, 10**400, 2**63, -1, 0, float("nan"), float("inf"), 1e308, "", "0.21.2", "[", "../x", "0" * 64]
JSON = st.recursive(
    st.sampled_from(ODD) | st.integers(1, 70) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([*PLAIN, "init_lora_weights", "use_dora", "modules_to_save", "loftq_config", "fan_in_fan_out"])
PATTERNS = st.dictionaries(st.text("a.*+?()[]{}|\\d^$1,q", max_size=8), JSON, max_size=3)
CONFIGS = st.dictionaries(NAMES, JSON, max_size=2) | PATTERNS.map(lambda them: {"rank_pattern": them})


@st.composite
def changed_bytes(draw, whole):
    """A file with bytes exchanged, cut out or put in, mostly in its beginning."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(len(data), 60)) | st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 1, 1, 8, 200]))
        data[at : at + length] = draw(
            st.binary(max_size=9) | st.sampled_from([b"[" * 5000, b'"', b"\xff" * 8, b"0" * 99])
        )
    return bytes(data)


@st.composite
def changed_header(draw):
    """A safetensors file whose header is JSON of the right length, with one thing in it exchanged."""
    whole = save(tensors())
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    key = draw(st.sampled_from(sorted(header)))
    entry = header.pop(key)
    size = st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 2**31, 2**63, 2**64, -1]), max_size=3)
    kinds = st.sampled_from(["F32", "F64", "F16", "I64", "BOOL", "F8_E4M3", "F4", "X", ""])
    entry[draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = draw(size | kinds | JSON)
    names = st.sampled_from(
        [key, key.replace("lora_A", "lora_B"), key.replace("-", "²"), "__metadata__", ""]
    ) | st.text(max_size=5)
    header[draw(names)] = draw(st.just(entry) | JSON)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + whole[end:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("upload")


FUZZED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def read_whole(folder):
    """What a server does with an upload: an update of sane size comes out, or a sentence, and nothing else."""
    with suppress(SapError):
        update = load_adapter(folder)
        assert isinstance(update, Update)
        assert all(m * n < 1000 for m, n in map(update.shape, update))


def grown(before):
    """Bytes that this process's peak memory grew by."""
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


@FUZZED
@given(CONFIGS)
def test_any_config_is_read_or_one_sentence(folder, config):
    (folder / WEIGHTS).write_bytes(save(tensors()))
    (folder / CONFIG).write_text(json.dumps(PLAIN | config), encoding="utf-8")
    read_whole(folder)


@FUZZED
@given(st.data())
def test_any_bytes_are_read_or_one_sentence_and_take_no_memory(folder, data):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = json.dumps(PLAIN).encode()
    files = data.draw(
        st.one_of(
            st.tuples(changed_bytes(config), st.just(save(tensors()))),
            st.tuples(st.just(config), changed_bytes(save(tensors())) | changed_header()),
        )
    )
    for name, content in zip((CONFIG, WEIGHTS), files, strict=True):
        (folder / name).write_bytes(content)
    read_whole(folder)
    assert grown(before) < 100e6


@FUZZED
@given(st.data())
def test_any_meta_json_is_read_or_one_sentence(folder, data):
    write(folder)
    try:
        content = META | data.draw(st.dictionaries(st.sampled_from([*META, "digest"]), JSON, max_size=2))
        text = json.dumps(sealed(content) if data.draw(st.booleans()) else content).encode()
    except ValueError:  # NaN cannot be sealed
        text = json.dumps(content).encode()
    (folder / "meta.json").write_bytes(data.draw(st.just(text) | changed_bytes(text)))
    try:
        read_whole(folder)
        with suppress(SapError):
            assert isinstance(read_meta(folder), dict)
        with suppress(SapError):
            assert all("/" not in name for name in digests_of(folder))
    finally:
        (folder / "meta.json").unlink()
