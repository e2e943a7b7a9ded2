"""Peak memory of a run."""

from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far, so that the next reading is of what follows."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        _RESET.write_text("5")  # Linux: set the high-water mark to the present size


def peak_memory(device: torch.device) -> int:
    """Return the peak in bytes since the last reset.

    On CUDA it is what the allocator handed out; on the CPU the whole process, where the system
    tells it (Linux), else 0.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not _STATUS.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
