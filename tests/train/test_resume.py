"""A training state is believed whole or not at all."""

import pytest
import torch

from sap.train.resume import ResumeFile

COUNTERS = {"epoch": 3, "history": [{"loss": 0.1}]}


@pytest.fixture
def state(tmp_path):
    tensors = {"loss_sum": torch.tensor(0.5), "factor/a": torch.randn(2, 3), "step/a": torch.tensor(7.0)}
    tensors["best/a"] = torch.randn(2, 3).bfloat16()
    ResumeFile(tmp_path, "id").save(tensors, COUNTERS)
    return tensors


def test_a_state_comes_back_as_it_was_and_only_for_its_own_training(state, tmp_path):
    tensors, counters = ResumeFile(tmp_path, "id").load()
    assert counters == COUNTERS
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert ResumeFile(tmp_path, "another").load() is None


def test_no_flipped_bit_and_no_cut_of_a_state_is_believed(state, tmp_path):
    path = tmp_path / "state.safetensors"
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        loaded = ResumeFile(tmp_path, "id").load()
        if loaded is not None:  # white space of the header
            assert loaded[1] == COUNTERS
            assert all(torch.equal(loaded[0][name], state[name]) for name in state)
    for length in range(0, len(whole), 16):
        path.write_bytes(whole[:length])
        assert ResumeFile(tmp_path, "id").load() is None
