"""Sizes of networks without their numbers."""

import subprocess
import sys

import torch
from torch import nn

from scenewise.networks.sizes_only import sizes_only
from scenewise.networks.small_clip import SmallClip, SmallClipShape


def test_sizes_are_those_of_the_network():
    shape = SmallClipShape()
    with sizes_only():
        empty = SmallClip(shape).state_dict()
    assert all(tensor.is_meta for tensor in empty.values())
    full = SmallClip(shape).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in empty.items()} == {
        name: tuple(tensor.shape) for name, tensor in full.items()
    }
    after = nn.Linear(2, 3)
    assert not after.weight.is_meta and torch.randn(4).abs().sum() > 0  # nothing stays behind


def test_the_embedded_teacher_loads_without_torch_s_compiler():
    script = (
        "import sys; from scenewise.teachers.small_clip import load_small_clip; load_small_clip(); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
