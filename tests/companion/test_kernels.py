"""A kernel's reply is noticed, whatever else is said on its channel."""

import asyncio
import contextlib
import time

import pytest
import zmq
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.session import Session

from companion.kernels import Channel, Client, own_kernel


async def reply_that_comes_while_sending(kind):
    """What the channel gives, within two seconds, of a reply that lay there before another message was sent."""
    session, context = Session(key=b"key"), zmq.asyncio.Context.instance()
    with zmq.Context.shadow(context.underlying).socket(zmq.ROUTER) as kernel, context.socket(zmq.DEALER) as socket:
        kernel.bind("inproc://kernel")
        socket.connect("inproc://kernel")
        channel = kind(socket, session)
        channel.send(session.msg("execute_request"))
        identity, *_ = kernel.recv_multipart()
        waiting = asyncio.create_task(channel.get_msg())
        await asyncio.sleep(0.01)  # it begins to wait
        session.send(kernel, "execute_reply", ident=identity)
        time.sleep(0.1)  # nobody looks while the reply comes
        channel.send(session.msg("comm_msg"))
        with contextlib.suppress(asyncio.TimeoutError):
            return (await asyncio.wait_for(waiting, 2))["msg_type"]


@pytest.mark.parametrize(
    ("kind", "expected"), [(Channel, "execute_reply"), pytest.param(AsyncZMQSocketChannel, None, id="why Channel is needed")]
)
def test_a_reply_that_comes_while_something_is_sent_is_noticed(kind, expected):
    assert asyncio.run(reply_that_comes_while_sending(kind)) == expected


def test_a_notebook_is_executed_through_such_a_channel():
    with own_kernel() as options:
        client = AsyncKernelManager(kernel_name="python3", config=options["config"]).client()
    assert isinstance(client, Client) and client.shell_channel_class is Channel
