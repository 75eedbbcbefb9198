"""rank_pattern and alpha_pattern mean what peft computes with them, in linear time, or are refused by name."""

import re

import pytest
import re2
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.utils.other import get_pattern_key
from torch import nn

from sap.errors import SapError
from sap.patterns import ALL, match_patterns
from sap.update import load_adapter

NAMES = [f"text-model.encoder.layers.{i}.{part}" for i in (0, 1, 2, 12) for part in ("self_attn.q_proj", "mlp.fc1")]
NAMES += ["q_proj", "layers.1", "text_model.layers.1.self-attn.k-proj", "A.b.c0", "mlp.fc1.lora"]

# from PEFT's documentation, from adapters, and from the issue
LEGITIMATE = [
    *(r"\d+", "(0|1)", r".*layers\.(1|2)", r".*layers\.(1|2).*", r"layers\.\d+\.self_attn\.q_proj", r"[^.]+\.fc1"),
    *("q_proj", "self_attn.q_proj", r"self_attn\.q_proj", "^q_proj", r"^text-model\.encoder\.layers\.1\.mlp\.fc1"),
    *(r"layers\.(?:0|1)\.(?:self_attn|mlp)\.(?:q_proj|fc1)", r"text[-_]model\..*", r"text\-model\.encoder.*", ".*"),
    *(r".*\.(q|k)[_-]proj", r"layers\.[0-1]?\d\..*", r"layers\.\d{2}\.mlp\.fc1", r"\w+", "(?i:Q_PROJ)", "q|mlp.fc1"),
    *("", "$", "^", "mlp", r"q_proj$", r"layers\.1)|(mlp\.fc1", "(a+)+$", r"(.*)?fc1", r"\b.*fc\d\b", "(?P<n>mlp).fc1"),
    "|".join(rf"layers\.{i}\.self_attn\.(?:q|k|v|o)_proj" for i in range(32)),
]


def theirs(patterns, names):
    """As peft looks a module's rank up: its config.rank_pattern.get(get_pattern_key(...), default)."""
    found = {name: patterns.get(get_pattern_key(patterns.keys(), name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("pattern", LEGITIMATE)
def test_a_pattern_matches_the_modules_that_peft_matches(pattern):
    assert match_patterns({pattern: 3}, NAMES) == theirs({pattern: 3}, NAMES)


def test_the_first_pattern_that_matches_wins():
    patterns = {r"layers\.1\..*": 1, "q_proj": 2, r".*": 3}
    found = match_patterns(patterns, NAMES)
    assert found == theirs(patterns, NAMES)
    assert set(found.values()) == {1, 2, 3}


PIECES = [
    "a",
    "b",
    "0",
    "1",
    "-",
    "_",
    ".",
    "ab.",
    r"\.",
    r"\d",
    r"\w",
    r"\-",
    "[ab]",
    "[^.]",
    r"[\w-]",
    r"\b",
    "^",
    "$",
]
REPEATS = ["*", "+", "?", "*?", "{2}", "{0,2}", "{1,}"]
GRAMMAR = st.recursive(
    st.sampled_from(PIECES),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(REPEATS)).map(lambda two: f"(?:{two[0]}){two[1]}"),
    ),
    max_leaves=8,
)
NOISE = st.text(r"ab01.-\\[](){}|*+?^$,:=!<>#iswdDWZzxPQ ", max_size=10)  # and flags, classes, lookaround, references
SHORT = ["ab", "a.b.0", "1.a-b", "b1.a", "a_0.ab"]  # because peft backtracks


@settings(max_examples=400, deadline=None)
@given(st.lists(GRAMMAR | NOISE, min_size=1, max_size=3, unique=True))
def test_a_pattern_is_read_as_peft_reads_it_or_refused(patterns):
    patterns = {pattern: number for number, pattern in enumerate(patterns, start=1)}
    try:
        ours = match_patterns(patterns, SHORT)
    except SapError:
        return
    assert ours == theirs(patterns, SHORT)


@settings(max_examples=100, deadline=None)
@given(GRAMMAR)
def test_what_needs_no_backtracking_is_not_refused(pattern):
    try:
        want = theirs({pattern: 1}, SHORT)
    except re.error:  # ^*, which Python does not repeat
        return
    assert match_patterns({pattern: 1}, SHORT) == want


UNREADABLE = [
    *(r"(a)\1", r"(?=q)q_proj", r"(?!q).*", r"(?<=a)b", r"(?<!a)b", "a*+", "(?>a)b", "(?(1)a|b)", "(?P<n>a)(?P=n)"),
    *("[", "(", "q_proj)", "*", "a**", "\\", "(?i)q_proj", "a{2,1}", "x{1001}", "((a{99}){99}){99}", r"\Z", r"\z"),
    *(r"\C", r"\pL", "a{,2}", "[[:alpha:]]", r"\12", "é", "\ud800", "(" * 900 + ")" * 900, "a" * 2001),
]


@pytest.mark.parametrize("pattern", UNREADABLE, ids=lambda pattern: ascii(pattern)[:20])
def test_a_pattern_that_is_not_one_to_both_is_refused_by_name(pattern, capfd):
    with pytest.raises(SapError, match=r"^the pattern '.* cannot be used \(.*without lookaround") as error:
        match_patterns({pattern: 2}, NAMES)
    assert repr(pattern)[:100] in str(error.value)
    assert len(str(error.value)) < 600
    assert capfd.readouterr() == ("", "")  # RE2 logs what it cannot read, if it is left to


def test_a_pattern_behind_the_last_match_is_not_looked_at_like_in_peft():
    assert match_patterns({".*": 1, "[": 2}, NAMES) == theirs({".*": 1, "[": 2}, NAMES)


def test_each_pattern_is_compiled_once_whatever_the_number_of_layers(monkeypatch):
    """4,800 patterns took 108 s with 50 layers."""
    compiled, compile = [], re2.compile
    monkeypatch.setattr(re2, "compile", lambda pattern, options: compiled.append(pattern) or compile(pattern, options))
    patterns = {rf"layers\.{i}\.fc\d": i + 1 for i in range(4800)}
    names = [f"text-model.encoder.layers.{i}.fc1" for i in range(50)]
    assert match_patterns(patterns, names) == {name: i + 1 for i, name in enumerate(names)}
    assert len(compiled) == len(set(compiled)) == 50  # the others lie behind the last match


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([f"(.?a.?){{50}}{i}" for i in range(1000)], [f"layers.{i}.{'a' * 200}" for i in range(2000)]),
        ([rf"x[\w.-]{{1,300}}{i}" for i in range(4000)], [f"{'x' * 400}{i}" for i in range(50)]),
    ],
)
def test_patterns_beyond_the_bound_are_refused_before_they_are_matched(patterns, names, monkeypatch):
    asked = []
    match = re2._Regexp.match
    monkeypatch.setattr(re2._Regexp, "match", lambda self, name: asked.append(1) or match(self, name[:1]))
    with pytest.raises(SapError, match=r"patterns would take too long to match with .* Write fewer or shorter ones"):
        match_patterns(dict.fromkeys(patterns, 2), names)
    assert len(asked) < len(patterns) * len(names) / 2


def test_more_characters_than_are_ever_compiled_are_refused_before_the_first_is():
    with pytest.raises(SapError, match=f"its patterns have .* characters, at most {ALL} are read"):
        match_patterns({"[" * 1000 + str(i): 2 for i in range(140)}, NAMES)


class Tower(nn.Module):
    """Hyphens, numbers, and a path that ends another."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        block = lambda: nn.ModuleDict({"q-proj": nn.Linear(6, 5), "fc1": nn.Linear(6, 7)})  # noqa: E731
        self.layers = nn.ModuleList(block() for _ in range(3))
        self.towers = nn.ModuleDict({"text-model": nn.ModuleDict({"layers": nn.ModuleList(block() for _ in range(2))})})


@pytest.mark.parametrize(
    ("ranks", "alphas"),
    [
        ({r"layers\.\d+\.q-proj": 3}, {}),
        ({r".*layers\.(1|2)\.fc1": 1, "fc1": 4}, {r"(?:towers\.)?text-model\..*": 9}),
        ({r"^layers\.(0|1)\..*": 3}, {r"^layers\.0\.fc1": 5, "q-proj": 7}),
        ({"text-model.layers.0.q-proj": 1}, {r"\d+\.q\-proj": 3}),
        ({r"nothing\d": 3}, {"layers": 2}),
    ],
)
def test_an_adapter_with_patterns_is_the_update_that_peft_adds(tmp_path, ranks, alphas):
    config = {"rank_pattern": ranks, "alpha_pattern": alphas, "init_lora_weights": False}  # B ≠ 0
    model = get_peft_model(Tower(), LoraConfig(r=2, lora_alpha=4, target_modules=["q-proj", "fc1"], **config))
    model.save_pretrained(tmp_path)
    update = load_adapter(tmp_path)
    modules = {name: module for name, module in model.base_model.model.named_modules() if hasattr(module, "lora_A")}
    assert set(update) == {f"{name}.weight" for name in modules}
    for name, module in modules.items():
        torch.testing.assert_close(update.dense(f"{name}.weight"), module.get_delta_weight("default"))
