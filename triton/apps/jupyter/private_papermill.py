"""papermill, with a kernel that nobody else on the node can read or reach."""

from tempfile import TemporaryDirectory
from typing import Any

from papermill.cli import papermill
from papermill.engines import NBClientEngine, papermill_engines
from traitlets.config import Config


class Private(NBClientEngine):
    """The kernel has Unix sockets in a folder of its own, and no ports."""

    @classmethod
    def execute_managed_notebook(cls, *arguments: Any, **options: Any) -> None:
        with TemporaryDirectory() as folder:
            sockets = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
            options["config"] = Config({"KernelManager": sockets})
            super().execute_managed_notebook(*arguments, **options)


papermill_engines.register(None, Private)
papermill()
