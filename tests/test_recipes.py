"""From options to a configuration: presets, defaults, and what choosing anew drops."""

import copy
from dataclasses import asdict
from typing import get_args

import pytest

from digitnet.config import ActivationName, LossName, MLPConfig, OptimizerName, PoolName, ScheduleName
from digitnet.recipes import OPTIMIZER_DEFAULTS, POOL_DEFAULTS, PRESETS, SCHEDULE_DEFAULTS, PresetName, build_config

EVERY_PRESET = [(kind, preset) for kind in PRESETS for preset in PRESETS[kind]]


def values(run):
    return {**asdict(run.model), **asdict(run.train)}


@pytest.mark.parametrize(("kind", "preset"), EVERY_PRESET)
def test_each_preset_builds_and_keeps_its_word(kind, preset):
    run = build_config(kind=kind, preset=preset, overrides={})
    assert run.kind == kind
    assert PRESETS[kind][preset].items() <= values(run).items()


def test_each_kind_has_each_preset_and_each_choice_its_defaults():
    assert all(set(PRESETS[kind]) == set(get_args(PresetName)) for kind in ("mlp", "cnn"))
    assert set(OPTIMIZER_DEFAULTS) == set(get_args(OptimizerName))
    assert set(SCHEDULE_DEFAULTS) == set(get_args(ScheduleName))
    assert set(POOL_DEFAULTS) == set(get_args(PoolName))


def test_nothing_chosen_is_the_standard_cnn():
    assert build_config(overrides={}) == build_config(kind="cnn", preset="standard", overrides={})
    assert build_config(kind="mlp", overrides={}) == build_config(kind="mlp", preset="standard", overrides={})


@pytest.mark.parametrize("kind", list(PRESETS))
def test_handwriting_is_the_preset_that_learns_what_mnist_lacks(kind):
    with_more = {name for name in PRESETS[kind] if {"extra_strokes", "nondigits"} & PRESETS[kind][name].keys()}
    assert with_more == {"handwriting"}
    train = build_config(kind=kind, preset="handwriting", overrides={}).train
    # Smoothing would hold back the level of the logits, which tells digits from the rest.
    assert (train.augment, train.loss, train.label_smoothing) == ("all", "cross-entropy", 0.0)
    assert 0 not in (train.extra_strokes, train.nondigits)


def test_drawings_are_chosen_beside_any_preset_and_any_set():
    drawings = {"extra_strokes": 7, "nondigits": 9}
    for preset in get_args(PresetName):
        run = build_config(preset=preset, overrides={**drawings, "dataset": "strokes"})
        assert values(run) == {**values(build_config(preset=preset, overrides={})), **drawings, "dataset": "strokes"}


def test_building_leaves_the_presets_as_they_were():
    before = copy.deepcopy(PRESETS)
    build_config(overrides={"optimizer": "sgd", "pool": "none", "channels": (3,)})
    assert before == PRESETS


CHOICES = [
    *(("optimizer", name) for name in get_args(OptimizerName)),
    *(("schedule", name) for name in get_args(ScheduleName)),
    *(("loss", name) for name in get_args(LossName)),
    *(("pool", name) for name in get_args(PoolName)),
    *(("activation", name) for name in get_args(ActivationName)),
]


@pytest.mark.parametrize(("kind", "preset"), EVERY_PRESET)
def test_each_single_choice_goes_with_each_preset(kind, preset):
    for setting, choice in CHOICES:
        if kind == "mlp" and setting == "pool":
            continue
        run = build_config(kind=kind, preset=preset, overrides={setting: choice})
        assert values(run)[setting] == choice


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_an_optimizer_brings_its_own_defaults(optimizer):
    before = file(optimizer="adagrad" if optimizer == "sgd" else "sgd", learning_rate=0.7, weight_decay=0.3)
    train = build_config(file=before, overrides={"optimizer": optimizer}).train
    none = {"momentum": None, "nesterov": None, "betas": None, "weight_decay": 0.0}
    expected = {**none, **OPTIMIZER_DEFAULTS[optimizer]}
    assert {name: getattr(train, name) for name in expected} == expected


@pytest.mark.parametrize(("schedule", "expected"), [
    ("constant", (None, None, None, None)), ("step", (None, None, 1, 0.7)), ("cosine", (0.0, None, None, None)),
    ("one-cycle", (0.25, None, None, None)), ("trapezoid", (0.02, 0.25, None, None)),
])  # fmt: skip
def test_a_schedule_brings_its_own_defaults(schedule, expected):
    train = build_config(overrides={"schedule": schedule}).train
    assert (train.warmup, train.cooldown, train.step_epochs, train.step_factor) == expected


def test_what_is_given_beside_a_new_choice_stays():
    train = build_config(
        overrides={"optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.8, "nesterov": False, "weight_decay": 0.01}
    ).train
    assert (train.learning_rate, train.momentum, train.nesterov, train.weight_decay) == (0.5, 0.8, False, 0.01)


def file(kind="cnn", **overrides):
    return build_config(kind=kind, overrides=overrides)


DROPPED = [
    ({"learning_rate": 0.5, "weight_decay": 0.3}, {"optimizer": "adam"}, {"learning_rate": 2e-3, "weight_decay": 0.0}),
    ({"optimizer": "sgd"}, {"optimizer": "adam"}, {"learning_rate": 2e-3, "momentum": None, "nesterov": None}),
    ({"optimizer": "adam", "learning_rate": 0.5}, {"optimizer": "adamw"}, {"learning_rate": 4e-3}),
    ({"schedule": "step", "step_epochs": 3}, {"schedule": "one-cycle"}, {"step_epochs": None, "warmup": 0.25}),
    ({"warmup": 0.5}, {"schedule": "cosine"}, {"warmup": 0.0}),
    ({"schedule": "trapezoid", "cooldown": 0.5}, {"schedule": "one-cycle"}, {"cooldown": None, "warmup": 0.25}),
    ({"label_smoothing": 0.1}, {"loss": "mse"}, {"label_smoothing": 0.0}),
    ({"pool_size": 3, "pool_stride": 1}, {"pool": "none"}, {"pool_size": None, "pool_stride": None}),
    ({"pool": "none", "channels": (8, 8)}, {"pool": "avg"}, {"pool_size": 2, "pool_stride": 2}),
    ({"pool_size": 3, "pool_stride": 1, "channels": (8, 8)}, {"pool_size": 2}, {"pool_stride": 2}),
    ({"optimizer": "adam", "betas": (0.5, 0.6)}, {"optimizer": "adamw"}, {"betas": None}),
    ({"optimizer": "adam", "betas": (0.5, 0.6)}, {"optimizer": "sgd"}, {"betas": None, "momentum": 0.9}),
    ({"epochs": 3}, {"steps": 50}, {"steps": 50, "epochs": None}),
    ({"steps": 50}, {"epochs": 3}, {"steps": None, "epochs": 3}),
]


@pytest.mark.parametrize(("before", "chosen", "after"), DROPPED)
def test_choosing_anew_drops_what_belonged_to_the_old_choice(before, chosen, after):
    run = build_config(file=file(**before), overrides=chosen)
    assert after.items() <= values(run).items()


@pytest.mark.parametrize("same", [{"optimizer": "adamw"}, {"loss": "cross-entropy"}, {"pool": "max"}, {"pool_size": 3}])
def test_choosing_the_same_again_drops_nothing(same):
    before = file(learning_rate=0.5, label_smoothing=0.1, pool_size=3, pool_stride=1)
    assert build_config(file=before, overrides=same) == before


def test_other_settings_drop_nothing():
    before = file(optimizer="sgd", learning_rate=0.5, momentum=0.5, schedule="step", step_epochs=3)
    assert values(build_config(file=before, overrides={"epochs": 3})) == {**values(before), "epochs": 3}


def test_without_momentum_there_is_no_nesterov():
    assert file(optimizer="sgd").train.nesterov is True
    assert file(optimizer="sgd", momentum=0.0).train.nesterov is False
    assert build_config(file=file(optimizer="sgd"), overrides={"momentum": 0.0}).train.nesterov is False
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0"):
        file(optimizer="sgd", momentum=0.0, nesterov=True)


def test_another_momentum_does_not_turn_nesterov_on_again():
    run = build_config(file=file(optimizer="sgd", nesterov=False), overrides={"momentum": 0.5})
    assert run.train.nesterov is False


@pytest.mark.parametrize("overrides", [{"nesterov": True}, {"nesterov": True, "optimizer": "adam"}])
def test_nesterov_beside_another_optimizer_is_refused_in_words(overrides):
    with pytest.raises(ValueError, match="nesterov has no meaning with optimizer"):
        build_config(overrides=overrides)


@pytest.mark.parametrize("preset", get_args(PresetName))
def test_an_mlp_without_hidden_layers_is_linear(preset):
    run = build_config(kind="mlp", preset=preset, overrides={"hidden_sizes": ()})
    assert run.model == MLPConfig(hidden_sizes=(), activation="identity", dropout=0.0, batch_norm=False)
    with pytest.raises(ValueError, match="need a hidden layer"):
        build_config(kind="mlp", preset=preset, overrides={"hidden_sizes": (), "activation": "relu"})


def test_a_cnn_without_hidden_layers_keeps_its_base():
    model = build_config(file=file(dropout=0.4, activation="gelu"), overrides={"hidden_sizes": ()}).model
    assert (model.dropout, model.activation, model.batch_norm) == (0.4, "gelu", True)


def test_hidden_layers_put_on_a_linear_file_get_an_activation():
    run = build_config(file=file(kind="mlp", hidden_sizes=()), overrides={"hidden_sizes": (64,)})
    assert run.model.activation == "relu"


def test_a_file_is_taken_as_it_is():
    for kind in ("mlp", "cnn"):
        run = file(kind=kind, seed=5, epochs=3)
        assert build_config(file=run, overrides={}) == run
        assert build_config(file=run, kind=kind, overrides={}) == run


def test_a_file_beside_a_preset_or_another_kind_is_refused():
    with pytest.raises(ValueError, match="give a preset or a configuration file, not both"):
        build_config(file=file(), preset="fast", overrides={})
    with pytest.raises(ValueError, match="describes a network of kind cnn, not mlp"):
        build_config(file=file(), kind="mlp", overrides={})


@pytest.mark.parametrize(("kind", "setting", "value"), [
    ("mlp", "channels", (3,)), ("mlp", "pool", "max"), ("mlp", "stride", 1), ("cnn", "colour", 1), ("mlp", "colour", 1),
])  # fmt: skip
def test_a_setting_of_another_kind_of_network_is_refused(kind, setting, value):
    with pytest.raises(ValueError, match=f"{setting} has no meaning for a network of kind {kind}"):
        build_config(kind=kind, overrides={setting: value})


def test_overrides_are_checked_like_a_file():
    with pytest.raises(ValueError, match="optimizer must be one of"):
        build_config(overrides={"optimizer": "newton"})
    with pytest.raises(ValueError, match="epochs must be a whole number"):
        build_config(overrides={"epochs": "3"})
    with pytest.raises(ValueError, match="nothing is left of the feature map"):
        build_config(overrides={"channels": (4,) * 6})


def test_the_stride_of_a_pool_is_its_side_unless_given():
    assert file(channels=(8, 8), pool_size=3).model.pool_stride == 3
    assert file(channels=(8, 8), pool_size=3, pool_stride=2).model.pool_stride == 2
    assert file(channels=(8, 8), pool_size=(1, 3)).model.pool_stride == (1, 3)


# How long to train, and blocks: of each there are two forms.


@pytest.mark.parametrize(("kind", "preset"), EVERY_PRESET)
def test_any_preset_can_be_cut_to_epochs_or_to_steps(kind, preset):
    for name, other in (("epochs", "steps"), ("steps", "epochs")):
        train = build_config(kind=kind, preset=preset, overrides={name: 7}).train
        assert (getattr(train, name), getattr(train, other)) == (7, None)
        assert train.total_steps(10) == {"epochs": 70, "steps": 7}[name]


def test_epochs_and_steps_at_once_are_refused():
    for preset in get_args(PresetName):
        with pytest.raises(ValueError, match="epochs and steps are both given"):
            build_config(preset=preset, overrides={"epochs": 2, "steps": 9})


@pytest.mark.parametrize("preset", get_args(PresetName))
def test_another_number_of_blocks_drops_what_fits_the_old_ones(preset):
    before = PRESETS["cnn"][preset]
    model = build_config(preset=preset, overrides={"channels": (8, 16)}).model
    assert model.channels == (8, 16)
    assert (model.kernel_size, model.stride, model.pool_size, model.pool_stride) == (3, 1, 2, 2)  # the defaults
    assert (model.padding, model.hidden_sizes) == ("same", before["hidden_sizes"])  # which fit any


@pytest.mark.parametrize("preset", get_args(PresetName))
def test_other_channels_of_as_many_blocks_drop_nothing(preset):
    run = build_config(preset=preset, overrides={})
    channels = tuple(2 * size for size in run.model.channels)
    expected = {**values(run), "channels": channels}
    assert values(build_config(preset=preset, overrides={"channels": channels})) == expected
    assert values(build_config(file=run, overrides={"channels": channels})) == expected


def test_one_number_for_all_blocks_stays_with_any_number_of_them():
    before = file(channels=(8, 8), kernel_size=5, stride=1, pool_size=(1, 2), padding="same")
    model = build_config(file=before, overrides={"channels": (4, 4, 4)}).model
    assert (model.kernel_size, model.stride, model.pool_size, model.pool_stride) == (5, 1, 2, 2)


def test_numbers_given_for_each_block_count_before_the_presets():
    overrides = {"channels": (8, 16), "kernel_size": (3, 5), "stride": (1, 2), "pool_size": (2, 1)}
    model = build_config(preset="fast", overrides=overrides).model
    assert overrides.items() <= asdict(model).items()
    assert model.pool_stride == (2, 1)
    with pytest.raises(ValueError, match="kernel_size must be one number, or one for each of the 3 blocks, not 3,5"):
        build_config(preset="fast", overrides={"kernel_size": (3, 5)})


@pytest.mark.parametrize("preset", get_args(PresetName))
def test_max_and_average_pooling_have_the_same_windows(preset):
    run = build_config(preset=preset, overrides={})
    assert values(build_config(preset=preset, overrides={"pool": "avg"})) == {**values(run), "pool": "avg"}
    assert build_config(preset=preset, overrides={"pool": "none"}).model.pool_size is None


WINDOWS = [
    {"kernel_size": 5}, {"kernel_size": (3, 3)}, {"stride": 2}, {"pool_size": 2}, {"convs_per_block": 2},
    {"channels": (8, 16)}, {"channels": (8, 16, 32, 64)}, {"pool": "none"}, {"pool": "avg"},
]  # fmt: skip


DEEP = ("best",)  # five blocks, which cannot each halve 28 pixels
TOO_MUCH = [{"stride": 2}, {"pool_size": 2}]


@pytest.mark.parametrize(
    ("preset", "change"),
    [(p, c) for p in get_args(PresetName) for c in WINDOWS if p not in DEEP or c not in TOO_MUCH],
    ids=str,
)
def test_one_change_of_a_network_leaves_something_of_the_feature_map(preset, change):
    if isinstance(change.get("kernel_size"), tuple):
        change = {"kernel_size": (3,) * len(build_config(preset=preset, overrides={}).model.channels)}
    model = build_config(preset=preset, overrides=change).model
    assert min(model.feature_map_sizes().values()) >= 1
    assert {name: getattr(model, name) for name in change} == change


@pytest.mark.parametrize("change", TOO_MUCH, ids=str)
@pytest.mark.parametrize("preset", DEEP)
def test_a_deep_network_says_what_would_leave_something(preset, change):
    with pytest.raises(ValueError, match="try padding same, less pooling, a smaller stride or fewer blocks"):
        build_config(preset=preset, overrides=change)


def test_a_preset_keeps_its_padding_where_its_windows_are_its_own():
    assert build_config(preset="standard", overrides={"dropout": 0.5}).model.padding == "valid"
    assert build_config(preset="standard", overrides={"channels": (8,) * 4}).model.padding == "valid"
    assert build_config(preset="standard", overrides={"stride": 2}).model.padding == "same"
    assert build_config(preset="standard", overrides={"kernel_size": 3, "padding": "valid"}).model.padding == "valid"
