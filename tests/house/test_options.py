"""Every key of the config has a test that sees it act. A new key has none: it is named here, with its test."""

import ast
from functools import cache
from pathlib import Path

import pytest

from sap.plan.schema import schema

ROOT = Path(__file__).parents[2]

TRAIN = "tests/train/test_against_plain_torch.py::test_every_option_does_to_the_factors_what_it_does_by_hand"
SCRATCH = "tests/clip/test_scratch.py::test_every_option_of_the_pretraining_does_what_it_does_by_hand"
PLAN = "tests/plan/test_options.py::test_a_key_decides_what_the_plan_says"
DOMAIN = "tests/data/test_prepare_domain.py"
SPLIT = "tests/data/test_split_and_partition.py"
DIGITS = "tests/data/test_digits.py"
CLIENT = "tests/train/test_client.py"
IMAGES = "tests/data/test_images.py"
HOLD = "tests/train/test_examples.py"
LORA = "tests/clip/test_lora.py"
RECIPES = "tests/plan/test_recipes.py"
SERVED = "tests/evaluate/test_runner.py"
CHECKPOINT = "tests/clip/test_checkpoint.py"
ANCHORS = "tests/data/test_draw_anchors.py"
PRUNER = "tests/prune/test_pruner.py"
COMPOSE = "tests/compose/test_compose.py"
SALIENCY = "tests/saliency/test_gradients.py"
ATTACKS = "tests/plan/test_attacks.py"
BACKBONE = "tests/clip/test_prepare_backbone.py"
ATTACKED = "tests/evaluate/test_attacked.py"
MEMORY = "tests/plan/test_options.py::test_speed_and_memory_of_an_evaluation_reach_its_command"

EFFECTS = {
    "experiment": PLAN,
    "beds": PLAN,
    "seeds": PLAN,
    "data.name": PLAN,
    "data.source": f"{DOMAIN}::test_a_store_holds_every_image_in_the_order_of_its_index",
    "data.root": f"{DOMAIN}::test_a_store_holds_every_image_in_the_order_of_its_index",
    "data.domains": PLAN,
    "data.class_names": PLAN,
    "data.split.val": f"{SPLIT}::test_every_split_with_a_share_gets_an_image_where_the_class_has_enough",
    "data.split.test": f"{SPLIT}::test_every_split_with_a_share_gets_an_image_where_the_class_has_enough",
    "data.split.seed": f"{SPLIT}::test_a_split_depends_on_domain_and_seed_only",
    "data.problems.bad_image": f"{DOMAIN}::test_refuse_stops_with_path_reason_and_next_step_and_writes_nothing",
    "data.problems.missing_class": f"{DOMAIN}::test_a_missing_class_is_refused_or_allowed",
    "data.problems.thin_class": f"{DOMAIN}::test_a_thin_class_is_refused_or_trained_on",
    "data.exif": f"{IMAGES}::test_exif_rotation_is_applied_as_pillow_does_where_that_is_asked_for",
    "data.digits.size": f"{DIGITS}::test_any_allowed_size_can_be_drawn",
    "data.digits.per_class": f"{DIGITS}::test_a_domain_holds_per_class_images_of_each_class",
    "data.digits.corpus": f"{DIGITS}::test_corpus_captions_name_their_digit",
    "data.digits.anchors": f"{ANCHORS}::test_too_few_pairs_say_how_many_there_are",
    "data.digits.seed": f"{DIGITS}::test_everything_is_repeatable_and_follows_the_seed",
    "partition.clients_per_domain": f"{SPLIT}::test_iid_without_balance_gives_equal_sizes_and_all_classes",
    "partition.scheme": f"{SPLIT}::test_small_alpha_is_more_skewed_and_balance_makes_sizes_unequal",
    "partition.alpha": f"{SPLIT}::test_small_alpha_is_more_skewed_and_balance_makes_sizes_unequal",
    "partition.balance": f"{SPLIT}::test_small_alpha_is_more_skewed_and_balance_makes_sizes_unequal",
    "partition.min_size": f"{SPLIT}::test_a_minimum_that_cannot_be_had_says_what_to_change",
    "partition.seed": f"{SPLIT}::test_a_partition_follows_domain_and_seed",
    "corruption.kind": f"{HOLD}::test_corruption_changes_training_labels_only_and_depends_on_the_name",
    "corruption.fraction": f"{HOLD}::test_a_backdoor_stamps_exactly_the_images_that_get_the_target",
    "corruption.clients": PLAN,
    "corruption.target_class": f"{HOLD}::test_the_target_class_is_given_by_name",
    "corruption.seed": f"{HOLD}::test_the_seed_of_the_corruption_decides_whose_labels_change",
    "corruption.patch_size": f"{HOLD}::test_the_patch_of_a_backdoor_is_as_large_as_the_config_says",
    "backbone.kind": f"{BACKBONE}::test_a_checkpoint_and_a_download_are_what_was_named_and_nothing_is_pretrained",
    "backbone.model": f"{CHECKPOINT}::test_a_tag_downloads_converts_and_keeps_the_tags_preprocessing",
    "backbone.pretrained": f"{CHECKPOINT}::test_a_tag_downloads_converts_and_keeps_the_tags_preprocessing",
    "backbone.checkpoint": f"{CHECKPOINT}::test_a_folder_a_weights_file_and_a_torch_file_give_the_same_model",
    "backbone.model_config": f"{CHECKPOINT}::test_a_folder_a_weights_file_and_a_torch_file_give_the_same_model",
    "backbone.prompts": PLAN,
    "backbone.interpolation": PLAN,
    "backbone.resize_mode": PLAN,
    "backbone.scratch.width": SCRATCH,
    "backbone.scratch.layers": SCRATCH,
    "backbone.scratch.text_layers": SCRATCH,
    "backbone.scratch.head_width": "tests/clip/test_scratch.py::test_the_shape_of_a_scratch_model_is_the_configs",
    "backbone.scratch.patch_size": SCRATCH,
    "backbone.scratch.embed_dim": SCRATCH,
    "backbone.scratch.steps": SCRATCH,
    "backbone.scratch.batch_size": SCRATCH,
    "backbone.scratch.learning_rate": SCRATCH,
    "backbone.scratch.warmup": SCRATCH,
    "backbone.scratch.weight_decay": SCRATCH,
    "backbone.scratch.caption_noise": "tests/clip/test_scratch.py::test_noise_in_the_captions_changes_what_is_learnt",
    "backbone.scratch.seed": SCRATCH,
    "train.epochs": TRAIN,
    "train.batch_size": TRAIN,
    "train.learning_rate": TRAIN,
    "train.weight_decay": TRAIN,
    "train.schedule": TRAIN,
    "train.warmup": TRAIN,
    "train.label_smoothing": TRAIN,
    "train.gradient_clip": TRAIN,
    "train.augment": TRAIN,
    "train.precision": "tests/train/test_against_plain_torch.py::test_bf16_is_close_to_float32_and_not_the_same",
    "train.early_stop": f"{CLIENT}::test_early_stopping_keeps_the_best_epoch_and_stops",
    "train.average": TRAIN,
    "train.average_start": TRAIN,
    "train.margin": TRAIN,
    "train.random_scale": TRAIN,
    "train.orthogonal": TRAIN,
    "train.pego": TRAIN,
    "train.distill.kind": TRAIN,
    "train.distill.weight": TRAIN,
    "train.distill.temperature": TRAIN,
    "train.distill.texts": TRAIN,
    "train.lora.rank": TRAIN,
    "train.lora.alpha": TRAIN,
    "train.lora.dropout": "tests/train/test_against_plain_torch.py::test_dropout_changes_the_factors_of_a_training",
    "train.lora.targets": TRAIN,
    "train.lora.factors": f"{CLIENT}::test_a_frozen_factor_keeps_its_start",
    "train.lora.start": f"{LORA}::test_shared_start_is_equal_for_all_clients_and_independent_is_not",
    "train.lora.first_block": TRAIN,
    "train.lora.towers": f"{CLIENT}::test_both_towers_train_and_the_frozen_text_features_are_not_read",
    "recipes": f"{RECIPES}::test_the_clients_of_a_recipe_train_as_it_says_and_nobody_else_does",
    "anchors.source": f"{ANCHORS}::test_each_image_keeps_its_own_caption",
    "anchors.root": f"{ANCHORS}::test_each_image_keeps_its_own_caption",
    "anchors.captions": f"{ANCHORS}::test_each_image_keeps_its_own_caption",
    "anchors.classes": f"{ANCHORS}::test_labelled_images_of_a_folder_are_captioned_by_their_class",
    "anchors.sizes": PLAN,
    "statistics.images": "tests/measure/test_script.py::test_the_images_are_drawn_by_client_name_and_a_second_run_gives"
    "_the_same_bits",
    "evaluate.targets": PLAN,
    "evaluate.references": PLAN,
    "evaluate.candidates": PLAN,
    "evaluate.precision": PLAN,
    "evaluate.batch_size": MEMORY,
    "evaluate.cache_activations": MEMORY,
    "evaluate.shards": PLAN,
    "evidence.headroom": PLAN,
    "evidence.towers": PLAN,
    "evidence.masks": PLAN,
    "evidence.mask_ratios": PLAN,
    "evidence.images": PLAN,
    "evidence.margin": PLAN,
    "versions.invalidate": "tests/plan/test_why.py::test_a_package_version_counts_where_the_config_says_so",
    "points.N.views": "tests/plan/test_study.py::test_equal_settings_make_one_point_with_all_views",
    "points.N.judged_on": f"{ATTACKS}::test_what_a_point_is_judged_on_is_what_its_block_says",
    "points.N.serve": f"{SERVED}::test_a_product_of_two_points_is_the_softmax_of_the_mean_of_their_logits",
    "points.N.beside": f"{SERVED}::test_a_product_of_two_points_is_the_softmax_of_the_mean_of_their_logits",
    "points.N.stages": f"{ATTACKS}::test_points_of_probe_and_privacy_alone_are_not_judged",
    "points.N.label": "tests/plan/test_study.py::test_a_label_is_in_the_report_but_in_no_shard",
    "points.N.seeds": f"{ATTACKS}::test_seeds_of_equal_points_add_up_and_all_seeds_win",
    "points.N.attack": "tests/attack/test_updates.py::test_hand_worked_cases",
    "points.N.attackers": f"{ATTACKS}::test_attackers_train_wrongly_at_the_seeds_of_their_points_and_nobody_else_does",
    "points.N.attacker_weight": f"{ATTACKED}::test_the_weight_of_the_attacker_is_what_the_point_says",
    "points.N.recipe": "tests/evaluate/test_recipes.py::test_a_point_merges_the_clients_of_its_recipe",
    "points.N.merge": "tests/merge/test_methods.py::test_two_names_mean_two_things",
    "points.N.criterion": f"{PRUNER}::test_components_go_as_rank_one_matrices_and_signed_ones_by_their_loss_change",
    "points.N.prune_ratio": f"{PRUNER}::test_exactly_the_promised_number_of_units_goes",
    "points.N.space": f"{PRUNER}::test_a_row_of_factors_is_a_row_of_b",
    "points.N.scope": f"{PRUNER}::test_exactly_the_promised_number_of_units_goes",
    "points.N.rescale": "tests/prune/test_rescale.py::test_frobenius_and_l1_give_the_layer_its_norm_back",
    "points.N.control": f"{COMPOSE}::test_the_shrunk_control_has_the_pruned_norms_and_the_restored_one_the_unpruned",
    "points.N.unit": f"{PRUNER}::test_exactly_the_promised_number_of_units_goes",
    "points.N.prune_top": f"{PRUNER}::test_exactly_the_promised_number_of_units_goes",
    "points.N.count": f"{PRUNER}::test_exactly_the_promised_number_of_units_goes",
    "points.N.anchor_size": f"{SALIENCY}::test_nested_sizes_in_one_pass_equal_each_size_alone",
    "points.N.alignment": f"{SALIENCY}::test_the_gradient_equals_a_finite_difference_in_every_kind_of_layer",
    "points.N.reduction": f"{SALIENCY}::test_the_gradients_of_single_anchors_average_to_the_gradient",
    "points.N.anchor_draw": f"{ANCHORS}::test_sets_are_nested_repeatable_and_follow_the_draw",
    "points.N.anchor_pool": "tests/plan/test_anchor_pools.py::test_each_pool_has_its_own_anchors_and_gradients",
    "points.N.statistics": f"{PRUNER}::test_statistics_of_two_sources_do_not_share_a_mask",
    "points.N.finish": f"{COMPOSE}::test_a_finish_comes_after_merge_and_control_and_before_rank_and_scale",
    "points.N.rank": f"{COMPOSE}::test_a_rank_cuts_the_merge_back_to_the_best_approximation",
    "points.N.scale": f"{COMPOSE}::test_scale_multiplies_at_the_end_and_zero_gives_zero",
}


def keys_of(section: dict, prefix: str = "") -> list[str]:
    """Every dotted key of the schema; those of a block of points are points.N.key."""
    found = []
    for name, field in section["properties"].items():
        if name == "points":
            found += keys_of(schema()["$defs"]["block"], "points.N.")
        else:
            found += keys_of(field, f"{prefix}{name}.") if "properties" in field else [f"{prefix}{name}"]
    return found


@cache
def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_key_of_the_config_names_the_test_that_sees_it_act():
    assert list(EFFECTS) == keys_of(schema())


@pytest.mark.parametrize("key", EFFECTS)
def test_the_test_that_sees_a_key_act_exists(key):
    path, name = EFFECTS[key].split("::")
    assert name in functions_in(path)
