"""Training that stops anywhere and goes on ends where training that never stopped ends, to the bit."""

import math
from dataclasses import replace

import pytest
import torch

from digitnet import container, snapshots, trainer, training
from digitnet.checkpoint import load_checkpoint
from digitnet.config import CNNConfig, MLPConfig, RunConfig, TrainConfig
from digitnet.data.load import load_training
from digitnet.data.nondigits import draw_nondigits
from digitnet.device import use_deterministic_algorithms
from digitnet.engine import fit
from digitnet.errors import CheckpointError, DataError, DigitnetError, InterruptedRunError, NotFiniteError
from digitnet.models import build_model
from digitnet.optim import learning_rate, update
from digitnet.progress import EpochResult, RollbackResult, StateResult
from digitnet.runs import BEST, LAST, METRICS
from digitnet.snapshots import KEPT, find_states, load_newest, load_snapshot, save_snapshot
from digitnet.state import TrainingState, hash_tensors
from digitnet.trainer import HASHED_STEPS
from digitnet.training import Saving, train_run

MLP = MLPConfig(hidden_sizes=(16,), dropout=0.2, batch_norm=True)
CNN = CNNConfig(channels=(4,), pool_size=4, pool_stride=4, dropout=0.2)
RULE = TrainConfig(
    dataset="strokes", train_size=90, epochs=3, batch_size=20, augment="all", weight_average=0.9, patience=3,
    device="cpu",
)  # fmt: skip
STEPS = 5  # of an epoch


@pytest.fixture(scope="module")
def digits():
    return load_training("strokes", size=90)


@pytest.fixture(scope="module")
def nondigits(digits):
    return draw_nondigits(30, digits[0].images, digits[0].targets, seed=1)


def fresh(config=MLP):
    torch.manual_seed(0)
    return build_model(config)


def snapshot_of(state):
    """Copy a state, whose tensors training goes on to change."""
    return TrainingState(position=state.position, tensors={k: v.clone() for k, v in state.tensors.items()})


def run(digits, rule=RULE, model=MLP, *, nondigits=None, resume=None, due=lambda _: True):
    """Train; return the network and every state, copied, by step and epochs that had ended."""
    network, states, epochs = fresh(model), {}, []
    for result in fit(network, *digits, rule, nondigits=nondigits, resume=resume, save_due=due):
        if isinstance(result, StateResult):
            position = result.state.position
            states[position.step, position.epoch] = snapshot_of(result.state)
        elif isinstance(result, EpochResult):
            epochs.append((result.step, result.train_loss, result.train_accuracy, result.validation, result.best))
    return network, states, epochs


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The loop.


@pytest.mark.parametrize("model", [MLP, CNN])
def test_from_every_state_training_ends_the_same(digits, nondigits, model):
    whole, states, epochs = run(digits, model=model, nondigits=nondigits)
    assert {step for step, _ in states} == set(range(3 * STEPS + 1))
    for (step, epoch), state in states.items():
        torch.rand(3)  # whatever else draws from the random generator
        network, later, rest = run(digits, model=model, nondigits=nondigits, resume=state)
        assert same(network.state_dict(), whole.state_dict()), (step, epoch)
        assert rest == epochs[epoch:]
        last = states[3 * STEPS, 3]
        if step < 3 * STEPS or epoch < 3:
            assert same(later[3 * STEPS, 3].tensors, last.tensors)
            assert later[3 * STEPS, 3].position.hashes == last.position.hashes


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamw"])
@pytest.mark.parametrize("average", [None, 0.9])
def test_every_optimizer_goes_on_as_it_was(digits, optimizer, average):
    rule = replace(RULE, optimizer=optimizer, weight_average=average, momentum=0.9 if optimizer == "sgd" else None)
    whole, states, _ = run(digits, rule)
    for key in ((0, 0), (3, 0), (STEPS, 1), (STEPS + 2, 1)):
        assert same(run(digits, rule, resume=states[key])[0].state_dict(), whole.state_dict())


def test_a_state_lacks_nothing_that_training_remembers(digits):
    _, states, _ = run(digits)
    whole = run(digits)[0].state_dict()
    state = states[7, 1]
    for part in ("model.", "trained.", "optimizer.", "random.augment", "random.dropout"):
        changed = dict(state.tensors)
        for name, tensor in state.tensors.items():
            if name.startswith(part) and tensor.is_floating_point():
                changed[name] = torch.full_like(tensor, 0.5)
        if part.startswith("random"):
            changed[part] = torch.Generator().manual_seed(1).get_state()
        network, _, _ = run(digits, resume=TrainingState(position=state.position, tensors=changed))
        assert not same(network.state_dict(), whole), part


def test_no_states_where_nobody_asks(digits):
    assert not any(isinstance(result, StateResult) for result in fit(fresh(), *digits, RULE))


def test_states_come_where_they_are_due(digits):
    _, states, _ = run(digits, due=lambda step: step % 4 == 0)
    assert list(states) == [(0, 0), (4, 0), (5, 1), (8, 1), (10, 2), (12, 2), (15, 3)]


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_more_epochs_are_as_if_there_had_been_so_many_from_the_start(digits, schedule):
    falls = {"step_epochs": 1, "step_factor": 0.5} if schedule == "step" else {}
    short = replace(RULE, schedule=schedule, **falls)
    longer = replace(short, epochs=5)
    _, states, _ = run(digits, short)
    grown = run(digits, longer, resume=states[3 * STEPS, 3])
    assert same(grown[0].state_dict(), run(digits, longer)[0].state_dict())


def test_more_steps_finish_the_epoch_that_was_cut_short(digits):
    short, longer = (replace(RULE, epochs=None, steps=steps, schedule="constant") for steps in (7, 12))
    _, states, epochs = run(digits, short)
    assert [step for step, *_ in epochs] == [5, 7]
    last = states[7, 1]
    assert last.position.stop == "epochs"
    grown, _, rest = run(digits, longer, resume=last)
    whole, _, expected = run(digits, longer)
    assert same(grown.state_dict(), whole.state_dict())
    assert rest == expected[1:]


def test_a_longer_schedule_holds_from_there_on(digits):
    short, longer = replace(RULE, schedule="cosine"), replace(RULE, schedule="cosine", epochs=6)
    _, states, _ = run(digits, short)
    results = list(fit(fresh(), *digits, longer, resume=states[3 * STEPS, 3]))
    rates = {r.step: r.learning_rate for r in results if isinstance(r, EpochResult)}
    assert rates == {step: learning_rate(longer, step, STEPS) for step in (20, 25, 30)}


def test_patience_counts_over_an_interruption(digits):
    rule = replace(RULE, epochs=40, patience=2, learning_rate=0.5, augment="none")
    _, states, epochs = run(digits, rule)
    assert len(epochs) < 40
    cut = states[(len(epochs) - 1) * STEPS, len(epochs) - 1]
    assert cut.position.waited == 1
    assert len(run(digits, rule, resume=cut)[2]) == 1


def test_time_goes_on_from_where_it_stopped(digits):
    state = run(digits)[1][STEPS, 1]
    later = replace(state.position, elapsed_s=1000.0)
    results = list(fit(fresh(), *digits, RULE, resume=TrainingState(position=later, tensors=state.tensors)))
    assert all(result.elapsed_s > 1000 for result in results)
    budget = replace(RULE, time_budget_s=1000.0)
    results = list(fit(fresh(), *digits, budget, resume=TrainingState(position=later, tensors=state.tensors)))
    assert results[-1].stop == "time-budget"
    assert results[-1].step == STEPS + 1


# Numbers that go wrong.


def test_the_first_step_that_goes_wrong_is_named(digits):
    rule = replace(RULE, learning_rate=1e30, optimizer="sgd", momentum=0.0, schedule="constant", weight_average=None)
    with pytest.raises(NotFiniteError, match=r"the loss is (nan|inf) by step 2, at a learning rate of 1e\+30"):
        list(fit(fresh(CNNConfig(channels=(4,), pool_size=4, pool_stride=4, batch_norm=False)), *digits, rule))


def test_a_state_with_a_weight_that_is_no_number_is_none(digits, monkeypatch):
    def break_weights(optimizer):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.data.fill_(math.inf)

    monkeypatch.setattr("digitnet.step.update", break_weights)
    with pytest.raises(NotFiniteError, match="a weight is no finite number by step 1"):
        run(digits)


def test_gradients_are_clipped_to_their_norm(digits, monkeypatch):
    norms = []

    def note_norm(optimizer):
        grads = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.cat(grads).norm().item())
        update(optimizer)

    monkeypatch.setattr("digitnet.step.update", note_norm)
    run(digits)
    free = list(norms)
    norms.clear()
    run(digits, replace(RULE, max_grad_norm=0.5))
    assert min(free) > 0.5
    assert norms == pytest.approx([0.5] * len(norms), rel=1e-4)


@pytest.mark.parametrize("break_", ["weight", "statistics"])
def test_no_network_that_is_not_finite_is_saved(digits, tmp_path, monkeypatch, break_):
    """A bias that ReLU hides, and a spread too large for float32: the loss is as ever."""

    def take_and_break(self, number, *rest):
        done = take_step(self, number, *rest)
        if number == 2 * STEPS:
            name = "output.bias" if break_ == "weight" else "running_var"
            next(v for k, v in self._stepper.trained.state_dict().items() if k.endswith(name))[0] = math.inf
        return done

    take_step = trainer.Trainer._take_step
    monkeypatch.setattr(trainer.Trainer, "_take_step", take_and_break)
    monkeypatch.setattr("digitnet.engine.logits_of", lambda _, images, __: torch.zeros(len(images), 10))
    with pytest.raises(NotFiniteError, match="a weight is no finite number by step 10"):
        list(train_run(replace(CONFIG, train=replace(CONFIG.train, on_nan="stop")), *digits, tmp_path))
    assert load_checkpoint(tmp_path / LAST).record.epoch == 1


def broken_at(step, monkeypatch):
    """Let the loss be no number at a step, each time that it is tried; return the rates it was tried at."""
    tried, take_step = [], trainer.Trainer._take_step

    def take(self, number, *rest):
        done = take_step(self, number, *rest)
        if number == step:
            tried.append(self._rate(number))
            if len(tried) <= broken_at.times:
                self._stepper.loss_sum.fill_(math.nan)
                self.check(math.nan, number)
        return done

    monkeypatch.setattr(trainer.Trainer, "_take_step", take)
    return tried


CONFIG = RunConfig(model=MLP, train=replace(RULE, schedule="constant", on_nan="rollback"))


@pytest.mark.parametrize("times", [1, 3])
def test_a_rollback_goes_on_from_the_last_good_state_at_half_the_rate(digits, tmp_path, monkeypatch, times):
    broken_at.times = times
    tried = broken_at(8, monkeypatch)
    results = list(train_run(CONFIG, *digits, tmp_path))
    back = [result for result in results if isinstance(result, RollbackResult)]
    assert [(result.step, result.factor) for result in back] == [(STEPS, 0.5**n) for n in range(1, times + 1)]
    assert "the loss is nan by step 8" in back[0].reason
    rate = CONFIG.train.learning_rate
    assert tried == pytest.approx([rate * 0.5**n for n in range(times + 1)])
    journal = load_newest(tmp_path).snapshot.journal
    assert [row.learning_rate for row in journal.epochs] == pytest.approx([rate, *[rate * 0.5**times] * 2])
    assert [row.step for row in journal.epochs] == [5, 10, 15]
    assert len({row.step for row in journal.steps}) == len(journal.steps) == 15


def test_a_rollback_to_a_state_that_had_ended_a_run_goes_on_from_it(digits, tmp_path, monkeypatch):
    """Its part of an epoch is made anew, it has not ended, and what was asked for since is not forgotten."""
    short, longer = (replace(CONFIG.train, epochs=None, steps=steps) for steps in (7, 12))
    finish(replace(CONFIG, train=short), digits, tmp_path)
    broken_at.times = 1
    broken_at(8, monkeypatch)
    results = train_run(replace(CONFIG, train=longer), *digits, tmp_path, resume=load_newest(tmp_path).snapshot)
    assert any(isinstance(result, RollbackResult) for result in results)
    snapshot = load_newest(tmp_path).snapshot
    assert snapshot.state.position.stop is None
    assert snapshot.config.train.steps == 12
    list(results)
    assert [row.step for row in load_newest(tmp_path).snapshot.journal.epochs] == [5, 10, 12]


def test_after_three_rollbacks_training_stops(digits, tmp_path, monkeypatch):
    broken_at.times = 99
    broken_at(8, monkeypatch)
    with pytest.raises(NotFiniteError, match="halved 3 times"):
        list(train_run(CONFIG, *digits, tmp_path))
    assert (tmp_path / BEST).exists()
    assert load_newest(tmp_path).snapshot.state.position.step == STEPS  # from which a person may go on


def test_before_any_step_a_rollback_begins_anew(digits, tmp_path, monkeypatch):
    broken_at.times = 1
    tried = broken_at(1, monkeypatch)
    results = list(train_run(CONFIG, *digits, tmp_path))
    assert [result.step for result in results if isinstance(result, RollbackResult)] == [0]
    assert tried[1] == tried[0] / 2


# Runs.


def finish(config, digits, folder, **options):
    return list(train_run(config, *digits, folder, **options))


def interrupted_at(config, digits, folder, step, resume=None):
    """Train until a signal comes after a step."""
    saving, reached = Saving(), [0]
    due = saving.due

    def note_step(number):
        reached[0] = number
        return due(number)

    saving.due, saving.poll_signal = note_step, lambda: 15 if reached[0] >= step else None
    with pytest.raises(InterruptedRunError, match=f"interrupted after step {step}, and saved") as raised:
        finish(config, digits, folder, resume=resume, saving=saving)
    assert raised.value.exit_code == 143
    return load_newest(folder).snapshot


def test_a_run_in_pieces_leaves_the_files_of_a_run_in_one(digits, tmp_path):
    config = RunConfig(model=MLP, train=replace(RULE, nondigits=20))
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir()
    pieces.mkdir()
    finish(config, digits, whole, keep_epochs=True)
    snapshot = interrupted_at(config, digits, pieces, 3)
    finish(config, digits, pieces, resume=snapshot, keep_epochs=True)
    assert sorted(path.name for path in whole.iterdir()) == sorted(path.name for path in pieces.iterdir())
    for a, b in zip(*(sorted(folder.glob("*.safetensors")) for folder in (whole, pieces)), strict=True):
        tensors = [load_tensors(path) for path in (a, b)]
        assert same(*tensors), a.name
    columns = [
        [line.split(",")[:7] for line in (folder / METRICS).read_text().splitlines()] for folder in (whole, pieces)
    ]
    assert columns[0] == columns[1]
    assert len(columns[0]) == 4


def load_tensors(path):
    from safetensors.torch import load_file

    return {name: tensor for name, tensor in load_file(path).items() if name != "document"}


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_run_lets_pytorch_use_what_it_was_asked_to(digits, tmp_path, deterministic):
    config = replace(CONFIG, train=replace(CONFIG.train, deterministic=deterministic))
    try:
        use_deterministic_algorithms(not deterministic)
        for _ in train_run(config, *digits, tmp_path):
            assert torch.are_deterministic_algorithms_enabled() == deterministic
    finally:
        use_deterministic_algorithms(False)


def test_what_cannot_be_deterministic_is_said_in_a_line(digits, tmp_path, monkeypatch):
    def refuse(_):
        raise RuntimeError(
            "some_cuda does not have a deterministic implementation, but you set it. You can turn it off"
        )

    monkeypatch.setattr("digitnet.step.update", refuse)
    with pytest.raises(DigitnetError, match=r"^leave out --deterministic: some_cuda does not have a deterministic"):
        finish(CONFIG, digits, tmp_path)


def test_the_two_newest_states_are_kept(digits, tmp_path):
    finish(CONFIG, digits, tmp_path, saving=Saving(every_steps=2))
    assert [path.name for path in find_states(tmp_path)] == ["state-000014.safetensors", "state-000015.safetensors"]
    assert len(find_states(tmp_path)) == KEPT


def test_states_by_the_clock(digits, tmp_path, monkeypatch):
    now = iter(range(10_000))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(now)))
    saved = []
    monkeypatch.setattr(training, "save_snapshot", lambda _, s: saved.append(s.state.position.step))
    list(train_run(CONFIG, *digits, tmp_path, saving=Saving(every_s=1e9)))
    assert saved == [0, 5, 10, 15]
    saved.clear()
    list(train_run(CONFIG, *digits, tmp_path, saving=Saving(every_s=0.5)))
    assert saved == sorted([*range(16), 5, 10, 15])


def test_a_damaged_state_falls_back_to_the_one_before(digits, tmp_path):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir()
    pieces.mkdir()
    finish(CONFIG, digits, whole)
    interrupted_at(CONFIG, digits, pieces, 8)
    newest = find_states(pieces)[-1]
    for damage in (lambda data: data[:-1], lambda data: data[:-4] + b"\xff" + data[-3:], lambda _: b""):
        newest.write_bytes(damage(newest.read_bytes()))
        found = load_newest(pieces)
        assert found.snapshot.state.position.step == STEPS
        assert len(found.damaged) == 1
        assert str(newest) in found.damaged[0]
    finish(CONFIG, digits, pieces, resume=found.snapshot)
    assert same(load_tensors(pieces / LAST), load_tensors(whole / LAST))


def test_where_no_state_is_whole_all_faults_are_named(digits, tmp_path):
    interrupted_at(CONFIG, digits, tmp_path, 8)
    for path in find_states(tmp_path):
        path.write_bytes(b"no")
    found = load_newest(tmp_path)
    assert found.snapshot is None
    assert len(found.damaged) == 2


def test_other_digits_are_refused(digits, tmp_path):
    snapshot = interrupted_at(CONFIG, digits, tmp_path, 8)
    others = load_training("strokes", size=89)
    with pytest.raises(DataError, match="strokes has changed since the run began"):
        finish(CONFIG, others, tmp_path, resume=snapshot)


@pytest.mark.parametrize("change", ["shape", "name", "type", "step", "sum", "random", "position", "hash", "format"])
def test_a_state_that_does_not_fit_is_refused(digits, tmp_path, change):
    snapshot = interrupted_at(CONFIG, digits, tmp_path, 8)
    position, tensors = snapshot.state.position, dict(snapshot.state.tensors)
    if change == "shape":
        tensors["model.head.output.weight"] = torch.zeros(10, 3)
    elif change == "name":
        tensors["optimizer.0.other"] = tensors.pop("optimizer.0.exp_avg")
    elif change in ("type", "step", "sum"):
        name = {"type": "trained.head.output.weight", "step": "optimizer.0.step", "sum": "sum.correct"}[change]
        tensors[name] = tensors[name].double()
    elif change == "random":
        tensors["random.augment"] = torch.zeros(100_000, dtype=torch.uint8)
    path = tmp_path / "other"
    path.mkdir()
    save_snapshot(path, replace(snapshot, state=TrainingState(position=position, tensors=tensors)))
    (file,) = path.iterdir()
    if change == "position":
        file.write_bytes(file.read_bytes().replace(b'"epoch": 1', b'"epoch": 9'))
    elif change == "hash":
        file.write_bytes(file.read_bytes().replace(snapshot.origin.fingerprint.encode(), b"0" * 16))
    elif change == "format":
        file.write_bytes(file.read_bytes().replace(b'format\\": 1', b'format\\": 9'))
    with pytest.raises(CheckpointError) as raised:
        load_snapshot(file)
    assert str(file) in str(raised.value)
    assert "has format 9" in str(raised.value) or "damaged" in str(raised.value) or "does not fit" in str(raised.value)


def test_a_state_of_a_large_network_is_larger_than_a_checkpoint_may_be(digits, tmp_path, monkeypatch):
    interrupted_at(CONFIG, digits, tmp_path, 8)
    path = find_states(tmp_path)[-1]
    monkeypatch.setattr(container, "MAX_BYTES", path.stat().st_size - 1)
    assert load_snapshot(path).state.position.step == 8
    monkeypatch.setattr(snapshots, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="is larger than"):
        load_snapshot(path)


@pytest.mark.parametrize("name", ["random.augment", "random.dropout"])
@pytest.mark.parametrize("size", [5, 5056])
def test_random_generators_that_cannot_be_are_refused(digits, name, size):
    state = run(digits)[1][8, 1]
    tensors = {**state.tensors, name: torch.full((size,), 255, dtype=torch.uint8)}
    with pytest.raises(CheckpointError, match="the state's random generators are not a cpu's"):
        run(digits, resume=TrainingState(position=state.position, tensors=tensors))


def test_a_state_of_other_batches_is_refused(digits):
    state = run(digits)[1][8, 1]
    with pytest.raises(CheckpointError, match="an epoch of these images has 30 steps"):
        run(digits, replace(RULE, batch_size=3), resume=state)


def test_the_weights_are_hashed_after_the_first_steps(digits):
    _, states, _ = run(digits)
    position = states[3 * STEPS, 3].position
    reached = [step for step in HASHED_STEPS if step <= 3 * STEPS]
    assert len(position.hashes) == len(reached) == len(set(position.hashes))
    for step, hashed in zip(reached, position.hashes, strict=True):
        state = next(state for (number, _), state in states.items() if number == step)
        trained = {k.removeprefix("trained."): v for k, v in state.tensors.items() if k.startswith("trained.")}
        assert hash_tensors(trained) == hashed


def test_the_best_of_a_part_of_an_epoch_is_forgotten_when_the_epoch_is_made_whole(digits, tmp_path, monkeypatch):
    def judged(results):
        for result in results:  # the first epoch is good, and a part of the second better than all that comes after it
            yield replace(result, best=result.step in (5, 7)) if isinstance(result, EpochResult) else result

    monkeypatch.setattr(training, "_faults_named", judged)
    rule = replace(RULE, schedule="constant", patience=None)
    short, longer = (RunConfig(model=MLP, train=replace(rule, epochs=None, steps=steps)) for steps in (7, 15))
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir()
    pieces.mkdir()
    finish(longer, digits, whole)
    finish(short, digits, pieces)
    assert not same(load_tensors(pieces / BEST), load_tensors(whole / BEST))
    finish(longer, digits, pieces, resume=replace(load_newest(pieces).snapshot, config=longer))
    assert same(load_tensors(pieces / BEST), load_tensors(whole / BEST))
    assert same(load_tensors(pieces / LAST), load_tensors(whole / LAST))
    assert {path.name for path in pieces.iterdir()} == {path.name for path in whole.iterdir()}


def test_the_time_that_a_rollback_loses_counts(digits, tmp_path, monkeypatch):
    broken_at.times = 1
    broken_at(8, monkeypatch)
    seen = [result for result in train_run(CONFIG, *digits, tmp_path) if hasattr(result, "elapsed_s")]
    assert [result.elapsed_s for result in seen] == sorted(result.elapsed_s for result in seen)
