from collections.abc import Callable


async def app(scope: dict, receive: Callable, send: Callable) -> None:
    """Stands for your app: it answers every request with one line."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"Hello from the job\n"})
