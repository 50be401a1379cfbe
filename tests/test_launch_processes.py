"""What processes tell each other."""

import torch

from launch.processes import Processes


def test_one_process_gathers_without_a_group():
    """Through a group, a thread of it would compute, and with it slow down every later operator on a CPU."""
    assert Processes(0, 1, 1, torch.device("cpu")).gather({"value": 1}) == [{"value": 1}]
