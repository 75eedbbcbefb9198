"""How many class words the anchors' captions contain, below the table of the headroom."""

import pytest

from sap.io import write_csv
from sap.plans import ReportPlan
from sap.provenance import save_meta
from sap.report.frame import collect
from sap.stages.headroom.words import words_in, words_notes


@pytest.mark.parametrize(
    ("captions", "texts", "words", "count"),
    [
        (["a photo of a cat.", "Cat and dog", "cattle"], ["cat", "dog", "cow"], ("cat", "dog"), 2),
        (["an alarm clock", "a clock"], ["alarm clock"], ("alarm clock",), 1),
        (["a t-shirt!", "c++"], ["c++", "c", "t-shirt"], ("c++", "c", "t-shirt"), 2),
        ([], ["cat"], (), 0),
    ],
)
def test_whole_words_count_whatever_their_case(captions, texts, words, count):
    assert words_in(captions, texts) == (words, count)


def results(tmp_path, texts, **settings):
    folder = tmp_path / "results/draw_anchors/captions-0"
    folder.mkdir(parents=True)
    lines = ["a photo of a zero.", "the number 7.", "a zero, a one", "nothing"]
    write_csv(folder / "anchors.csv", [{"file": "", "caption": line} for line in lines], ["file", "caption"])
    save_meta(folder, {"stage": "draw_anchors", "settings": {"draw": 2, **settings}})
    jobs = {"draw_anchors": [{"folder": str(folder)}, {"folder": str(tmp_path / "absent")}]}
    empty = dict.fromkeys(("domains", "targets", "seeds", "points", "folds"), ())
    plan = ReportPlan(
        experiment="mine", dataset="mine", backbone="", anchors=4, classes=texts, texts=texts, jobs=jobs, **empty
    )
    return collect(plan, tmp_path)


def test_the_headroom_says_which_class_words_the_drawn_anchors_lack(tmp_path):
    assert words_notes(results(tmp_path, ("zero", "one", "heptad"))) == (
        "Anchors (captions, draw 2): their captions contain 2 of the 3 class words, in 2 of 4 anchors; "
        "none says heptad.",
    )


def test_anchors_of_classes_are_named_and_a_full_set_lacks_nothing(tmp_path):
    assert words_notes(results(tmp_path, ("zero",), words={})) == (
        "Anchors (classes, draw 2): their captions contain 1 of the 1 class words, in 2 of 4 anchors.",
    )
