"""The training loop, which can be interrupted and continued."""

from __future__ import annotations

import copy
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from monge._files import hold_folder, make_folder
from monge._progress import Progress
from monge._reading import refused
from monge.errors import DivergenceError, InputError

from .checkpoint import Checkpoint, plain
from .data import Data
from .journal import Journal, read_records
from .machine import MachineConfig
from .memory import give_back, peak_bytes
from .meter import Meter
from .objective import Objective
from .outcome import Outcome
from .schedule import Schedule
from .seeds import seeded
from .step import Step
from .trained import Trained
from .world import World

__all__ = ["Trainer", "moved"]

# Records of the training loss in a whole run: enough for a curve, and the device need not wait for more.
_RECORDS = 200


class Trainer:
    """Trains one model with one objective on one source of data, from the first step or from a checkpoint to the end.

    All randomness of a step is a function of the seed and the number of the step. So a run that was interrupted and
    continues has the same result as without the interruption, on a CPU in every bit. Its state consists of the weights,
    the optimiser, the best weights and a few counters. The random state of the caller does not change.

    Either call `run`, or loop over the trainer: every turn of the loop is one step, with the evaluation and the
    checkpoint that belong to it. You can leave a loop and enter it again.

    Args:
        model: the model with its first weights; it is moved to the device and changed in place.
        objective: the loss, and how results are judged.
        data: a batch for every step, and parts for evaluation.
        schedule: number of steps, learning rates and evaluations; `Schedule` if None.
        machine: device, precision, compilation; `MachineConfig` if None.
        seed: seed of all random numbers that are drawn after the first weights.
        folder: where the checkpoint and the metrics are stored; None stores nothing.
        resume: continue the run of the folder, if there is one; a finished run is read and not repeated.
        name: the name under which the run is shown.
        about: further plain data that describe the run, such as the size of the model; they are stored, and a folder is
            continued only if they are the same.
        progress: where the progress is shown.
        callbacks: functions that are called with every `Step` after it is done.
        world: the processes that train together; the processes that are connected now if None.

    Raises:
        InputError: the folder holds a run and ``resume`` is off; it holds another run or a damaged checkpoint; another
            run is at work in it; or a file could not be written.
        DivergenceError: the loss, or a figure, became NaN or infinite during training.

    Example:
        >>> import torch
        >>> from monge.train import Data, Objective, Schedule, Trainer
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> data = Data.of_tensors({"train": (x, 3 * x + 1), "valid": (x, 3 * x + 1)}, size=16)
        >>> objective = Objective(lambda model, batch: (model(batch[0]) - batch[1]).square().mean())
        >>> schedule = Schedule(steps=200, lr=0.1, warmup=10, evaluate_every=100)
        >>> trainer = Trainer(torch.nn.Linear(1, 1), objective, data, schedule)
        >>> [step.number for step in trainer if step.figures]
        [100, 200]
        >>> trainer.run().result.figures["valid"]["loss"] < 1e-3
        True
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        data: Data,
        schedule: Schedule | None = None,
        machine: MachineConfig | None = None,
        *,
        seed: int = 0,
        folder: str | os.PathLike[str] | None = None,
        resume: bool = False,
        name: str = "run",
        about: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        callbacks: Iterable[Callable[[Step], object]] = (),
        world: World | None = None,
    ) -> None:
        self.objective, self.data, self.seed, self.name = objective, data, seed, name
        self.schedule, self.machine = schedule or Schedule(), machine or MachineConfig()
        self.progress, self.callbacks = progress or Progress(shown=False), tuple(callbacks)
        if self.schedule.patience is not None and "valid" not in data.splits:
            raise InputError("patience needs evaluations of 'valid', but data has no such part: add it to splits.")
        self.folder = None if folder is None else Path(folder)
        self.device, self.world = self.machine.torch_device(), world or World.current()
        settings = {"data": data.describe, "schedule": self.schedule, "seed": seed, "processes": self.world.size}
        self.identity = plain({**(about or {}), **settings})
        self.model = model.to(self.device)
        learned = [weight for weight in model.parameters() if weight.requires_grad]
        if not learned:
            raise InputError("model must have parameters to learn, but has none with requires_grad: set it on some.")
        self.optimizer = self.schedule.optimizer(learned)
        self.runner: Any = torch.compile(self.model) if self.machine.compile else self.model
        self.step, self.stale, self.saved = 0, 0, time.perf_counter()
        self.best: dict[str, Any] | None = None
        self.outcome: Outcome | None = None
        self.meter = Meter(self.device)
        self._lock, self._workers = ExitStack(), 0
        try:
            self._begin(resume)
        except BaseException:
            self._lock.close()
            raise

    @property
    def path(self) -> Path | None:
        """Where the checkpoint is."""
        return None if self.folder is None else self.folder / "checkpoint.pt"

    @property
    def judged(self) -> nn.Module:
        """The model that is evaluated: the averaged one if the schedule asks for it."""
        return self.model if self.average is None else self.average

    @property
    def over(self) -> bool:
        """Whether no step is left: all are done, or ``patience`` evaluations in a row were not better."""
        patience = self.schedule.patience
        return self.step >= self.schedule.steps or (patience is not None and self.stale >= patience)

    def run(self) -> Trained[nn.Module, Outcome]:
        """Make all steps that are left, and measure the final model."""
        with self._alone():
            for _ in self:
                pass
            return self._finished() if self.outcome is not None else self._finish()

    def __iter__(self) -> Iterator[Step]:
        """One step a turn, until the run is over."""
        self.progress.begin(self.name, steps=self.schedule.steps, done=self.step)
        try:
            with self._alone():
                while not self.over:
                    step = self._advance()
                    with self.meter.paused():
                        for callback in self.callbacks:
                            callback(step)
                        yield step
        finally:
            self.journal.close()
            self.progress.end()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only run in the folder, as the constructor has been, until the work is done or left."""
        if not self._workers:
            self._hold()
        self._workers += 1
        try:
            yield
        finally:
            self._workers -= 1
            if not self._workers:
                self._lock.close()

    def _hold(self) -> None:
        self._lock.close()
        if self.folder is not None and self.world.leads:
            self._lock.enter_context(hold_folder(self.folder))

    def save(self) -> None:
        """Write a checkpoint now, in addition to those after evaluations and after ``checkpoint_seconds``.

        Raises:
            InputError: the file could not be written, and the old one is still there.
            DivergenceError: the loss is not finite.
        """
        self.saved = time.perf_counter()
        if self.path is None or not self.world.leads:
            return
        window = self.meter.window
        self._check("loss", window[0])
        average = None if self.average is None else self.average.state_dict()
        Checkpoint(
            self.identity, self.step, self.model.state_dict(), self.optimizer.state_dict(), average, self.best,
            self.stale, window,
        ).save(self.path)  # fmt: skip

    def _begin(self, resume: bool) -> None:
        """Take up the run of the folder, or start one."""
        checkpoint = self._found(resume)
        if checkpoint is None:
            self.world.follow(self.model.state_dict().values())
        else:
            try:
                self.model.load_state_dict(checkpoint.model)
            except (RuntimeError, TypeError, AttributeError) as error:
                told = " ".join(str(error).split())
                raise InputError(
                    f"{self.folder} holds the weights of another model ({told}): build the same one, or choose another "
                    "folder."
                ) from error
            self.step, self.best, self.stale = checkpoint.step, checkpoint.best, checkpoint.stale
            self.meter = Meter(self.device, checkpoint.window)
        self.average = None if self.schedule.average is None else copy.deepcopy(self.model)
        if checkpoint is not None:
            with refused(f"{self.path} is damaged (", "): restore a copy of it, or start again in another folder."):
                self._take_up(checkpoint)
        place = self.folder if self.outcome is None else None
        self.journal = Journal(place, self.step, writes=self.world.leads)

    def _take_up(self, checkpoint: Checkpoint) -> None:
        """Be what the checkpoint tells, besides the weights."""
        if checkpoint.outcome is not None:
            self.outcome = Outcome(**checkpoint.outcome)
            return
        self.optimizer.load_state_dict(checkpoint.optimizer or {})
        if self.average is not None:
            self.average.load_state_dict(checkpoint.average or {})

    def _found(self, resume: bool) -> Checkpoint | None:
        if self.folder is None or self.path is None:
            return None
        make_folder(self.folder)
        self._hold()
        if not self.path.exists():
            return None
        if not resume:
            raise InputError(f"{self.folder} holds a run already: resume it, or choose another folder.")
        checkpoint = Checkpoint.load(self.path)
        checkpoint.check(self.identity, self.folder)
        return checkpoint

    def _advance(self) -> Step:
        schedule = self.schedule
        loss, norm = self._descend()
        self.step += 1
        self.progress.tell(done=self.step)
        due = self.step % schedule.evaluate_every == 0 or self.step == schedule.steps
        figures = None
        if due and "valid" in self.data.splits:
            with self.meter.paused():
                figures = self._validate()
        if self.over or self.step % max(1, schedule.steps // _RECORDS) == 0:
            self._record(norm)
        if due or time.perf_counter() - self.saved > self.machine.checkpoint_seconds:
            with self.meter.paused():
                self.save()
                give_back()
        return Step(self.step, loss, norm, figures)

    def _descend(self) -> tuple[Tensor, Tensor]:
        """One step: its loss, and the norm of its gradient."""
        schedule, weights = self.schedule, list(self.model.parameters())
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.rate(self.step)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        with seeded(self.seed, "step", self.step, self.world.rank, device=self.device):
            for part in range(schedule.accumulate):
                batch = self._batch(self.step * schedule.accumulate + part)
                total = total + self._backward(batch)
                self.meter.count(self.data.amounts(batch), self.world.size)
        total = self.world.average(total, weights)
        norm = nn.utils.clip_grad_norm_(weights, schedule.clip)
        self.optimizer.step()
        self.world.follow(self.model.buffers())
        self._smooth()
        self.meter.add(total)
        return total, norm

    def _smooth(self) -> None:
        """Let the averaged weights follow the weights."""
        if self.average is None:
            return
        kept = self.schedule.kept(self.step)
        # Not the dictionaries of states: they name a shared weight twice.
        both = ([*model.parameters(), *model.buffers()] for model in (self.average, self.model))
        with torch.no_grad():
            for slow, fast in zip(*both, strict=True):
                slow.lerp_(fast, 1 - kept) if slow.is_floating_point() else slow.copy_(fast)

    def _batch(self, number: int) -> Any:
        return moved(self.data.batch(number), self.device)

    def _backward(self, batch: Any) -> Tensor:
        """Add the gradient of a batch's share of the loss, and answer that share."""
        with self.machine.autocast(self.device):
            loss = self.objective.loss(self.runner, batch) / self.schedule.accumulate
        loss.backward()
        return loss.detach()

    def _record(self, norm: Tensor) -> None:
        told = self.meter.read()
        self._check("loss", told["loss"])
        self.journal.add("train", self.step, lr=self.schedule.rate(self.step - 1), gradient_norm=float(norm), **told)
        best = ", ".join(f"{name} {held:.3f}" for name, held in self.best["figures"].items()) if self.best else ""
        speeds = [f"{held:,.0f} {name.removesuffix('_per_second')}/s" for name, held in told.items() if "_per_" in name]
        self.progress.tell(
            done=self.step,
            note=f"loss {told['loss']:.3f}" + (f"; best {best}" if best else ""),
            speed=", ".join([f"{1e3 * told['step_seconds']:.1f} ms/step", *speeds]),
        )

    def _check(self, what: str, number: float) -> None:
        if not math.isfinite(number):
            raise DivergenceError(
                f"the {what} of {self.name} must be finite, but is {number} at step {self.step}: lower the learning "
                "rate, or make the warm-up longer."
            )

    def _validate(self) -> dict[str, float]:
        figures = self._evaluate("valid")
        self.journal.add("valid", self.step, **figures)
        if self.best is None or self.objective.better(figures, self.best["figures"]):
            self.best = self._standing(figures)
            self.stale = 0
        else:
            self.stale += 1
        return figures

    def _standing(self, figures: dict[str, float] | None) -> dict[str, Any]:
        """The weights as they are, on the processor, and what is known of them."""
        weights = {name: held.detach().cpu().clone() for name, held in self.judged.state_dict().items()}
        return {"model": weights, "figures": figures, "step": self.step}

    def _evaluate(self, part: str) -> dict[str, float]:
        """The means of all figures over a whole part, shared by the processes."""
        model, sums = self.judged.eval(), dict[str, Tensor]()
        seeds = seeded(self.seed, part, self.world.rank, device=self.device)
        with seeds, torch.no_grad(), self.machine.autocast(self.device):
            for batch in self.data.splits[part]():
                for name, held in self.objective.figures(model, moved(batch, self.device)).items():
                    found = torch.stack([held.double().sum(), held.new_tensor(held.numel(), dtype=torch.float64)])
                    sums[name] = found + sums.get(name, 0)
        shared = self.world.gathered({name: found.tolist() for name, found in sums.items()})
        # Some processes may have had no batch of this part.
        figures: dict[str, float] = {}
        for name in dict.fromkeys(name for held in shared for name in held):
            total, count = map(sum, zip(*(held[name] for held in shared if name in held), strict=True))
            figures[name] = total / count
            self._check(f"{name} on the part {part!r}", figures[name])
        if not figures:
            raise InputError(f"the part {part!r} of data is empty: give it at least one batch, or leave it out.")
        return figures

    def _finish(self) -> Trained[nn.Module, Outcome]:
        """Measure the best weights, and close the run."""
        best = self.best or self._standing(None)
        peak = self._peak_bytes()
        self.model.load_state_dict(best["model"])
        self.average = None
        figures = {part: self._evaluate(part) for part in self.data.splits if part != "valid"}
        records = self.journal.of("train")
        names = [name for name in records[-1] if name.endswith("_per_second")]
        speeds = {name: statistics.median(record[name] for record in records) for name in names}
        self.outcome = Outcome(
            figures=({"valid": best["figures"]} if self.best else {}) | figures,
            best_step=best["step"],
            steps=self.step,
            step_seconds=statistics.median(record["step_seconds"] for record in records),
            speeds={name.removesuffix("_per_second"): speed for name, speed in speeds.items()},
            peak_bytes=peak,
            parameters=sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad),
            measured=dict(self.objective.measure(self.model.eval())),
        )
        for part, found in figures.items():
            self.journal.add(part, self.step, **found)
        self.journal.close()
        if self.path is not None and self.world.leads:
            final = self.outcome.plain()
            Checkpoint(self.identity, self.step, best["model"], stale=self.stale, outcome=final).save(self.path)
        return self._finished()

    def _finished(self) -> Trained[nn.Module, Outcome]:
        """What came out, measured now or read from the folder."""
        assert self.outcome is not None
        if not self.journal.records and self.folder is not None and (self.folder / "metrics.jsonl").exists():
            self.journal.records = read_records(self.folder / "metrics.jsonl")
        self.model.zero_grad(set_to_none=True)
        return Trained(self.model.eval(), self.outcome, self.journal.records)

    def _peak_bytes(self) -> int:
        """Memory of the forward and the backward pass of one batch; it may change buffers of the model."""
        batch = self._batch(0)

        def step() -> None:
            self.model.zero_grad(set_to_none=True)
            with seeded(self.seed, "step", 0, self.world.rank, device=self.device):
                self._backward(batch)

        self.model.train()
        return peak_bytes(step, self.device)


def moved(batch: Any, device: torch.device) -> Any:
    """A batch on a device; in tuples, lists and dictionaries, everything that is not a tensor stays as it is.

    Example:
        >>> import torch
        >>> from monge.train import moved
        >>> moved({"x": torch.zeros(2), "name": "one"}, torch.device("meta"))["x"].device
        device(type='meta')
    """
    return pytree.tree_map(lambda held: held.to(device, non_blocking=True) if isinstance(held, Tensor) else held, batch)
