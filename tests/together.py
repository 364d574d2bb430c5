"""What each process of a launch runs in test_parallel.py: small trainings, whose results the first one saves."""

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from digitnet.config import CNNConfig, MLPConfig, TrainConfig
from digitnet.data.digits import Digits
from digitnet.data.nondigits import draw_nondigits
from digitnet.data.once import load_once
from digitnet.data.strokes import draw_strokes
from digitnet.distributed import ALONE, joined
from digitnet.engine import fit
from digitnet.models import build_model
from digitnet.parallel import parallelise
from digitnet.progress import EpochResult, StateResult, StepResult
from digitnet.state import TrainingState, hash_tensors
from digitnet.stepper import Stepper
from digitnet.trainer import Trainer, epoch_batches

MLP = MLPConfig(hidden_sizes=(16,))
NORM = MLPConfig(hidden_sizes=(16,), batch_norm=True, dropout=0.2)
CNN = CNNConfig(channels=(4,), pool_size=4, pool_stride=4, batch_norm=False)
RULE = TrainConfig(epochs=2, batch_size=20, optimizer="sgd", momentum=0.9, schedule="constant", learning_rate=0.1)
CASES = {
    "plain": (MLP, RULE, 0),
    "all": (CNN, replace(RULE, augment="all", weight_average=0.9, max_grad_norm=0.5), 30),
    "elastic": (MLP, replace(RULE, augment="elastic", loss="bce", label_smoothing=0.1), 0),
    "adam": (MLP, replace(RULE, optimizer="adamw", momentum=None, learning_rate=1e-3, loss="mse", batch_size=9), 0),
    "norm": (NORM, replace(RULE, augment="affine", weight_average=0.9, learning_rate=0.01), 0),
}


def digits(count, seed=5):
    images, targets = draw_strokes(count, seed=seed)
    return Digits(name="strokes", images=images, targets=targets, fingerprint=f"{count}")


def train(name, world=ALONE, resume=None, due=lambda _: True):
    """Train a case on 53 images, which no number of processes divides, and return all that came of it."""
    config, rule, others = CASES[name]
    data, validation = digits(53), digits(17, 6)
    nondigits = draw_nondigits(others, data.images, data.targets, seed=1) if others else None
    torch.manual_seed(0)
    model, losses, epochs, states = build_model(config), [], [], {}
    for result in fit(model, data, validation, rule, nondigits=nondigits, resume=resume, save_due=due, world=world):
        if isinstance(result, StepResult):
            losses.append((result.loss, result.counted))
        elif isinstance(result, EpochResult):
            row = asdict(result.validation) | {"loss": result.train_loss, "accuracy": result.train_accuracy}
            epochs.append(row | {"validation_loss": result.validation.loss, "step": result.step})
        elif isinstance(result, StateResult):
            kept = {k: v.clone() for k, v in result.state.tensors.items()}
            states[result.state.position.step] = TrainingState(position=result.state.position, tensors=kept)
    weights: dict[str, Tensor] = {k: v.clone() for k, v in model.state_dict().items()}
    return {"losses": losses, "epochs": epochs, "weights": weights, "states": states}


def check(world, out):
    """Run all cases, and note what only the processes themselves can see."""
    found = {name: train(name, world) for name in CASES}
    hashes = {name: hash_tensors(result["weights"]) for name, result in found.items()}
    found["alike"] = world.gather(hashes)
    for name in ("all", "norm"):  # from within the second epoch
        state = found[name]["states"][4]
        found[f"{name} resumed"] = train(name, world, resume=world.broadcast(state))
    found["stopped"] = world.gather(train_until_one_has_had_enough(world))
    found["seen"] = world.gather(seen_by(world))
    found["sent"] = sent(world)
    found["order"] = order_of_a_backward_pass()
    found["loaded"] = world.gather(loaded(world))
    if world.is_first:
        torch.save(found, out)


def seen_by(world):
    """Note which images this process trains on in an epoch."""
    seen, share = [], type(world).share

    class Watched(type(world)):
        def share(self, items):
            mine = share(self, items)
            seen.extend(mine.tolist())
            return mine

    data = digits(53)
    trainer = Trainer(Stepper(build_model(MLP), data, None, RULE, torch.float32, Watched(**vars(world))))
    trainer._stepper.begin(1)
    for step, batch in enumerate(batches_of(trainer), start=1):
        trainer._take_step(step, batch, FakeStopping(), None)
    return seen


def batches_of(trainer):
    """Return the batches of the first epoch, as the trainer makes them."""
    return trainer._stepper.batches(epoch_batches(53, 1, RULE), 1, 0)


class FakeStopping:
    out_of_time = False


def train_until_one_has_had_enough(world):
    """Let a state be due, and the time be up, in the last process alone; return the steps of the states."""
    stops = world.rank == world.size - 1
    rule = replace(RULE, epochs=None, steps=500, time_budget_s=1.0 if stops else 1000.0)
    torch.manual_seed(0)
    data, validation = digits(53), digits(17, 6)
    due = lambda step: stops and step == 2  # noqa: E731
    results = list(fit(build_model(MLP), data, validation, rule, save_due=due, world=world))
    last = [r for r in results if isinstance(r, EpochResult)][-1]
    return [r.state.position.step for r in results if isinstance(r, StateResult)], last.step, last.stop


def sent(world):
    """Count the bytes of gradients and of messages that a step hands to torch.distributed."""
    counted = []
    reduce = torch.distributed.all_reduce

    def hook(_, bucket):
        counted.append(bucket.buffer().numel() * 4)
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    def counting(tensor, **options):
        counted.append(tensor.numel() * 4)
        return reduce(tensor, **options)

    trainer = Trainer(Stepper(build_model(NORM), digits(53), None, RULE, torch.float32, world))
    trainer._stepper._shared.register_comm_hook(None, hook)
    torch.distributed.all_reduce = counting
    trainer._stepper.begin(1)
    trainer._take_step(1, next(batches_of(trainer)), FakeStopping(), None)
    torch.distributed.all_reduce = reduce
    return sum(counted)


def order_of_a_backward_pass():
    """Note when gradients are sent, and when the first layer's, the last to come, is there."""
    events = []
    model = build_model(MLPConfig(hidden_sizes=(600, 600)))  # of more numbers than go into one message
    shared = parallelise(model)

    def hook(_, bucket):
        events.append("sent")
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    shared.register_comm_hook(None, hook)
    model.head.dense1.weight.register_hook(lambda _: events.append("first layer"))
    shared(torch.rand(2, 1, 28, 28)).sum().backward()
    return events


def loaded(world):
    """Load a data set in all processes; say how often it was made, and how much of it lies in memory of our own."""
    made = []

    def load():
        made.append(1)
        return digits(20_000), digits(10)

    train_digits, validation = load_once(world, load)
    total, place = int(train_digits.images.sum()), train_digits.images.data_ptr()
    world.barrier()  # all have mapped all of it
    kinds, inside = {}, False
    smaps = Path("/proc/self/smaps")  # Linux alone has it
    for line in smaps.read_text().splitlines() if smaps.exists() else ():
        if "-" in line.split()[0]:
            first, last = (int(n, 16) for n in line.split()[0].split("-"))
            inside = first <= place < last
        elif inside and line.endswith("kB"):
            kinds[line.split(":")[0]] = int(line.split()[1])
    world.barrier()
    return {"made": len(made), "sum": total, "validation": len(validation), "name": train_digits.name} | kinds


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined({}) as world:
        check(world, sys.argv[1])
    os._exit(0)  # as the command does: to take PyTorch apart may end in an abort
