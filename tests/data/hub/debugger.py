"""Start a kernel, and ask it for its debugger; print whether it agrees."""

from jupyter_client.manager import KernelManager

manager = KernelManager(transport="ipc")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=120)
asked = {"type": "request", "seq": 1, "command": "initialize", "arguments": {}}
client.control_channel.send(client.session.msg("debug_request", asked))
print(client.get_control_msg(timeout=60)["content"]["success"])
manager.shutdown_kernel(now=True)
