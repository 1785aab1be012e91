"""Training: the loop, and how it survives interruptions."""

from __future__ import annotations

import math
import time
import zlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._files import make_folder
from ..data import Split, Task
from ..errors import InputError
from .batches import Batch, Batches, in_order, mixed
from .checkpoint import Checkpoint, identity
from .coupler_config import CouplerConfig
from .journal import Journal
from .machine_config import MachineConfig
from .measure import measure
from .memory import give_back
from .meter import Meter
from .model_config import ModelConfig
from .progress import Progress
from .schedule_config import ScheduleConfig
from .trained import Trained, build, finished
from .world import World

__all__ = ["Trainer"]

# Records of the training loss in a whole run: enough for a curve, and the device need not wait for more.
_RECORDS = 200


class Trainer:
    """One model on one task, from its first step or from a checkpoint to its result.

    All randomness of a step, the order of the data and the masks of dropout, is a function of the seed and the number
    of the step. So a run that is interrupted and goes on computes what it would have computed, bit by bit on the
    processor, and its state is weights, optimiser, best weights and two counters.

    Args:
        task: what to learn.
        coupler: what couples tokens to tokens.
        model: the size of the encoder.
        schedule: what is done at every step.
        machine: where and how.
        seed: of weights, order and dropout.
        folder: where checkpoint and metrics are kept; None keeps nothing.
        progress: where to show how far it is.
    """

    def __init__(
        self,
        task: Task,
        coupler: CouplerConfig,
        model: ModelConfig,
        schedule: ScheduleConfig,
        machine: MachineConfig,
        *,
        seed: int,
        folder: Path | None,
        progress: Progress,
    ) -> None:
        self.task, self.coupler, self.schedule, self.machine = task, coupler, schedule, machine
        self.seed, self.folder, self.progress = seed, folder, progress
        self.device, self.world = machine.resolve(), World.current()
        self.identity = identity(
            task=_describe(task), coupler=coupler, model=model, schedule=schedule, seed=seed, processes=self.world.size
        )
        self.step, self.stale, self.saved = 0, 0, time.perf_counter()
        self.best: dict[str, Any] | None = None
        self.meter = Meter(self.device)

    @property
    def path(self) -> Path | None:
        """Where the checkpoint is."""
        return None if self.folder is None else self.folder / "checkpoint.pt"

    def run(self, resume: bool) -> Trained:
        """Train to the end.

        Args:
            resume: go on from the checkpoint of the folder, if there is one.

        Raises:
            InputError: the folder holds a run and ``resume`` is off, or another run, or a file could not be written.
        """
        checkpoint = self._found(resume)
        if self.path is not None and checkpoint is not None and checkpoint.result is not None:
            return finished(checkpoint, self.path.parent)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            self._reseed("weights")
            self.model = build(self.identity).to(self.device)
            self.optimizer = torch.optim.AdamW(
                self.model.parameters(),
                betas=self.schedule.betas,
                eps=self.schedule.eps,
                weight_decay=self.schedule.weight_decay,
                fused=True,
            )
            if checkpoint is not None:
                self._restore(checkpoint)
            self.journal = Journal(self.folder if self.world.leads else None, self.step)
            try:
                self._loop()
                return self._finish()
            finally:
                self.journal.close()
                self.progress.end()

    def _found(self, resume: bool) -> Checkpoint | None:
        if self.folder is None or self.path is None:
            return None
        make_folder(self.folder)
        if not self.path.exists():
            return None
        if not resume:
            raise InputError(f"{self.folder} holds a run already: resume it, or choose another folder.")
        checkpoint = Checkpoint.load(self.path)
        checkpoint.check(self.identity, self.folder)
        return checkpoint

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer or {})
        self.step, self.best, self.stale = checkpoint.step, checkpoint.best, checkpoint.stale
        self.meter = Meter(self.device, checkpoint.window)

    def _loop(self) -> None:
        schedule = self.schedule
        runner: nn.Module = self.model
        if self.machine.compile:
            runner = torch.compile(runner)  # type: ignore[assignment]
        runner = self.world.share(runner, self.device)
        batches = Batches(
            self.task.train, schedule.batch, pad=self.task.pad, seed=self.seed, bucket=schedule.bucket,
            rank=self.world.rank, world=self.world.size,
        )  # fmt: skip
        every = max(1, schedule.steps // _RECORDS)
        self.progress.begin(f"{self.task.name}, {self.coupler}, seed {self.seed}", steps=schedule.steps, done=self.step)
        while self.step < schedule.steps and not self._stopped():
            loss, norm, tokens = self._update(runner, batches[self.step])
            self.meter.add(loss, tokens)
            self.step += 1
            self.progress.tell(done=self.step)
            if self.step % every == 0 or self.step == schedule.steps:
                self._record(norm)
            with self.meter.paused():
                self._pause()

    def _stopped(self) -> bool:
        return self.schedule.patience is not None and self.stale >= self.schedule.patience

    def _update(self, runner: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, int]:
        """One step: its loss, the norm of its gradient, and the tokens that all processes worked through."""
        self._reseed("step", self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        batch = batch.to(self.device)
        self.model.train()
        with self.machine.autocast(self.device):
            loss = F.cross_entropy(runner(batch.tokens, batch.padding).float(), batch.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        self.optimizer.step()
        return loss.detach(), norm, batch.tokens.numel() * self.world.size

    def _record(self, norm: Tensor) -> None:
        told = self.meter.read()
        loss = told["loss"]
        if not math.isfinite(loss):
            raise InputError(
                f"the loss of {self.coupler} became {loss} by step {self.step}: lower the learning rate or warm up "
                "for longer."
            )
        rate = self.schedule.rate(self.step - 1)
        self.journal.add("train", self.step, lr=rate, gradient_norm=float(norm), **told)
        self.progress.tell(
            done=self.step,
            note=f"loss {loss:.3f}" + (f", valid {self.best['accuracy']:.3f}" if self.best else ""),
            speed=f"{1e3 * told['step_seconds']:.1f} ms/step, {told['tokens_per_second']:,.0f} tokens/s",
        )

    def _pause(self) -> None:
        """Between two steps: evaluate and keep a checkpoint, if it is time."""
        due = self.step % self.schedule.evaluate_every == 0 or self.step == self.schedule.steps
        if due:
            self._validate()
        late = time.perf_counter() - self.saved > self.machine.checkpoint_seconds
        if due or late:
            self._save()
            give_back()
            self.saved = time.perf_counter()

    def _validate(self) -> None:
        accuracy, loss = self._evaluate(self.task.valid)
        self.journal.add("valid", self.step, accuracy=accuracy, loss=loss)
        if self.best is None or (accuracy, -loss) > (self.best["accuracy"], -self.best["loss"]):
            weights = {name: held.detach().cpu().clone() for name, held in self.model.state_dict().items()}
            self.best = {"model": weights, "accuracy": accuracy, "loss": loss, "step": self.step}
            self.stale = 0
        else:
            self.stale += 1

    def _evaluate(self, split: Split) -> tuple[float, float]:
        """Accuracy and mean loss over a whole part, shared by the processes."""
        self.model.eval()
        world = self.world
        size = max(1, 2 * self.schedule.batch // world.size)
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.inference_mode(), self.machine.autocast(self.device):
            for held in in_order(split, size, pad=self.task.pad, rank=world.rank, world=world.size):
                batch = held.to(self.device)
                logits = self.model(batch.tokens, batch.padding).float()
                right = (logits.argmax(-1) == batch.labels).sum()
                sums += torch.stack([right.double(), F.cross_entropy(logits, batch.labels, reduction="sum").double()])
        accuracy, loss = (world.total(sums) / len(split)).tolist()
        return accuracy, loss

    def _save(self) -> None:
        if self.path is None or not self.world.leads:
            return
        Checkpoint(
            identity=self.identity,
            step=self.step,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            best=self.best,
            stale=self.stale,
            window=self.meter.window,
        ).save(self.path)

    def _finish(self) -> Trained:
        best = self.best
        assert best is not None, "a run ends with an evaluation"
        self.model.load_state_dict(best["model"])
        accuracy, loss = self._evaluate(self.task.test)
        result = measure(
            self.model, self.task, self.schedule, self.machine, self.journal,
            coupler=str(self.coupler), seed=self.seed, steps=self.step, best=best, test=(accuracy, loss),
        )  # fmt: skip
        self.journal.add("test", self.step, accuracy=accuracy, loss=loss)
        if self.path is not None and self.world.leads:
            Checkpoint(self.identity, self.step, best["model"], None, None, self.stale, (0.0, 0), result.plain()).save(
                self.path
            )
        self.model.zero_grad(set_to_none=True)
        return Trained(self.model.eval(), result, self.journal.records)

    def _reseed(self, *what: int | str) -> None:
        """All randomness from here on belongs to this seed, purpose and process."""
        number = mixed(self.seed, *what, self.world.rank if what != ("weights",) else 0)
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)


def _describe(task: Task) -> dict[str, Any]:
    """What a task is, with a checksum of everything in it."""
    check = 0
    for split in (task.train, task.valid, task.test):
        for held in (split.tokens, split.labels):
            check = zlib.crc32(_bytes(held), check)
    return {
        "name": task.name,
        "vocabulary": task.vocabulary,
        "classes": task.classes,
        "length": task.length,
        "pad": task.pad,
        "pair": task.train.tokens.ndim == 3,
        "sequences": [len(task.train), len(task.valid), len(task.test)],
        "checksum": check,
    }


def _bytes(held: Tensor) -> Any:
    return held.contiguous().numpy().data
