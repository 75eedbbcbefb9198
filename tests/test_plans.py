"""A plan is read as the type that its job expects, from a file that is what it was written as."""

import dataclasses

import pytest

from sap import io
from sap.errors import SapError
from sap.plans import FoldPlan, PointPlan, PublicPlan, as_json, parts, read_plan
from sap.stages.compare_masks.plan import MasksPlan

PLAN = FoldPlan(
    dataset="digits",
    precision="float32",
    backbone="b",
    classes="c",
    target="photo",
    seed=0,
    domains={"photo": "d/photo"},
    clients={"sketch": "t/sketch"},
    points=(PointPlan(id="p", settings={"kind": "zero_shot"}, code="0"),),
    gradients={"g": {"sketch": "g/sketch"}},
    pooled="t/pooled",
)


def written(folder, plan):
    plain = as_json(plan)
    path = folder / f"evaluate-{io.digest(io.canonical(plain))}.json"
    io.write_json(path, plain)
    return path


def test_a_plan_comes_back_as_it_was_written(tmp_path):
    assert read_plan(written(tmp_path, PLAN), FoldPlan) == PLAN


def test_numbers_that_name_something_come_back_as_numbers(tmp_path):
    """JSON knows texts only; with eleven of them their order as texts is another one."""
    gradients = {draw: {"photo": f"g/{draw}"} for draw in range(11)}
    plan = MasksPlan(seed=0, clients={"photo": "t"}, gradients=gradients, sizes=(8, 16), ratios=(0.5,))
    assert read_plan(written(tmp_path, plan), MasksPlan) == plan


def test_a_plan_is_believed_only_under_its_own_name(tmp_path):
    path = written(tmp_path, PLAN)
    io.write_json(path, as_json(PLAN) | {"seed": 1})
    with pytest.raises(SapError, match=r"evaluate-.*is damaged .*in its name\)\. Delete it and run the same"):
        read_plan(path, FoldPlan)


@pytest.mark.parametrize(
    ("change", "said"), [({"seed": "0"}, r"Expected `int`, got `str` - at `\$\.seed`"), ({"points": [{}]}, "`id`")]
)
def test_a_plan_of_another_shape_is_refused_with_the_place(tmp_path, change, said):
    path = tmp_path / "plan.json"
    io.write_json(path, as_json(PLAN) | change)
    with pytest.raises(SapError, match=f"no FoldPlan: .*{said}"):
        read_plan(path, FoldPlan)


def test_a_plan_waits_for_everything_that_it_names_once():
    assert PLAN.inputs() == [
        f"{folder}/meta.json" for folder in ("b", "c", "d/photo", "t/sketch", "t/pooled", "g/sketch")
    ]
    more = {"anchors": {"g": "a"}, "statistics": {"s": {"sketch": "m"}}, "poisoned": {"sketch": {"flip": "x"}}}
    plan = dataclasses.replace(PLAN, **more, oracle="t/oracle", public=PublicPlan(anchors="p", size=1))
    there = {f"{folder}/meta.json" for folder in ("a", "m", "x", "t/oracle", "p")}
    assert set(plan.inputs()) == set(PLAN.inputs()) | there


def test_the_parts_of_a_point_are_itself_and_whatever_it_is_served_with():
    inner = {"kind": "zero_shot"}
    settings = {"kind": "product", "beside": [{"kind": "product", "beside": [inner, inner]}]}
    assert list(parts(settings)) == [settings, settings["beside"][0], inner, inner]
    assert list(parts(inner)) == [inner]
