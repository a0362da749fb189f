"""What all tests share."""

import shutil

import pytest
import torch
from miniature import confidence_map, depth_map, write_capture

from companion.project import use_own_caches

use_own_caches(always=True)  # whatever state the home folder is in
torch.set_num_threads(1)  # the suite runs in several processes: more threads would only wait for each other


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    root = tmp_path_factory.mktemp("learnaf")
    write_capture(root / "train1", "apt1_0", depth=depth_map(), confidence=confidence_map())
    write_capture(root / "test", "books_5", seed=1)
    return root


@pytest.fixture
def root(miniature, tmp_path):
    """The training capture of the miniature alone, to spoil."""
    shutil.copytree(miniature / "train1", tmp_path / "root/train1")
    return tmp_path / "root"
