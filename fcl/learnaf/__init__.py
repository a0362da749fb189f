"""The public photographs of "Learning to Autofocus" (Herrmann et al., CVPR 2020), read as focal stacks."""

from fcl.learnaf.patches import learnaf_stacks

__all__ = ["learnaf_stacks"]
