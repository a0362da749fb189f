"""The focal consistency loss, the networks, and a simulator of dual-pixel focal stacks: the method of Lee, Choi, Lee and
Lee, "Stable Autofocus with Focal Consistency Loss" (WACV 2025). Everything listed here is imported from where it is
defined when it is first asked for: `import fcl` alone, or `fcl.metrics`, needs no torch.

>>> from fcl import Config
>>> Config(setting="D1", lambda_msd=2, lambda_kld=2).trunk_iterations
300
"""

from importlib import import_module

__version__ = "0.1.0"

# fcl/__init__.pyi says the same to editors and type checkers.
_DEFINED_IN = {
    "checkpoints": ("load_model",),
    "config": ("Config",),
    "learnaf": ("learnaf_stacks",),
    "losses": (
        *("focal_consistency_loss", "ordinal_loss", "mean_standard_deviation"),
        *("kl", "jeffreys", "jensen_shannon", "pairwise"),
    ),
    "metrics": ("evaluate", "mae", "rmse", "within", "msd_star", "total_variation"),
    "models": ("build_model",),
    "optics": ("FOCUS_DISTANCES_MM", "blur_diameter", "dual_pixel_kernels"),
    "prediction": ("predict",),
    "simulator": ("simulate_stacks",),
    "stacks": ("FocalStacks",),
    "training": ("train",),
}
_HOME = {name: module for module, names in _DEFINED_IN.items() for name in names}
__all__ = sorted(_HOME.keys() - {"learnaf_stacks"})  # which needs more than `fcl` itself: the extra `photographs`


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
