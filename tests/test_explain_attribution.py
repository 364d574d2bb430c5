"""Integrated gradients: exact for linear networks, complete for all, and against finite differences."""

import pytest
import torch
from explained import CONFIGS, digits, network

from digitnet.explain.image.attribution import TOLERANCE, attribute


def image(index=0):
    return digits(3)[0][index] / 255


@pytest.mark.parametrize("baseline", ["black", "another digit"])
@pytest.mark.parametrize("rival", [None, 8])
@pytest.mark.parametrize("name", CONFIGS)
def test_shares_add_up_to_what_they_explain(name, rival, baseline):
    model = network(name)
    start = torch.zeros(1, 28, 28) if baseline == "black" else image(1)
    found = attribute(model, image(), 3, rival, baseline=None if baseline == "black" else start)
    with torch.no_grad():
        before, after = model(torch.stack([start, image()])).double()
    lead = [logits[3] - (0 if rival is None else logits[rival]) for logits in (before, after)]
    assert found.rise == pytest.approx((lead[1] - lead[0]).item(), abs=1e-5)
    assert found.start == pytest.approx(lead[0].item(), abs=1e-5)
    assert found.residual == pytest.approx(found.rise - found.shares.sum().item(), abs=1e-5)
    assert abs(found.residual) <= TOLERANCE * max(1, abs(found.rise))
    assert (found.answer, found.rival) == (3, rival)


def test_of_a_linear_network_each_share_is_weight_times_pixel():
    model = network("mlp, no hidden layer")
    weights = model.head.output.weight.detach()
    found = attribute(model, image(), 4, 9)
    expected = (weights[4] - weights[9]).view(28, 28) * image()[0] / 0.3
    torch.testing.assert_close(found.shares, expected, rtol=1e-4, atol=1e-6)
    assert abs(found.residual) < 1e-4


def test_a_pixel_that_is_as_in_the_baseline_has_no_share():
    found = attribute(network("plain"), image(), 2)
    assert not found.shares[image()[0] == 0].any()
    assert found.shares[image()[0] > 0].any()


def test_answer_and_rival_exchanged_change_the_sign():
    model = network("average pooling, valid, head, gelu, biases")
    one, two = attribute(model, image(), 1, 7), attribute(model, image(), 7, 1)
    assert one.steps == two.steps
    torch.testing.assert_close(one.shares, -two.shares)


def test_the_gradient_along_the_line_is_that_of_finite_differences():
    model = network("mlp, batch norm, sigmoid").double()
    picture = image().double()
    found = attribute(model, picture, 5, 6)
    row, column = divmod(int(picture[0].argmax()), 28)
    steps, total, h = 400, 0.0, 1e-4
    for step in range(steps):
        point = picture * (step + 0.5) / steps
        moved = point.repeat(2, 1, 1, 1)
        moved[0, 0, row, column] += h
        moved[1, 0, row, column] -= h
        with torch.no_grad():
            lead = model(moved)[:, 5] - model(moved)[:, 6]
        total += ((lead[0] - lead[1]) / (2 * h)).item() / steps
    assert found.shares[row, column].item() == pytest.approx(total * picture[0, row, column].item(), rel=1e-3)


def test_parameters_get_no_gradients():
    model = network("plain")
    attribute(model, image(), 0)
    assert all(parameter.grad is None for parameter in model.parameters())
