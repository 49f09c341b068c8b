"""JupyterLab shows what a server takes of its job, in the status bar.

A part of the configuration of each server, the hub's and sjupyter's. It is for
jupyter-resource-usage, and sets nothing where that is not installed.

Memory and processor time are those of the server and of all that it has started, such as kernels
and terminals. How much the job has of them stands in $MEM_LIMIT, in bytes, and in $CPU_LIMIT, in
cores: the hub's job.sh and sjupyter set both from what Slurm gave.
"""

c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter gives it to this file
c.ResourceUseDisplay.track_cpu_percent = True
c.ResourceUseDisplay.cpu_warning_threshold = 0  # it compares percents with cores, and warns always
c.ResourceUseDisplay.show_host_usage = False  # the node is shared with others
# Its other way to tell stops the server for 50 ms a process, each second (its issue 123).
c.ResourceUseDisplay.enable_prometheus_metrics = False
