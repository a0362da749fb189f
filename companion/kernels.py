"""How an executed notebook reaches its kernel: sockets of its own, and no reply overlooked."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import zmq
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type
from traitlets.config import Config


class Channel(AsyncZMQSocketChannel):
    """A channel whose messages are noticed though they come while another is sent.

    A socket signals a message once. Sending takes that signal, and who waits for the message waits for ever: nbclient's cell
    with a slider, which sends to the kernel while the cell's reply is on its way (jupyter/nbclient#312).
    """

    def send(self, msg: dict[str, Any]) -> None:
        """Send, and look for messages that have come meanwhile."""
        super().send(msg)
        self.socket.get(zmq.EVENTS)


class Client(AsyncKernelClient):
    """A client of a kernel, with such a channel for its requests."""

    shell_channel_class = Type(Channel)


@contextlib.contextmanager
def own_kernel() -> Iterator[dict[str, Any]]:
    """Options of papermill for a kernel with `Client` that talks through files of its own, which are removed at the end.

    TCP ports are raced for by kernels that start together. Windows has nothing else.
    """
    client = {"AsyncKernelManager": {"client_factory": Client}}
    if sys.platform == "win32":
        yield {"config": Config(client)}
        return
    with tempfile.TemporaryDirectory(prefix="fcl") as folder:  # short: a socket's path has about 100 letters
        yield {"config": Config(client | {"KernelManager": {"transport": "ipc", "ip": f"{folder}/k"}})}
