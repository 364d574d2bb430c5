"""Captured steps against the same steps as they are: by CUDA on a GPU, elsewhere by a tape that plays its part."""

from collections import Counter
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from digitnet import capture, stepper
from digitnet.capture import WARM_UP, CapturedStep
from digitnet.config import CNNConfig, MLPConfig, TrainConfig
from digitnet.data.digits import Digits
from digitnet.engine import fit
from digitnet.gauge import Gauge
from digitnet.models import build_model
from digitnet.progress import EpochResult, StepResult

MLP = MLPConfig(hidden_sizes=(16,), dropout=0.2, batch_norm=True)
CNN = CNNConfig(channels=(4, 6), kernel_size=(5, 3), pool_size=(1, 4), pool_stride=(1, 4), dropout=0.2)
CONFIG = TrainConfig(epochs=6, batch_size=8, augment="all", learning_rate=1e-2, warmup=0.3)

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def noise(count=50, seed=0, device="cpu"):
    """Make digits of random pixels and random targets."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=rng)
    targets = torch.randint(0, 10, (count,), generator=rng)
    return Digits(name="noise", images=images, targets=targets, fingerprint="").to(torch.device(device))


def trained(model_config, config, device="cpu", dtype=torch.float32, count=50, others=None):
    """Train a network; return all its numbers, and loss and accuracy of each epoch."""
    torch.manual_seed(0)
    model = build_model(model_config).to(device)
    nondigits = None if others is None else noise(others, 9, device).images
    results = fit(model, noise(count, device=device), noise(20, 1, device), config, dtype, nondigits)
    figures = [(r.train_loss, r.train_accuracy) for r in results if isinstance(r, EpochResult)]
    return model.state_dict(), figures


def numbers(state):
    return torch.cat([tensor.flatten().double().cpu() for tensor in state.values()])


# A graph's part, played on the CPU.


class Tape(TorchDispatchMode):
    """Does what a CUDA graph does: keeps what is computed while it is captured, and computes that again in its place.

    What Python does meanwhile is not kept, and to ask for a value is an error. Nothing is computed for good by the
    capture itself: that is undone at its end, random draws included.
    """

    def __init__(self):
        super().__init__()
        self.replays = 0
        self._generators = [torch.default_generator]
        self._calls, self._before = [], []
        tapes.append(self)

    def register_generator_state(self, generator):
        self._generators.append(generator)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        assert func is not torch.ops.aten._local_scalar_dense.default, "a value was asked for while capturing"
        generator = kwargs.get("generator")
        known = {known._cdata for known in self._generators}
        assert generator is None or generator._cdata in known, "a generator that the graph does not know"
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        self._before += [(tensor, tensor.clone()) for tensor in given]
        made = func(*args, **kwargs)
        self._calls.append((func, args, kwargs, made, {tensor.untyped_storage().data_ptr() for tensor in given}))
        return made

    @contextmanager
    def capturing(self):
        states = [generator.get_state() for generator in self._generators]
        with self:
            yield
        with torch.no_grad():
            for tensor, before in reversed(self._before):
                if not torch.equal(tensor, before):
                    tensor.copy_(before)
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for func, args, kwargs, made, memory in self._calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                # What shares memory with what it was made of is a view, or was changed in place.
                if isinstance(old, torch.Tensor) and old.untyped_storage().data_ptr() not in memory:
                    old.copy_(new)


tapes = []


@pytest.fixture
def fake_cuda(monkeypatch):
    """Put tapes in the place of CUDA's graphs; returns a list of those made."""
    stream = SimpleNamespace(wait_stream=lambda _: None)
    cuda = SimpleNamespace(
        CUDAGraph=Tape,
        Stream=lambda: stream,
        current_stream=lambda: stream,
        stream=lambda _: nullcontext(),
        graph=lambda tape, stream: tape.capturing(),  # noqa: ARG005 (called by its name)
    )
    monkeypatch.setattr(capture, "torch", SimpleNamespace(cuda=cuda, Tensor=torch.Tensor, Generator=torch.Generator))
    tapes.clear()
    return tapes


def test_a_step_runs_a_few_times_for_each_size_and_is_replayed_from_there_on(fake_cuda):
    total, runs = torch.zeros((), dtype=torch.int64), []

    def step(batch):
        runs.append(len(batch))  # in Python: not by a replay
        total.add_(batch.sum())

    captured = CapturedStep(step, [])
    expected = 0
    for turn in range(10):
        for size in (4, 3):
            batch = torch.arange(size) + 10 * turn
            expected += sum(batch.tolist())
            captured(batch)
            assert total.item() == expected  # each batch has its part, the one that was captured, too
            assert torch.equal(batch, torch.arange(size) + 10 * turn)
    assert runs == [4, 3] * (WARM_UP + 1)
    assert [tape.replays for tape in fake_cuda] == [10 - WARM_UP] * 2


def test_a_step_of_several_batches_is_captured_for_each_combination_of_sizes(fake_cuda):
    total, runs = torch.zeros((), dtype=torch.int64), []

    def step(batch, others):
        runs.append((len(batch), len(others)))
        total.add_(batch.sum() + 1000 * others.sum())

    captured, expected, given = CapturedStep(step, []), 0, []
    sizes = [(4, 3), (3, 4), (4, 0), (4, 4)]
    for turn in range(6):
        for size in sizes:
            batch, others = (torch.arange(length) + 10 * turn + place for place, length in enumerate(size))
            expected += sum(batch.tolist()) + 1000 * sum(others.tolist())
            captured(batch, others)
            assert total.item() == expected
            given.append((others, others.clone()))
    assert all(torch.equal(others, before) for others, before in given)  # a replay overwrites what it keeps alone
    assert runs == sizes * (WARM_UP + 1)
    assert [tape.replays for tape in fake_cuda] == [6 - WARM_UP] * 4


def test_a_replay_draws_anew_from_the_generators_it_was_told_of(fake_cuda):
    noise_, drawn = torch.Generator().manual_seed(3), torch.zeros(2)
    found = []

    def step(_):
        drawn.copy_(torch.rand(2, generator=noise_))

    captured = CapturedStep(step, [noise_])
    for _ in range(8):
        captured(torch.arange(5))
        found.append(drawn.clone())
    assert len(fake_cuda) == 1
    assert torch.equal(torch.stack(found), torch.rand(8, 2, generator=torch.Generator().manual_seed(3)))


@pytest.fixture
def rates_in_tensors(monkeypatch):
    """Have learning rates lie in tensors, as they do on a GPU."""

    def build(*arguments):
        optimizer = build_optimizer(*arguments)
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])
        return optimizer

    build_optimizer = stepper.build_optimizer
    monkeypatch.setattr(stepper, "build_optimizer", build)


def capture_all_steps(monkeypatch):
    """Have fit capture its steps, as it does on a GPU."""

    def init(self, *arguments):
        plain(self, *arguments)
        self._run = CapturedStep(self._step, [self._noise])

    plain = stepper.Stepper.__init__
    monkeypatch.setattr(stepper.Stepper, "__init__", init)


@pytest.mark.usefixtures("rates_in_tensors")
@pytest.mark.parametrize("model_config", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("changes", [
    {}, {"weight_average": 0.9}, {"optimizer": "sgd", "momentum": 0.9, "augment": "none"},
    {"epochs": None, "steps": 37},
], ids=str)  # fmt: skip
def test_all_that_changes_from_step_to_step_reaches_a_captured_one(monkeypatch, fake_cuda, model_config, changes):
    config = TrainConfig(**{**vars(CONFIG), **changes})
    state, figures = trained(model_config, config)
    assert not fake_cuda
    capture_all_steps(monkeypatch)
    captured_state, captured_figures = trained(model_config, config)
    assert {name for name in state if not torch.equal(state[name], captured_state[name])} == set()
    assert captured_figures == figures
    steps = config.total_steps(7)  # 50 images make 7 batches an epoch: one of 8, and six of 7
    eights = -(-steps // 7)
    assert sorted(tape.replays for tape in fake_cuda) == sorted([eights - WARM_UP, steps - eights - WARM_UP])


@pytest.mark.usefixtures("rates_in_tensors")
@pytest.mark.parametrize("others", [3, 25, 60])
def test_captured_training_sees_each_batch_of_nondigits(monkeypatch, fake_cuda, others):
    state, figures = trained(CNN, CONFIG, others=others)
    capture_all_steps(monkeypatch)
    captured_state, captured_figures = trained(CNN, CONFIG, others=others)
    assert {name for name in state if not torch.equal(state[name], captured_state[name])} == set()
    assert captured_figures == figures
    pairs = [(7 + (batch < 1), others // 7 + (batch < others % 7)) for batch in range(7)]  # the sizes in an epoch
    replays = [CONFIG.epochs * times - WARM_UP for times in Counter(pairs).values()]
    assert sorted(tape.replays for tape in fake_cuda) == sorted(replays)


# CUDA itself.


@on_gpu
def test_on_a_gpu_a_step_is_captured_once_for_each_size():
    total, runs = torch.zeros((), dtype=torch.int64, device="cuda"), []

    def step(batch):
        runs.append(len(batch))
        total.add_(batch.sum())

    captured, expected = CapturedStep(step, []), 0
    for turn in range(10):
        for size in (4, 3):
            batch = torch.arange(size) + 10 * turn
            expected += sum(batch.tolist())
            captured(batch.cuda())
            assert total.item() == expected
    assert runs == [4, 3] * (WARM_UP + 1)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("model_config", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("changes", [{}, {"weight_average": 0.9}, {"optimizer": "sgd", "momentum": 0.9}], ids=str)
@pytest.mark.parametrize("others", [None, 25])
def test_captured_training_is_training(monkeypatch, model_config, changes, dtype, others):
    config = TrainConfig(**{**vars(CONFIG), **changes})
    captured = numbers(trained(model_config, config, "cuda", dtype, others=others)[0])
    with monkeypatch.context() as patch:
        patch.setattr(stepper, "CapturedStep", lambda step, _: step)
        plain = numbers(trained(model_config, config, "cuda", dtype, others=others)[0])
    seed_1 = TrainConfig(**{**vars(config), "seed": 1})
    other = numbers(trained(model_config, seed_1, "cuda", dtype, others=others)[0])
    # Some kernels add up in no fixed order, so the two need not be the same to the bit, but other noise is far away.
    assert (captured - plain).norm() < 0.01 * (other - plain).norm()


@on_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("optimizer", ["adamw", "adagrad"])  # captured, and not
@pytest.mark.parametrize("others", [None, 126])
def test_nothing_waits_for_the_gpu_within_an_epoch(optimizer, others):
    torch.manual_seed(0)
    model = build_model(MLP).cuda()
    config = TrainConfig(epochs=3, batch_size=8, augment="all", optimizer=optimizer)
    watched = 0
    try:
        nondigits = None if others is None else noise(others, 9, "cuda").images
        digits, validation = noise(500, device="cuda"), noise(20, 1, "cuda")
        for result in fit(model, digits, validation, config, nondigits=nondigits):  # 63 steps an epoch
            # By the second epoch each size of batch is captured; capturing waits, and so does the end of an epoch.
            within = isinstance(result, StepResult) and result.epoch > 1 and 0 < result.step % 63 < 60
            watched += within
            torch.cuda.set_sync_debug_mode("error" if within else "default")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watched > 30


@on_gpu
def test_losses_reported_on_a_gpu_are_means_of_what_has_arrived():
    torch.manual_seed(0)
    model = build_model(MLP).cuda()
    results = list(fit(model, noise(500, device="cuda"), noise(20, 1, "cuda"), TrainConfig(epochs=2, batch_size=8)))
    losses = [result.loss for result in results if isinstance(result, StepResult)]
    known = [loss for loss in losses if loss is not None]
    assert known
    assert all(0.1 < loss < 10 for loss in known)


@on_gpu
def test_a_gauge_on_a_gpu_tells_in_the_end():
    number = torch.tensor(5.0, device="cuda")
    gauge = Gauge(number)
    assert gauge.read(10) == (0.0, 0)
    torch.cuda.synchronize()
    number.fill_(7.0)
    assert gauge.read(20) == (5.0, 10)
    torch.cuda.synchronize()
    assert gauge.read(30) == (7.0, 20)
