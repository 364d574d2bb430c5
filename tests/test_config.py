"""A configuration either makes sense or is refused in words; what it says of sizes is what torch makes of them."""

import json
import math
from itertools import product

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from digitnet.config import PER_BLOCK, CNNConfig, MLPConfig, RunConfig, TrainConfig, build

POOLED = {"pool_size": 2, "pool_stride": 2}  # CNNConfig leaves these two to the recipes
GIVEN = {CNNConfig: POOLED, TrainConfig: {"epochs": 1}}  # what a configuration cannot do without

WRONG_VALUES = [
    (MLPConfig, {"hidden_sizes": (64, 0)}, "hidden_sizes must be numbers from 1 to 65536, not 64,0"),
    (MLPConfig, {"hidden_sizes": (-1,)}, "hidden_sizes must be numbers from 1 to 65536, not -1"),
    (MLPConfig, {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    (MLPConfig, {"dropout": -0.1}, "dropout must be at least 0 and below 1, not -0.1"),
    (MLPConfig, {"dropout": math.nan}, "dropout must be at least 0 and below 1, not nan"),
    (CNNConfig, {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    (CNNConfig, {"hidden_sizes": (0,)}, "hidden_sizes must be numbers from 1 to 65536, not 0"),
    (CNNConfig, {"channels": ()}, "channels must be one or more numbers from 1 to 65536, not empty"),
    (CNNConfig, {"channels": (8, 0)}, "channels must be one or more numbers from 1 to 65536, not 8,0"),
    (CNNConfig, {"convs_per_block": 0}, "convs_per_block must be 1 to 100, not 0"),
    (CNNConfig, {"kernel_size": 4}, "kernel_size must be 3, 5 or 7, not 4"),
    (CNNConfig, {"stride": 0}, "stride must be at least 1, not 0"),
    (CNNConfig, {"pool_size": 0}, "pool_size must be at least 1, not 0"),
    (CNNConfig, {"pool_size": None}, "pool_size must be at least 1, not None"),
    (CNNConfig, {"pool_stride": 0}, "pool_stride must be at least 1, not 0"),
    (CNNConfig, {"pool_stride": None}, "pool_stride must be at least 1, not None"),
    (CNNConfig, {"pool": "none"}, "pool_size must be left out with pool none, not 2"),
    (CNNConfig, {"pool": "none", "pool_size": None}, "pool_stride must be left out with pool none, not 2"),
    (CNNConfig, {"kernel_size": (3,)}, "kernel_size must be one number, or one for each of the 2 blocks, not 3"),
    (CNNConfig, {"kernel_size": (3, 4)}, "kernel_size must be 3, 5 or 7, not 3,4"),
    (CNNConfig, {"stride": (1, 1, 1)}, "stride must be one number, or one for each of the 2 blocks, not 1,1,1"),
    (CNNConfig, {"stride": (1, 0)}, "stride must be at least 1, not 1,0"),
    (CNNConfig, {"stride": ()}, "stride must be at least 1, not empty"),
    (CNNConfig, {"pool_size": (2,) * 3}, "pool_size must be one number, or one for each of the 2 blocks, not 2,2,2"),
    (CNNConfig, {"pool_size": (-1, 2)}, "pool_size must be at least 1, not -1,2"),
    (CNNConfig, {"pool_stride": (2,)}, "pool_stride must be one number, or one for each of the 2 blocks, not 2"),
    (CNNConfig, {"pool": "none", "pool_size": (1, 1)}, "pool_size must be left out with pool none, not 1,1"),
    *(
        (TrainConfig, {name: 0}, f"{name} must be at least 1, not 0")
        for name in ("train_size", "epochs", "steps", "batch_size")
    ),
    *(
        (TrainConfig, {"betas": x}, "betas must be two numbers, each at least 0 and below 1, not ")
        for x in ((), (0.9,), (0.9, 0.9, 0.9), (0.9, 1.0), (-0.1, 0.9), (math.nan, 0.9))
    ),
    *(
        (TrainConfig, {"weight_average": x}, f"weight_average must be at least 0 and below 1, not {x}")
        for x in (1.0, -0.1, math.nan)
    ),
    (TrainConfig, {"schedule": "step", "step_epochs": 0}, "step_epochs must be at least 1, not 0"),
    (TrainConfig, {"patience": 0}, "patience must be at least 1, not 0"),
    *(
        (TrainConfig, {"learning_rate": x}, f"learning_rate must be a finite number above 0, not {x}")
        for x in (0.0, math.inf, math.nan)
    ),
    (TrainConfig, {"time_budget_s": 0.0}, "time_budget_s must be a finite number above 0, not 0.0"),
    (TrainConfig, {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, not 1.0"),
    (TrainConfig, {"momentum": 1.0, "optimizer": "sgd"}, "momentum must be at least 0 and below 1, not 1.0"),
    (TrainConfig, {"warmup": 1.0}, "warmup must be at least 0 and below 1, not 1.0"),
    (TrainConfig, {"step_factor": 1.0, "schedule": "step"}, "step_factor must be between 0 and 1, not 1.0"),
    (TrainConfig, {"step_factor": 0.0, "schedule": "step"}, "step_factor must be between 0 and 1, not 0.0"),
    *((TrainConfig, {"weight_decay": x}, f"weight_decay must be at least 0, not {x}") for x in (-1e-9, math.inf)),
    *(
        (TrainConfig, {"until_accuracy": x}, f"until_accuracy must be above 0 and at most 1, not {x}")
        for x in (0.0, 1.1)
    ),
    *((TrainConfig, {"seed": x}, f"seed must be a whole number from 0, not {x}") for x in (-1, 2**63)),
]

CONTRADICTIONS = [
    (MLPConfig, {"hidden_sizes": ()}, "need a hidden layer, and hidden_sizes has none"),
    (MLPConfig, {"hidden_sizes": (), "activation": "identity", "dropout": 0.1}, "need a hidden layer"),
    (MLPConfig, {"hidden_sizes": (), "activation": "identity", "batch_norm": True}, "need a hidden layer"),
    (TrainConfig, {"label_smoothing": 0.1, "loss": "mse"}, "with loss mse, only with cross-entropy and bce"),
    (TrainConfig, {"label_smoothing": 0.1, "loss": "mae"}, "with loss mae, only with cross-entropy and bce"),
    (TrainConfig, {"momentum": 0.9, "optimizer": "adam"}, "momentum has no meaning with optimizer adam, only with sgd"),
    (TrainConfig, {"momentum": 0.0, "optimizer": "adamw"}, "momentum has no meaning with optimizer adamw"),
    (TrainConfig, {"betas": (0.9, 0.9), "optimizer": "sgd"}, "betas has no meaning with optimizer sgd, only with adam"),
    (TrainConfig, {"betas": (0.9, 0.9), "optimizer": "rmsprop"}, "betas has no meaning with optimizer rmsprop"),
    (TrainConfig, {"epochs": None}, "how long to train is not said: give epochs or steps"),
    (TrainConfig, {"epochs": 1, "steps": 1}, "epochs and steps are both given; leave one of them out"),
    (TrainConfig, {"nesterov": False, "optimizer": "rmsprop"}, "nesterov has no meaning with optimizer rmsprop"),
    (TrainConfig, {"nesterov": True, "optimizer": "sgd"}, "nesterov needs a momentum above 0"),
    (TrainConfig, {"nesterov": True, "optimizer": "sgd", "momentum": 0.0}, "nesterov needs a momentum above 0"),
    (TrainConfig, {"warmup": 0.1, "schedule": "constant"}, "warmup has no meaning with schedule constant"),
    (TrainConfig, {"warmup": 0.1, "schedule": "step"}, "warmup has no meaning with schedule step"),
    (TrainConfig, {"cooldown": 0.1, "schedule": "cosine"}, "cooldown has no meaning with schedule cosine"),
    (TrainConfig, {"cooldown": 1.0, "schedule": "trapezoid"}, "cooldown must be at least 0 and below 1, not 1.0"),
    (
        TrainConfig,
        {"warmup": 0.6, "cooldown": 0.5, "schedule": "trapezoid"},
        "warmup and cooldown are 0.6 and 0.5, together more than all steps",
    ),
    (TrainConfig, {"step_epochs": 1, "schedule": "cosine"}, "step_epochs has no meaning with schedule cosine"),
    (TrainConfig, {"step_factor": 0.5, "schedule": "one-cycle"}, "step_factor has no meaning with schedule one-cycle"),
]

WRONG_TYPES = [
    ({"epochs": 2.0}, "epochs must be a whole number, not 2.0"),
    ({"epochs": True}, "epochs must be a whole number, not True"),
    ({"epochs": "2"}, 'epochs must be a whole number, not the text "2"'),
    ({"weight_decay": "0"}, 'weight_decay must be a number, not the text "0"'),
    ({"weight_decay": False}, "weight_decay must be a number, not False"),
    ({"nesterov": 1}, "nesterov must be true or false, not 1"),
    ({"dataset": 5}, "dataset must be text, not 5"),
    ({"loss": "hinge"}, "loss must be one of cross-entropy, bce, mse, mae, not hinge"),
    ({"loss": ["mse"]}, "loss must be one of cross-entropy, bce, mse, mae, not ['mse']"),
    ({"nondigits": 1e4}, "nondigits must be a whole number, not 10000.0"),
    ({"extra_strokes": True}, "extra_strokes must be a whole number, not True"),
    ({"batch_size": None}, "batch_size must be a whole number, not None"),
    ({"steps": 2.5}, "steps must be a whole number, not 2.5"),
    ({"betas": 0.9}, "betas must be a list of numbers, not 0.9"),
    ({"betas": [0.9, "0.99"]}, 'betas must be a number, not the text "0.99"'),
    ({"betas": "0.9,0.99"}, "betas must be a list of numbers, not 0.9,0.99"),
    ({"weight_average": True}, "weight_average must be a number, not True"),
    ({"colour": 1}, "colour is not a setting of Train"),
]


@pytest.mark.parametrize(("config_class", "values", "message"), WRONG_VALUES + CONTRADICTIONS)
def test_a_configuration_without_sense_is_refused(config_class, values, message):
    base = GIVEN.get(config_class, {})
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below, unescaped)
        config_class(**{**base, **values})
    assert message in str(caught.value)


@pytest.mark.parametrize(("values", "message"), WRONG_TYPES)
def test_a_value_of_another_type_is_refused(values, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        build(TrainConfig, values)
    assert str(caught.value) == message


@pytest.mark.parametrize("hidden_sizes", ["64", 64, {"64": 1}, None, [64.0], [True], [[64]]])
def test_hidden_sizes_are_a_list_of_whole_numbers(hidden_sizes):
    with pytest.raises(ValueError, match="hidden_sizes must be a"):
        build(MLPConfig, {"hidden_sizes": hidden_sizes})


def test_bounds_themselves_are_allowed():
    TrainConfig(until_accuracy=1.0, label_smoothing=0.0, warmup=0.0, seed=2**63 - 1, epochs=1, batch_size=1, patience=1)
    TrainConfig(epochs=1, optimizer="sgd", momentum=0.9, nesterov=True)
    TrainConfig(epochs=1, optimizer="rmsprop", momentum=0.0)
    TrainConfig(steps=1, betas=(0.0, 0.0), weight_average=0.0)
    MLPConfig(hidden_sizes=(), activation="identity")
    CNNConfig(pool="none")


def test_a_whole_number_stands_for_a_fraction_and_a_list_for_a_tuple():
    weight_decay = build(TrainConfig, {"epochs": 1, "weight_decay": 1}).weight_decay
    assert (weight_decay, type(weight_decay)) == (1.0, float)
    assert build(MLPConfig, {"hidden_sizes": [3, 4]}).hidden_sizes == (3, 4)
    betas = build(TrainConfig, {"steps": 1, "betas": [0, 0.5]}).betas
    assert (betas, [type(beta) for beta in betas]) == ((0.0, 0.5), [float, float])


@pytest.mark.parametrize("name", PER_BLOCK)
def test_a_number_for_each_block_is_one_number_or_a_list(name):
    one, two = (3, 5) if name == "kernel_size" else (1, 2)
    for found, kept in ((one, one), ([one, two], (one, two)), ((two, one), (two, one))):
        assert getattr(build(CNNConfig, {**POOLED, name: found}), name) == kept
    for wrong in ("3", 3.0, True, {"3": 3}, ["3", "3"], [3.0, 3.0], [True, True], [[3], [3]], [3, None]):
        with pytest.raises(ValueError, match=f"{name} must be a whole number"):
            build(CNNConfig, {**POOLED, name: wrong})


def test_settings_are_told_for_each_block():
    config = CNNConfig(channels=(1, 1, 1), kernel_size=5, stride=(2, 1, 1), pool_size=(1, 2, 1), pool_stride=1)
    found = {name: config.per_block(name) for name in PER_BLOCK}
    assert found == {
        "kernel_size": (5, 5, 5), "stride": (2, 1, 1), "pool_size": (1, 2, 1), "pool_stride": (1, 1, 1),
    }  # fmt: skip
    unpooled = CNNConfig(channels=(1, 1), pool="none")
    assert unpooled.per_block("pool_size") == unpooled.per_block("pool_stride") == (1, 1)


def test_the_steps_of_a_run_are_given_or_counted():
    assert TrainConfig(steps=7).total_steps(3) == 7
    assert TrainConfig(epochs=7).total_steps(3) == 21


@pytest.mark.parametrize("batch_size", [1, 2])
def test_batch_norm_needs_batches_with_a_spread(batch_size):
    with pytest.raises(ValueError, match=f"batch_norm needs a batch_size of at least 3, not {batch_size}"):
        RunConfig(model=CNNConfig(**POOLED), train=TrainConfig(epochs=1, batch_size=batch_size))
    RunConfig(model=CNNConfig(**POOLED, batch_norm=False), train=TrainConfig(epochs=1, batch_size=batch_size))


def test_batch_norm_needs_more_than_one_image():
    with pytest.raises(ValueError, match="train_size"):
        RunConfig(model=MLPConfig(batch_norm=True), train=TrainConfig(epochs=1, train_size=1))


# Feature maps: torch's own layers are the oracle, on the meta device, which computes shapes alone.


def of_block(value, block):
    return value[block - 1] if isinstance(value, tuple) else value


def torch_sizes(config):
    """Return the sides torch makes, and the first layer it refuses with the side that the layer gets, or None."""
    x, sizes = torch.zeros(1, 1, 28, 28, device="meta"), {}
    pool = {"max": F.max_pool2d, "avg": F.avg_pool2d}.get(config.pool)
    for block in range(1, len(config.channels) + 1):
        side, stride, window, step = (of_block(getattr(config, name), block) for name in PER_BLOCK)
        kernel = torch.zeros(1, 1, side, side, device="meta")
        margin = {"same": (side - 1) // 2, "valid": 0}[config.padding]
        layers = [
            (f"block{block}.conv{n}", F.conv2d, (kernel, None, stride if n == 1 else 1, margin))
            for n in range(1, config.convs_per_block + 1)
        ]
        if pool and (window, step) != (1, 1):  # which would take each pixel as it is
            layers.append((f"block{block}.pool", pool, (window, step)))
        for name, layer, arguments in layers:
            try:
                made = layer(x, *arguments)
            except RuntimeError:
                return sizes, (name, x.shape[-1])
            if made.shape[-1] == 0:  # PyTorch 2.6 makes an empty map where later ones refuse
                return sizes, (name, x.shape[-1])
            x = made
            sizes[name] = x.shape[-1]
    return sizes, None


class Unchecked(CNNConfig):
    """A configuration that says nothing about itself, so that torch can."""

    def __post_init__(self):
        pass


POOLS = [("none", None, None), *product(("max", "avg"), (1, 2, 3, 5), (1, 2, 3))]


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_feature_map_sizes_are_those_of_torch(kernel_size):
    outcomes = set()
    for stride, padding, convs, pool in product((1, 2, 3), ("same", "valid"), (1, 2), POOLS):
        settings = {
            "channels": (1, 1, 1), "kernel_size": kernel_size, "stride": stride, "padding": padding,
            "convs_per_block": convs, "pool": pool[0], "pool_size": pool[1], "pool_stride": pool[2],
        }  # fmt: skip
        outcomes.add(agrees_with_torch(settings))
    assert outcomes == {True, False}  # the grid reaches both sides


def test_feature_map_sizes_of_blocks_that_differ_are_those_of_torch():
    sides = ((5, 3, 3), (3, 7, 3), 5)
    strides = ((2, 1, 1), (1, 1, 3))
    windows = ((1, 2, 1), (2, 1, 3), (5, 1, 1), (2, 2, 7))
    steps = ((1, 2, 1), (1, 1, 2), 1)
    outcomes = []
    for kernel_size, stride, pool_size, pool_stride, padding in product(
        sides, strides, windows, steps, ("same", "valid")
    ):
        settings = {
            "channels": (1, 1, 1), "kernel_size": kernel_size, "stride": stride, "padding": padding,
            "convs_per_block": 1 + (padding == "same"), "pool_size": pool_size, "pool_stride": pool_stride,
        }  # fmt: skip
        outcomes.append(agrees_with_torch(settings))
    assert min(outcomes.count(True), outcomes.count(False)) > 10


def agrees_with_torch(settings):
    """Compare a configuration with torch, which makes these sizes or refuses this layer; say whether it made them."""
    expected, refused = torch_sizes(Unchecked(**settings))
    if refused is None:
        assert CNNConfig(**settings).feature_map_sizes() == expected, settings
        return True
    name, size = refused
    window = of_block(settings["kernel_size" if "conv" in name else "pool_size"], int(name[5]))
    with pytest.raises(ValueError, match="nothing is left") as caught:
        CNNConfig(**settings)
    assert f"{name} has a {window}x{window} window and gets {size}x{size} pixels" in str(caught.value), settings
    return False


# Files: nothing in them is trusted.

SHARES = st.floats(0, 1, exclude_max=True)
TRAIN = {
    "dataset": st.text(),
    "train_size": st.none() | st.integers(2, 10**6),
    "extra_strokes": st.integers(0, 10**6),
    "nondigits": st.integers(0, 10**6),
    "batch_size": st.integers(3, 10**6),
    "learning_rate": st.floats(1e-9, 1e9),
    "betas": st.none() | st.tuples(SHARES, SHARES),
    "weight_average": st.none() | SHARES,
    "until_accuracy": st.none() | st.floats(1e-3, 1),
    "seed": st.integers(0, 2**63 - 1),
}
RUNS = st.builds(
    RunConfig,
    model=st.sampled_from(
        [
            MLPConfig(),
            MLPConfig(hidden_sizes=(), activation="identity"),
            CNNConfig(**POOLED),
            CNNConfig(pool="none", channels=(4,), hidden_sizes=(8, 9), dropout=0.5, batch_norm=False),
            CNNConfig(channels=(4, 5), kernel_size=(5, 3), stride=(1, 2), pool_size=(1, 2), pool_stride=(1, 3)),
        ]
    ),
    train=st.builds(TrainConfig, epochs=st.integers(1, 10**6), **TRAIN)
    | st.builds(TrainConfig, steps=st.integers(1, 10**6), **TRAIN),
)


@given(RUNS)
@settings(deadline=None, max_examples=50)
def test_a_configuration_survives_the_way_through_a_file(run):
    tables = run.to_dict()
    assert all(value is not None for table in tables.values() for value in table.values())
    assert RunConfig.from_dict(json.loads(json.dumps(tables))) == run


VALID = [run.to_dict() for run in (
    RunConfig(model=MLPConfig(), train=TrainConfig(epochs=1, optimizer="sgd", momentum=0.9, nesterov=True)),
    RunConfig(model=CNNConfig(**POOLED), train=TrainConfig(epochs=1, schedule="step", step_epochs=1, step_factor=0.5)),
)]  # fmt: skip
NAMES = sorted(
    {
        *(name for run in VALID for table in run.values() for name in table),
        "patience",
        "steps",
        "betas",
        "weight_average",
        "",
        "x",
    }
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 1000, 10**400, -(10**400)]) | st.floats()
CHOICES = st.sampled_from(["mlp", "cnn", "none", "relu", "step", "sgd", "same", "auto"])
ATOMS = st.none() | st.booleans() | NUMBERS | CHOICES | st.text(max_size=3)
JUNK = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2))


@given(JUNK | st.fixed_dictionaries({"model": JUNK, "train": JUNK}))
@settings(deadline=None, max_examples=150)
def test_junk_for_a_file_raises_only_value_errors(junk):
    with pytest.raises(ValueError, match=r"."):
        RunConfig.from_dict(junk)


@given(st.sampled_from(VALID), st.sampled_from(["model", "train"]), st.sampled_from(NAMES), JUNK)
@settings(deadline=None, max_examples=200)
def test_junk_in_a_file_raises_only_value_errors(valid, table, name, junk):
    assume(not (name == "convs_per_block" and isinstance(junk, int) and junk > 1000))  # the last test
    tables = {**valid, table: {**valid[table], name: junk}}
    try:
        run = RunConfig.from_dict(tables)
    except ValueError as error:
        assert str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert RunConfig.from_dict(run.to_dict()) == run


@pytest.mark.parametrize(
    "name", ["learning_rate", "weight_decay", "label_smoothing", "time_budget_s", "until_accuracy"]
)
def test_a_whole_number_too_large_for_a_fraction_is_refused(name):
    for huge in (10**400, -(10**400)):
        with pytest.raises(ValueError, match=name):
            build(TrainConfig, {name: huge})


@pytest.mark.parametrize("tables", [{}, {"model": {"kind": "mlp"}}, {"model": {"kind": "mlp"}, "train": 3}])
def test_a_missing_table_is_named(tables):
    with pytest.raises(ValueError, match=r"the table \[(model|train)\] is missing"):
        RunConfig.from_dict(tables)


def test_an_unknown_table_kind_or_setting_is_named():
    whole = {"model": {"kind": "mlp"}, "train": {"epochs": 3}}
    assert RunConfig.from_dict(whole) == RunConfig(model=MLPConfig(), train=TrainConfig(epochs=3))
    for wrong, message in [
        ({**whole, "extra": {}}, r"unknown table \[extra\]"),
        ({**whole, "model": {}}, "kind must be one of mlp, cnn, not None"),
        ({**whole, "model": {"kind": "rnn"}}, "kind must be one of mlp, cnn, not rnn"),
        ({**whole, "model": {"kind": "mlp", "channels": [3]}}, "channels is not a setting of MLP"),
        ({**whole, "train": {"channels": [3]}}, "channels is not a setting of Train"),
    ]:
        with pytest.raises(ValueError, match=message):
            RunConfig.from_dict(wrong)


@pytest.mark.parametrize("sizes", [{"channels": (10**12,)}, {"hidden_sizes": (10**12,)}, {"convs_per_block": 10**6}])
def test_a_network_that_no_machine_holds_is_refused_at_once(sizes):
    with pytest.raises(ValueError, match=next(iter(sizes))):
        CNNConfig(**POOLED, **sizes)
