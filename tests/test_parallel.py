"""Training that several processes share: the steps of one process, the same in all of them, whatever happens to one."""

import sys

import pytest
import together
import torch
from hypothesis import given
from hypothesis import strategies as st
from launching import launch
from together import CASES, NORM

from digitnet.distributed import World
from digitnet.launch import Launch
from digitnet.parallel import bytes_per_step


@pytest.fixture(scope="module", params=[2, 3])
def size(request):
    return request.param


@pytest.fixture(scope="module")
def shared(size, tmp_path_factory):
    """What came of all cases in so many processes."""
    out = tmp_path_factory.mktemp("shared") / "found.pt"
    for done in launch(size, together.__file__, out):
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    return torch.load(out, weights_only=False)


@pytest.fixture(scope="module")
def alone():
    """What comes of them in one process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {name: together.train(name) for name in CASES}
    torch.set_num_threads(threads)
    return found


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@given(count=st.integers(0, 300), processes=st.integers(1, 20))
def test_each_image_of_a_batch_is_one_process_s(count, processes):
    worlds = [World(launch=Launch(rank=rank, size=processes)) for rank in range(processes)]
    shares = [world.share(torch.arange(count)) for world in worlds]
    assert torch.equal(torch.cat(shares), torch.arange(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_each_image_is_trained_on_by_one_process_in_an_epoch(shared):
    assert sorted(number for seen in shared["seen"] for number in seen) == list(range(53))


@pytest.mark.parametrize("name", [name for name in CASES if name != "norm"])
def test_several_processes_make_the_steps_of_one(name, shared, alone):
    mine, theirs = alone[name], shared[name]
    close(torch.tensor(theirs["losses"]), torch.tensor(mine["losses"]))
    close(theirs["weights"], mine["weights"])
    for ours, other in zip(mine["epochs"], theirs["epochs"], strict=True):
        assert other["accuracy"] == ours["accuracy"]  # counted, and so the same to the bit
        assert other["confusion"] == ours["confusion"]
        assert other["loss"] == pytest.approx(ours["loss"], rel=1e-4)
        assert other["validation_loss"] == pytest.approx(ours["validation_loss"], rel=1e-4)


def test_all_processes_have_the_same_network_to_the_bit_whatever_batch_norm_and_dropout_do(shared):
    assert all(hashes == shared["alike"][0] for hashes in shared["alike"])


def test_batch_norm_s_running_means_are_the_mean_over_the_parts(shared, alone):
    """After one step, the mean of a batch is the mean of its parts' means, if these are equally large."""
    theirs, mine = (found["norm"]["states"][1].tensors for found in (shared, alone))
    torch.testing.assert_close(
        theirs["trained.head.norm1.running_mean"], mine["trained.head.norm1.running_mean"], rtol=0.05, atol=0.01
    )
    variances = [tensors["trained.head.norm1.running_var"] for tensors in (theirs, mine)]
    torch.testing.assert_close(*variances, rtol=0.2, atol=0.01)
    assert not torch.equal(*variances)


@pytest.mark.parametrize("name", ["all", "norm"])
def test_training_that_goes_on_ends_where_one_that_never_stopped_ends(name, shared):
    whole, resumed = shared[name], shared[f"{name} resumed"]
    assert whole["weights"].keys() == resumed["weights"].keys()
    assert all(torch.equal(whole["weights"][key], resumed["weights"][key]) for key in whole["weights"])
    assert resumed["epochs"] == whole["epochs"][1:]


def test_another_number_of_processes_goes_on(shared, alone):
    resumed = together.train("all", resume=shared["all"]["states"][4])
    close(resumed["weights"], alone["all"]["weights"])
    assert [epoch["accuracy"] for epoch in resumed["epochs"]] == [alone["all"]["epochs"][1]["accuracy"]]


def test_what_one_process_finds_holds_for_all(shared):
    states, step, stop = shared["stopped"][0]
    assert all(found == shared["stopped"][0] for found in shared["stopped"])
    assert states[:2] == [0, 2]
    assert step < 500
    assert stop == "time-budget"


def test_the_bytes_of_a_step_are_those_that_are_reported(shared, size):
    numbers = shared["sent"] // 4 - 3  # three flags go with them
    told = bytes_per_step(NORM, size, "cpu")
    assert told == pytest.approx(2 * (size - 1) / size * 4 * numbers, abs=4)
    assert bytes_per_step(NORM, 1, "cpu") == 0


def test_gradients_are_sent_while_the_backward_pass_goes_on(shared):
    assert shared["order"][0] == shared["order"][-1] == "sent"
    assert "first layer" in shared["order"]


def test_a_data_set_is_made_once_and_mapped_by_all(shared, size):
    found = shared["loaded"]
    assert [each["made"] for each in found] == [1] + [0] * (size - 1)
    assert len({each["sum"] for each in found}) == 1
    assert all(each["name"] == "strokes" and each["validation"] == 10 for each in found)
    if sys.platform != "linux":
        return
    # Linux counts a page that n processes map as a n-th for each.
    assert all(each["Rss"] > 14_000 and each["Pss"] < 0.6 * each["Rss"] for each in found)
