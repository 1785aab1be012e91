"""The device and the precision of training; a run may continue with other ones."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from monge._checks import check_choice, check_number
from monge.errors import InputError

__all__ = ["MachineConfig"]


@dataclass(frozen=True)
class MachineConfig:
    """Device, precision and compilation.

    Args:
        device: as torch names it; None is a CUDA device if there is one (each process has its own), else the CPU.
        precision: ``"float32"``, ``"bfloat16"`` for mixed precision, or ``"auto"``: mixed if the device has it.
        compile: pass the model through ``torch.compile``.
        checkpoint_seconds: a checkpoint is written when the last one is this old, and also after every evaluation.

    Raises:
        InputError: the device is unknown or does not exist, or a choice is unknown.
    """

    device: str | None = None
    precision: str = "auto"
    compile: bool = False
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        check_number("checkpoint_seconds", self.checkpoint_seconds, low=0.0)
        self.torch_device()

    def torch_device(self) -> torch.device:
        """The device that torch uses."""
        found = torch.cuda.is_available()
        try:
            device = torch.device(self.device or ("cuda" if found else "cpu"))
            if device.type == "cuda" and device.index is None:
                # torchrun numbers the processes of a machine.
                device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        except RuntimeError as error:
            raise InputError(f"device={self.device!r} is unknown to torch: use 'cpu' or 'cuda'.") from error
        if device.type == "cuda" and (not found or (device.index or 0) >= torch.cuda.device_count()):
            raise InputError(
                f"device={self.device!r} does not exist: torch has {torch.cuda.device_count()} CUDA devices; use 'cpu'."
            )
        if device.type not in ("cpu", "cuda"):
            raise InputError(f"device={self.device!r} is not supported: use 'cpu' or 'cuda'.")
        return device

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context (mixed precision or not) in which forward passes run."""
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        mixed = self.precision == "bfloat16" or (self.precision == "auto" and able)
        return torch.autocast(device.type, torch.bfloat16, enabled=mixed)
