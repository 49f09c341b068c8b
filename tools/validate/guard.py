"""A pytest plugin that closes what nbval 0.11 leaves open when it validates one notebook of the
course.

nbval passes a cell that was never executed, an image that changed, an exception that did not come
and a magic that does not exist, and it waits 2000 s for a kernel that has died. Here each of these
fails, by notebook and cell, and so does a cell that leaves its limits: time, memory, size of its
outputs, network, files. What nbval does not know, outputs that are cleared or updated, is done
before it sees them. The same run, without stored outputs, records new ones.
"""

import base64
import collections
import copy
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
import zmq
from nbval import plugin as nbval
from nbval.kernel import RunningKernel

from tools.validate import sandbox, sanitize, varies
from tools.validate.result import RanCell

Output = Any
"""An output of a cell: nbformat's, a dict whose items are attributes too."""

# What an author might write to switch nbval's comparison off. In the course nothing is switched
# off.
SWITCHES = [
    tag
    for tag in (*nbval.metadata_tags, *nbval.comment_markers)
    if tag not in ("raises-exception", "nbval-check-output", "NBVAL_CHECK_OUTPUT")
]
# of a cell that is meant to write to stderr; its text is compared like any output
STDERR_TAG = "writes-stderr"
# Images are compared by the mean colours of squares, so many from left to right. Another smoothing
# of letters and lines changes one by 20 of 255 levels at most, a moved line or another word by 70.
SQUARES = 175
PIXEL_TOLERANCE = 32
ANSI = re.compile(r"\x1b\[[0-9;]*m")
_POLL = 0.1  # seconds
# of what a cell shows: more is slow in a reader's page, in an editor and in a difference
OUTPUT_MB = 2
# of what a cell sends for it: lines that overwrite each other, pictures that follow each other
SENT_MB = 20


_Files = dict[str, tuple[int, int] | None]
"""The files of some folders, each with what changes when it is written; None is a folder."""


class Guard:
    """Limits and extra checks for one notebook.

    seconds, memory_mb: what the notebook may take in all, kernel start included, and its largest
    process at any time. watched: folders in which nothing may change for good, the notebook's own
    first. isolated: whether this runs in a network namespace of its own. record: whether nothing is
    compared, as the outputs are to be stored. Afterwards `cells` has what became of each code cell,
    `peak_mb` the memory taken, and after a record `language` what the kernel says of itself.
    """

    def __init__(
        self,
        seconds: float,
        memory_mb: float,
        watched: Sequence[Path],
        isolated: bool,
        record: bool = False,
    ) -> None:
        self.seconds = seconds
        self.memory_mb = memory_mb
        self.watched = watched
        self.isolated = isolated
        self.record = record
        self.language: dict[str, Any] | None = None
        self.cells: list[RanCell] = []
        self.stopped: str | None = None  # why the kernel was ended, once it was
        self.started = 0.0
        self.files: _Files = {}  # what the watched folders held at first
        self.peak_mb = 0.0
        self.changes: dict[str, int] = {}  # path -> the cell that changed it

    # pytest's hooks

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> "_File | None":
        """Collect a notebook; nbval, which is called without --nbval, leaves that to us."""
        if file_path.suffix != ".ipynb":
            return None
        file: _File = _File.from_parent(parent, path=file_path)
        return file

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: Any) -> Iterator[None]:
        if self.stopped:
            pytest.skip("not run, since the kernel was ended before")
        self.started = self.started or time.monotonic()
        yield  # the first time this starts the kernel, which writes its connection file
        self.files = self.files or self._files()
        kernel = item.parent.kernel
        if self.record and self.language is None:
            self.language = _language(kernel.kc)
        kernel.outputs = _Outputs(kernel.kc, item, lambda: self._measure(kernel))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: Any) -> Iterator[None]:
        refused = sandbox.refused_connections()
        problems = self._static_problems(item)
        try:
            try:
                yield
            except nbval.NbCellError as error:
                problems.append(
                    ANSI.sub("", "\n".join(filter(None, [str(error), error.inner_traceback])))
                )
            except pytest.skip.Exception:
                pass  # for which an author has switched it off, and `problems` says so
            self._measure(item.parent.kernel)
        except _Stopped as stop:
            self.stopped = str(stop)
            problems.append(self.stopped)
            item.parent.kernel.stop()
        outputs = in_order(nbval.coalesce_streams(item.test_outputs or []))
        problems += self._dynamic_problems(item, outputs, refused)
        item.user_properties += [
            ("problems", problems),
            ("count", item.parent.kernel.outputs.count),
            ("outputs", outputs if megabytes(outputs) <= OUTPUT_MB else []),
        ]
        assert not problems, problems

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        known: dict[str, Any] = dict(report.user_properties)
        problems = known.get("problems")
        if problems is None:  # not run, or a fault outside the cell
            problems = [
                report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            ]
        number = int(report.nodeid.rsplit(" ", 1)[-1]) + 1
        self.cells.append(
            {
                "cell": number,
                "outcome": report.outcome,
                "problems": problems,
                "seconds": round(report.duration, 3),
                "outputs": known.get("outputs")
                if report.outcome == "failed" or self.record
                else None,
                "count": known.get("count"),
            }
        )

    # what is checked

    def _static_problems(self, item: Any) -> list[str]:
        """What is wrong with a cell before it runs."""
        cell = item.cell
        problems = []
        if cell.source.strip() and cell.execution_count is None and not self.record:
            problems.append(
                "this cell was never executed, so there is nothing to compare with: make refresh"
            )
        marked = [
            word
            for word in SWITCHES
            if word in cell.metadata.get("tags", []) or f"# {word}" in cell.source
        ]
        if marked:
            problems.append(
                f"{marked[0]} switches the comparison off, which no notebook of the "
                "course may: remove it"
            )
        return problems

    def _dynamic_problems(self, item: Any, outputs: list[Output], refused: int) -> list[str]:
        """What is wrong with a cell that has run.

        refused: how many connections had been refused before it.
        """
        problems = self._output_problems(item, outputs)
        attempts = sandbox.refused_connections() - refused if self.isolated else 0
        if attempts:
            problems.append(
                f"tried to open a network connection ({attempts} refused): the course runs offline"
            )
        return problems + self._file_problems(item)

    def _output_problems(self, item: Any, outputs: list[Output]) -> list[str]:
        problems = []
        if megabytes(outputs) > OUTPUT_MB and not self.stopped:
            problems.append(
                f"shows {megabytes(outputs):.1f} MB, and a page shows {OUTPUT_MB} MB of a "
                "cell: show a part, or write a file"
            )
        errors = [out for out in outputs if out.output_type == "error"]
        if item.options["check_exception"] and not errors and not self.stopped:
            problems.append("tagged raises-exception, but it raised nothing")
        stderr = "".join(
            out.text for out in outputs if out.output_type == "stream" and out.name == "stderr"
        )
        if "UsageError:" in stderr:
            problems.append(f"a magic failed: {stderr.strip()}")
        elif stderr and STDERR_TAG not in item.cell.metadata.get("tags", []):
            problems.append(f"wrote to stderr without the tag {STDERR_TAG}: {stderr.strip()[:500]}")
        return problems

    def _file_problems(self, item: Any) -> list[str]:
        """Note which files this cell changed; after the last cell, what is left of all changes."""
        files = self._files()
        written = {path for path, _ in set(files.items()) - set(self.files.items())}
        gone = set(self.files) - set(files)
        for path in [*sorted(written), *sorted(gone)]:
            self.changes.setdefault(path, item.cell_num + 1)
        for path in set(self.changes) - gone - written:
            del self.changes[path]
        if item is not item.session.items[-1] or self.stopped:
            return []
        return [
            self._left(path, cell, path in gone)
            for path, cell in sorted(self.changes.items())
            if os.path.dirname(path) not in self.changes
        ]

    def _left(self, path: str, cell: int, gone: bool) -> str:
        """What to do about a file that cell number `cell` made, changed, or removed for good."""
        name = os.path.relpath(path, self.watched[0])
        if gone or path in self.files:
            return (
                f"{name} was {'removed' if gone else 'changed'} by cell {cell}, and it is "
                "there for the next run too: work on a copy of it"
            )
        return f"{name} was left by cell {cell}: remove it in the last cell"

    def _files(self) -> _Files:
        """Every file in the watched folders, with what changes when it is written."""
        files: _Files = {}
        for top in self.watched:
            for folder, folders, names in os.walk(top):
                folders[:] = [
                    name for name in folders if not name.startswith("Rtmp")
                ]  # R's own, removed when it ends
                for name in (*folders, *names):
                    path = os.path.join(folder, name)
                    status = os.lstat(path)
                    files[path] = None if name in folders else (status.st_size, status.st_mtime_ns)
        return files

    # limits, looked at while a cell runs

    def _measure(self, kernel: Any) -> None:
        """Note the peak memory of the kernel and its children; stop at a limit."""
        if not kernel.is_alive():
            raise _Stopped("the kernel died while running this cell")
        pid = kernel.km.provisioner.process.pid
        try:
            for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
                self.peak_mb = max(self.peak_mb, _peak_mb(process.pid))
        except psutil.NoSuchProcess:
            pass
        if self.peak_mb > self.memory_mb:
            raise _Stopped(
                f"took {self.peak_mb:.0f} MB; the notebook declares memory_mb: "
                f"{self.memory_mb}. Take less, or declare more"
            )
        if time.monotonic() - self.started > self.seconds:
            raise _Stopped(
                "the notebook's limit was reached here; it declares seconds: "
                f"{self.seconds}. Take less, or declare more"
            )


class _Outputs:
    """The outputs of one cell, on their way from the kernel to nbval.

    They are taken in while the cell runs: what waits too long in a queue is lost. `count` is the
    number that the kernel gave the cell.
    """

    def __init__(self, client: Any, item: Any, measure: Callable[[], None]) -> None:
        self.client = client
        self.item = item
        self.measure = measure
        self.measured = time.monotonic()
        self.waiting: collections.deque[dict[str, Any]] = collections.deque()
        self.msg_id: str | None = None
        self.sent_mb = 0.0
        self.count: int | None = None
        self.clear_next = False
        # the id of a display -> where its outputs stand
        self.displayed: dict[str, list[int]] = collections.defaultdict(list)

    def gather(self, msg_id: str) -> None:
        """Return when the kernel has answered the request `msg_id`; _Stopped at a limit."""
        self.msg_id = msg_id
        while not self._take():
            pass

    def next(self) -> dict[str, Any]:
        """Return the next message of the cell that nbval understands; _Stopped at a limit."""
        while True:
            while not self.waiting:
                self._take()
            message = self.waiting.popleft()
            own = message["parent_header"].get("msg_id") == self.msg_id
            if not (own and self._apply(message["msg_type"], message["content"])):
                return message

    def _take(self) -> bool:
        """Take in what the kernel sends now; return whether it has answered."""
        channels = {
            channel.socket: channel
            for channel in (self.client.iopub_channel, self.client.shell_channel)
        }
        poller = zmq.Poller()
        for socket in channels:
            poller.register(socket, zmq.POLLIN)
        answered = False
        for socket, _ in poller.poll(int(_POLL * 1000)):
            message = channels[socket].get_msg(timeout=0)
            if channels[socket] is self.client.iopub_channel:
                self._receive(message)
            else:
                answered = answered or message["parent_header"].get("msg_id") == self.msg_id
        if time.monotonic() - self.measured > _POLL:
            self.measure()
            self.measured = time.monotonic()
        return answered

    def _receive(self, message: dict[str, Any]) -> None:
        content = message["content"]
        self.waiting.append(message)
        self.count = content.get("execution_count", self.count)
        self.sent_mb += megabytes([content])
        if self.sent_mb > SENT_MB:
            raise _Stopped(
                f"it sent more than {SENT_MB} MB of outputs, and a page shows {OUTPUT_MB} "
                "MB: show a part, or write a file"
            )

    def _apply(self, kind: str, content: dict[str, Any]) -> bool:
        """Do what a message asks to be done with earlier outputs; return whether that is all that
        it is for.
        """
        outputs = self.item.test_outputs
        if kind == "clear_output":
            self.clear_next = True
            if not content.get("wait"):
                self._clear(outputs)
        elif kind == "update_display_data":
            for index in self.displayed[content.get("transient", {}).get("display_id")]:
                outputs[index].update(data=content["data"], metadata=content["metadata"])
        elif kind in ("stream", "display_data", "execute_result", "error"):
            if self.clear_next:
                self._clear(outputs)
            if display := content.get("transient", {}).get("display_id"):
                self.displayed[display].append(len(outputs))
        return kind in ("clear_output", "update_display_data")

    def _clear(self, outputs: list[Output]) -> None:
        outputs.clear()
        self.displayed.clear()
        self.clear_next = False


def megabytes(outputs: Sequence[dict[str, Any]]) -> float:
    """The size of outputs in megabytes, as they are sent and as they are stored."""
    texts = [
        text
        for out in outputs
        for text in (out.get("text"), out.get("evalue"), *(out.get("data") or {}).values())
    ]
    return sum(len(text if isinstance(text, str) else str(text)) for text in texts if text) / 1e6


def _language(client: Any) -> dict[str, Any]:
    """What the kernel says of its language, as a notebook stores it."""
    language: dict[str, Any] = client.kernel_info(reply=True, timeout=30)["content"][
        "language_info"
    ]
    return language


def in_order(outputs: list[Output]) -> list[Output]:
    """The outputs with stdout before stderr where they meet: which one arrives first is chance."""
    names = [output.get("name") for output in outputs]
    for index in range(len(outputs) - 1):
        if names[index : index + 2] == ["stderr", "stdout"]:
            outputs = [*outputs[:index], outputs[index + 1], outputs[index], *outputs[index + 2 :]]
    return outputs


class _Stopped(Exception):
    """The kernel cannot go on; says why."""


def _peak_mb(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            return next(
                (int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")), 0.0
            )
    except OSError:
        return 0.0


def _pictures_differ(reference: str, fresh: str) -> str | None:
    """None if two base64 images show the same, else how they differ."""
    # It takes long to import, and few notebooks have pictures.
    from PIL import Image, ImageChops

    if reference == fresh:
        return None
    before, after = (
        Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA")
        for text in (reference, fresh)
    )
    if before.size != after.size:
        return (
            f"the image was {before.size[0]}x{before.size[1]} and is "
            f"{after.size[0]}x{after.size[1]}"
        )
    side = max(1, before.width // SQUARES)
    worst = max(ImageChops.difference(before.reduce(side), after.reduce(side)).tobytes(), default=0)
    return f"the image differs, by up to {worst} of 255 levels" if worst > PIXEL_TOLERANCE else None


def _images(outputs: list[Output], kind: str) -> list[str]:
    return [out.data[kind] for out in outputs if kind in out.get("data", {})]


class _Cell(nbval.IPyNbCell):  # type: ignore[misc]  # nbval has no types
    """A cell whose images are compared too, which nbval leaves out."""

    def compare_outputs(
        self, test: list[Output], ref: list[Output], skip_compare: Any = None
    ) -> bool:
        if megabytes(test) > OUTPUT_MB:
            return True  # which is told by itself; to compare it takes very long
        tags = self.cell.metadata.get("tags", [])
        # A folder's own name may have a space, so it becomes that of a reader first.
        patterns = [
            {"regex": regex, "replace": name}
            for regex, name in self.parent.sanitize_patterns.items()
        ]
        fresh, stored = (
            nbformat.from_dict(sanitize.apply(patterns, outputs))
            for outputs in (nbval.coalesce_streams(copy.deepcopy(test)), ref)
        )
        test = varies.settled(fresh, stored, tags)
        if not super().compare_outputs(test, ref, skip_compare):
            return False
        for kind in ("image/png", "image/jpeg"):
            before, after = _images(ref, kind), _images(test, kind)
            if len(before) != len(after):
                self.comparison_traceback.append(
                    f"stored are {len(before)} images ({kind}), a fresh run gives {len(after)}"
                )
                return False
            for difference in filter(None, map(_pictures_differ, before, after)):
                self.comparison_traceback.append(difference)
                return False
        return True


class _Kernel(RunningKernel):  # type: ignore[misc]
    """A kernel whose messages pass through `outputs`, those of the cell that runs."""

    outputs: _Outputs | None = None  # until the first cell, nbval makes sure that it answers

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        if self.outputs:
            self.outputs.gather(msg_id)
        else:
            super().await_reply(msg_id, timeout)

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        message: dict[str, Any] = (
            self.outputs.next() if self.outputs else super().get_message(stream, timeout)
        )
        return message

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        """Run a cell with a history, as Jupyter does: without it `_` and Out are empty, and a
        semicolon hides no output.
        """
        msg_id: str = self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)
        return msg_id


class _File(nbval.IPyNbFile):  # type: ignore[misc]
    """A notebook with such cells and such a kernel."""

    def setup(self) -> None:
        self.kernel = _Kernel(self.nb.metadata.kernelspec.name, cwd=os.fspath(self.path.parent))
        self.setup_sanitize_files()

    def collect(self) -> Iterator[_Cell]:
        for cell in super().collect():
            yield _Cell.from_parent(
                self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
            )
