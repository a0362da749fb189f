"""What all tests share."""

import torch

torch.set_num_threads(1)  # the suite runs in several processes: more threads would only wait for each other
