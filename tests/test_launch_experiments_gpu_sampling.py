"""The check that is meant for a GPU, on a CPU: that it runs, and that it sees tokens that differ."""

from contextlib import nullcontext

import pytest
import torch

from launch.experiments import gpu_sampling
from rl.sampling import cuda_graphs


class Again:
    """Stands in for a CUDA graph."""

    def __init__(self, step, device):
        self.replay = step


@pytest.fixture
def on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a CPU")
    monkeypatch.setattr(cuda_graphs, "_Recording", Again)
    monkeypatch.setattr(cuda_graphs, "_synchronizing_is_an_error", nullcontext)
    monkeypatch.setattr(gpu_sampling, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_sampling, "FAMILIES", {"llama": gpu_sampling.FAMILIES["llama"]})


def test_without_a_gpu_it_says_so(capsys):
    assert gpu_sampling.main() == 2
    assert "needs an NVIDIA GPU" in capsys.readouterr().out


def test_the_same_tokens_are_counted_and_bfloat16_is_close(on_a_cpu, capsys):
    assert gpu_sampling.main() == 0
    out = capsys.readouterr().out
    assert out.count("48 of 48") == 2
    assert float(out.split("trainer are ")[1].split()[0]) < 0.06


def test_other_tokens_are_an_error(on_a_cpu, monkeypatch, capsys):
    real = gpu_sampling.sample_batch

    def other(*args, seeds, ahead, **flags):
        return real(*args, seeds=[(9, *seed) if ahead else seed for seed in seeds], ahead=ahead, **flags)

    monkeypatch.setattr(gpu_sampling, "sample_batch", other)
    monkeypatch.setattr(gpu_sampling, "bfloat16_gaps", lambda: torch.zeros(1))
    assert gpu_sampling.main() == 1
