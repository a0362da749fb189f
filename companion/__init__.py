"""What makes `fcl`, the method, a companion to its paper: runs, evidence, tables and figures, claims."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from companion.photographs.own import own_stack

__all__ = ["own_stack"]


def __getattr__(name: str) -> object:
    """`own_stack`, imported when it is asked for: it needs torch, which takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'companion' has no attribute {name!r}")
    from companion.photographs.own import own_stack

    return own_stack
