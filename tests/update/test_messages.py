"""What a study and the merge tool both say is right for both: an adapter is merged, and nobody is told to train."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sap.compose import Composer
from sap.errors import SapError
from sap.update import Factors, Update, check_alike, check_update, load_adapter

SAP = Path(__file__).parents[2] / "src/sap"
IN_BOTH = ("upload.py", "update.py", "shared.py", "output.py", "realfile.py", "factors.py", "lowrank.py", "merge/*.py")
FOR_ONE = re.compile(r"\bTrain |\bUpload |this client|the client trained|your client|train it again")
WORKFLOW_ONLY = {"lorm.py"}  # needs Grams: its advice names keys of the config


@pytest.mark.parametrize("path", sorted(path for name in IN_BOTH for path in SAP.glob(name)), ids=lambda p: p.name)
def test_no_message_of_a_file_that_both_read_addresses_a_client(path):
    if path.name in WORKFLOW_ONLY:
        pytest.skip("runs in the workflow alone")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
    }
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [text for text in texts if text not in docs and FOR_ONE.search(text)]


def adapter(folder, tensors, **config):
    folder.mkdir()
    plain = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "peft_version": "0.22.0"}
    (folder / "adapter_config.json").write_text(json.dumps(plain | config), encoding="utf-8")
    named = {f"base_model.model.a.lora_{factor}.weight": tensor for factor, tensor in tensors.items()}
    save_file(named, str(folder / "adapter_model.safetensors"))
    return folder


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": True}, "Use an adapter that was trained without it, or leave this one out"),
        ({"init_lora_weights": "pissa"}, "Use an adapter that was trained without it, or leave this one out"),
        ({"r": 3}, "Put a sound copy of the adapter there, or leave it out"),
    ],
)
def test_an_adapter_that_is_refused_is_to_be_replaced_or_left_out(config, words, tmp_path):
    with pytest.raises(SapError, match=words):
        load_adapter(adapter(tmp_path / "law", {"A": torch.ones(2, 3), "B": torch.ones(4, 2)}, **config))


def test_updates_that_do_not_fit_are_called_updates():
    one, other = (Update({"a": Factors(torch.ones(2, n), torch.ones(4, 2))}) for n in (3, 5))
    odd = Update({"a": Factors(torch.full((2, 3), torch.nan), torch.ones(4, 2))})
    for updates, words in (
        (
            {"law": one, "med": other},
            r"update of 'med': .*got \(4, 5\)\. Merge updates of one model; that of 'law' has",
        ),
        ({"law": one, "med": odd}, r"update of 'med': layer a holds NaN or Inf\. Leave it out, or make it again"),
        ({}, "there is no update"),
    ):
        with pytest.raises(SapError, match=words):
            check_alike(updates)
    with pytest.raises(SapError, match=r"layer a does not exist .* Use the model that the adapter was trained on"):
        check_update(one, {"b": (4, 3)})


def test_equal_ranks_are_asked_for_not_trained_for():
    updates = {k: Update({"a": Factors(torch.ones(k, 3), torch.ones(4, k))}) for k in (1, 2)}
    with pytest.raises(SapError, match=r"needs equal ranks, got \{.*\}\. Merge adapters of one rank, or use `mean`"):
        Composer({str(k): update for k, update in updates.items()}).merge({"merge": {"method": "product_of_means"}})
