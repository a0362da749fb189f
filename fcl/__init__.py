"""A companion to "Stable Autofocus with Focal Consistency Loss" (Lee, Choi, Lee and Lee, WACV 2025): the
losses, the networks, a simulator of dual-pixel focal stacks, and the measurements behind every table and
figure. Each thing is defined here once; the notebooks and the workflow only use it. Import from the module
that has what you need, for example `from fcl.losses import focal_consistency_loss`."""

__version__ = "0.1.0"
