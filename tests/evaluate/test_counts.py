"""Sample counts of uploads: what can be one is believed, everything else is one sentence with the file's name."""

import pytest

from sap.errors import SapError
from sap.evaluate.composer import composers
from sap.evaluate.counts import MOST, sample_count
from sap.io import write_json, write_text
from sap.provenance import save_meta
from tests.made_plans import made_fold


@pytest.mark.parametrize("count", [1, 480, MOST])
def test_a_positive_integer_is_a_count(tmp_path, count):
    save_meta(tmp_path, {"stage": "train_client", "sample_count": count}, [])
    assert sample_count(tmp_path) == count


BAD = [1e308, 100.0, True, False, 0, -3, 2**53, 10**400, "100", "", None, [100], {"n": 1}]


@pytest.mark.parametrize("count", BAD, ids=lambda count: repr(count)[:10])
def test_anything_else_is_refused_with_the_file_and_what_was_expected(tmp_path, count):
    save_meta(tmp_path, {"stage": "train_client", "sample_count": count}, [])
    with pytest.raises(
        SapError, match=r"meta\.json: sample_count must be a positive integer below 2\*\*53, got "
    ) as found:
        sample_count(tmp_path)
    assert len(str(found.value)) < 250 + len(str(tmp_path))


@pytest.mark.parametrize("text", ['{"sample_count": NaN}', '{"sample_count": Infinity}', "{}", "[]", "7"])
def test_a_meta_json_of_somebody_else_is_not_believed_either(tmp_path, text):
    write_text(tmp_path / "meta.json", text)
    with pytest.raises(SapError, match=r"meta\.json"):
        sample_count(tmp_path)


def test_no_merge_is_composed_from_a_count_that_is_none(tmp_path):
    """Two clients that claim 1e308 images: their shares would be 0, and the merged update nothing, with status 0."""
    for name in ("a", "b"):
        write_json(tmp_path / name / "meta.json", {"sample_count": 1e308})
    plan = made_fold(clients={name: str(tmp_path / name) for name in ("a", "b")})
    with pytest.raises(SapError, match=r"a/meta\.json: sample_count must be .*, got 1e\+308"):
        composers(plan, {})
