"""Every layer's numbers against NumPy, worked out from weights alone; representations against a plain forward pass."""

import math

import numpy as np
import pytest
import torch
from explained import CONFIGS, digits, network
from numpy.lib.stride_tricks import sliding_window_view

from digitnet.explain import trace as tracing
from digitnet.explain.trace import last_hidden, represent, trace


def by_numpy(module, x):  # noqa: PLR0911
    """Compute a layer of one image from its weights."""
    state = {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}
    match type(module).__name__:
        case "Conv2d":
            return convolve(x, state["weight"], state.get("bias", 0), module.stride[0], module.padding[0])
        case "MaxPool2d":
            return windows(x, module.kernel_size, module.stride).max((-1, -2))
        case "AvgPool2d":
            return windows(x, module.kernel_size, module.stride).mean((-1, -2))
        case "BatchNorm2d" | "BatchNorm1d":
            shape = (-1, *[1] * (x.ndim - 1))
            names = ("running_mean", "running_var", "weight", "bias")
            mean, variance, weight, bias = (state[name].reshape(shape) for name in names)
            return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias
        case "Linear":
            return state["weight"] @ x + state.get("bias", 0)
        case "Flatten":
            return x.reshape(-1)
        case "FlattenPixels":
            return np.moveaxis(x, 0, -1).reshape(-1)
        case "ReLU":
            return np.maximum(x, 0)
        case "GELU":
            return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        case "Tanh":
            return np.tanh(x)
        case "Sigmoid":
            return 1 / (1 + np.exp(-x))
        case "Dropout" | "Identity":
            return x


def windows(x, side, stride):
    return sliding_window_view(x, (side, side), (1, 2))[:, ::stride, ::stride]


def convolve(x, weights, bias, stride, padding):
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    made = np.einsum("chwij,kcij->khw", windows(padded, weights.shape[2], stride), weights)
    return made + np.reshape(bias, (-1, 1, 1))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layer_is_numpys(name):
    model, (images, _) = network(name), digits(1)
    stages = trace(model, images[0])
    x = (images[0].double().numpy() / 255 - 0.13) / 0.3
    for stage in stages:
        assert np.allclose(stage.inputs, x, atol=1e-4), stage.layer.name
        x = by_numpy(model.get_submodule(stage.layer.name), x)
        assert np.allclose(stage.output, x, atol=1e-4), stage.layer.name
        assert tuple(stage.output.shape) == stage.layer.output_shape
    with torch.no_grad():
        assert np.allclose(model(images / 255)[0], x, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_representations_are_those_of_a_forward_pass(name, monkeypatch):
    monkeypatch.setattr(tracing, "BATCH_SIZE", 3)  # so that there are several
    model, (images, _) = network(name), digits(7)
    made = represent(model, images)
    assert made[0].name == "pixels"
    assert made[-1].name == "head.output"
    assert torch.equal(made[0].features, images.flatten(1) / 255)
    with torch.no_grad():
        torch.testing.assert_close(made[-1].features, model(images / 255))
    by_name = {stage.layer.name: stage for stage in trace(model, images[4])}
    for one in made[1:]:
        last = max((n for n in by_name if n == one.name or n.startswith(f"{one.name}.")), key=list(by_name).index)
        assert one.shape == by_name[last].layer.output_shape
        assert one.pooled is None
        torch.testing.assert_close(one.features[4], by_name[last].output.flatten())
    assert last_hidden(model) == made[-2].name


def test_maps_of_many_numbers_are_averaged_and_it_is_said(monkeypatch):
    model, (images, _) = network("plain"), digits(2)
    whole = represent(model, images)[1]
    monkeypatch.setattr(tracing, "MAX_FEATURES", 4 * 7 * 7)
    reduced = represent(model, images)[1]
    assert (whole.shape, whole.pooled) == ((4, 14, 14), None)
    assert (reduced.shape, reduced.pooled) == ((4, 14, 14), (4, 7, 7))
    means = whole.features.view(2, 4, 7, 2, 7, 2).mean((3, 5)).flatten(1)
    torch.testing.assert_close(reduced.features, means)


def test_however_deep_a_network_so_much_is_kept_of_an_image_and_no_more(monkeypatch):
    model, (images, _) = network("five blocks"), digits(2)
    monkeypatch.setattr(tracing, "MOST_FEATURES", 6 * 20)  # five blocks and the output
    made = represent(model, images)[1:]
    assert all(one.features.shape[1] <= 20 for one in made)
    assert [one.pooled for one in made] == [(2, 3, 3), (3, 2, 2), (4, 2, 2), (5, 2, 2), (6, 1, 1), None]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_network_is_left_as_it_was(name):
    model, (images, _) = network(name), digits(2)
    trace(model, images[0])
    represent(model, images)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
