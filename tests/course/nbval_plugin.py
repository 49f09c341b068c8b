"""A pytest plugin that closes what nbval 0.11 leaves open when it validates one notebook of the course.

nbval passes a cell that was never executed, an image that changed, an exception that did not come and a magic that
does not exist, and it waits 2000 s for a kernel that has died. Here each of these fails, by notebook and cell, and so
does a cell that leaves its limits: time, memory, network, files.
"""
import base64
import io
import os
import re
import time
from queue import Empty

import psutil
import pytest
from nbval import plugin as nbval

from . import sandbox

# What an author might write to switch nbval's comparison off. In the course nothing is switched off.
SWITCHES = [tag for tag in (*nbval.metadata_tags, *nbval.comment_markers) if tag not in ("raises-exception", "nbval-check-output", "NBVAL_CHECK_OUTPUT")]
STDERR_TAG = "writes-stderr"  # a cell that is meant to write to stderr; its text is compared like any output
PIXEL_TOLERANCE = 16  # of 255: font and line smoothing differ by a few, a moved point by hundreds
ANSI = re.compile(r"\x1b\[[0-9;]*m")
_POLL = 0.1  # seconds


class Guard:
    """Limits and extra checks for one notebook.

    seconds, memory_mb: what the notebook may take in all, kernel start included, and its largest process at any time.
    watched: folders in which nothing may change for good, the notebook's own first. isolated: whether this runs in a
    network namespace of its own. Afterwards `cells` has a dict for each code cell, and `peak_mb` the memory taken.
    """

    def __init__(self, seconds, memory_mb, watched, isolated):
        self.seconds, self.memory_mb, self.watched, self.isolated = seconds, memory_mb, watched, isolated
        self.cells = []
        self.stopped = None  # why the kernel was ended, once it was
        self.started = None
        self.files = None  # what the watched folders held at first
        self.peak_mb = 0.0
        self.changes = {}  # path -> the cell that changed it

    # pytest's hooks

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        if self.stopped:
            pytest.skip("not run, since the kernel was ended before")
        self.started = self.started or time.monotonic()
        yield  # the first time this starts the kernel, which writes its connection file
        self.files = self.files or self._files()
        kernel = item.parent.kernel
        kernel.await_reply = lambda msg_id, timeout=None: self._await_reply(kernel, msg_id)
        # With a history, as Jupyter runs cells: without it `_` and Out are empty, and a semicolon hides no output.
        kernel.execute_cell_input = lambda source, allow_stdin=None: kernel.kc.execute(source, allow_stdin=allow_stdin, stop_on_error=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        refused = sandbox.refused_connections()
        problems = self._static_problems(item)
        try:
            try:
                yield
            except nbval.NbCellError as error:
                problems.append(ANSI.sub("", "\n".join(filter(None, [str(error), error.inner_traceback]))))
            except pytest.skip.Exception:
                pass  # for which an author has switched it off, and `problems` says so
            self._measure(item.parent.kernel)
        except _Stopped as stop:
            self.stopped = str(stop)
            problems.append(self.stopped)
            item.parent.kernel.stop()
        problems += self._dynamic_problems(item, refused)
        item.user_properties += [("problems", problems), ("outputs", item.test_outputs or [])]
        assert not problems, problems

    def pytest_runtest_logreport(self, report):
        if report.when != "call" and report.outcome == "passed":
            return
        known = dict(report.user_properties)
        problems = known.get("problems")
        if problems is None:  # not run, or a fault outside the cell
            problems = [report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)]
        number = int(report.nodeid.rsplit(" ", 1)[-1]) + 1
        self.cells.append({"cell": number, "outcome": report.outcome, "problems": problems, "seconds": round(report.duration, 3),
                           "outputs": known.get("outputs") if report.outcome == "failed" else None})

    # what is checked

    def _static_problems(self, item):
        cell, problems = item.cell, []
        if cell.source.strip() and cell.execution_count is None:
            problems.append("this cell was never executed, so there is nothing to compare with: make refresh")
        marked = [word for word in SWITCHES if word in cell.metadata.get("tags", []) or f"# {word}" in cell.source]
        if marked:
            problems.append(f"{marked[0]} switches the comparison off, which no notebook of the course may: remove it")
        return problems

    def _dynamic_problems(self, item, refused):
        problems, outputs = [], item.test_outputs or []
        errors = [out for out in outputs if out.output_type == "error"]
        if item.options["check_exception"] and not errors and not self.stopped:
            problems.append("tagged raises-exception, but it raised nothing")
        stderr = "".join(out.text for out in outputs if out.output_type == "stream" and out.name == "stderr")
        if "UsageError:" in stderr:
            problems.append(f"a magic failed: {stderr.strip()}")
        elif stderr and STDERR_TAG not in item.cell.metadata.get("tags", []):
            problems.append(f"wrote to stderr without the tag {STDERR_TAG}: {stderr.strip()[:500]}")
        attempts = sandbox.refused_connections() - refused if self.isolated else 0
        if attempts:
            problems.append(f"tried to open a network connection ({attempts} refused): the course runs offline")
        files = self._files()
        changed = sorted(set(files.items()) - set(self.files.items()))
        gone = sorted(set(self.files) - set(files))
        for path in [path for path, _ in changed] + gone:
            self.changes.setdefault(path, item.cell_num + 1)
        for path in set(self.changes) - set(gone) - {path for path, _ in changed}:
            del self.changes[path]
        if item is item.session.items[-1] and not self.stopped:
            problems += [f"{os.path.relpath(path, self.watched[0])} was left changed by cell {cell}: tidy up, or write to a temporary folder"
                         for path, cell in sorted(self.changes.items())]
        return problems

    def _files(self):
        """Every file in the watched folders, with what changes when it is written."""
        files = {}
        for top in self.watched:
            for folder, folders, names in os.walk(top):
                folders[:] = [name for name in folders if not name.startswith("Rtmp")]  # R's own, removed when it ends
                for name in (*folders, *names):
                    path = os.path.join(folder, name)
                    status = os.lstat(path)
                    files[path] = None if name in folders else (status.st_size, status.st_mtime_ns)
        return files

    # limits, looked at while a cell runs

    def _await_reply(self, kernel, msg_id):
        while True:
            try:
                message = kernel.get_message(stream="shell", timeout=_POLL)
            except Empty:
                self._measure(kernel)
                continue
            if message["parent_header"].get("msg_id") == msg_id:
                return

    def _measure(self, kernel):
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
            raise _Stopped(f"took {self.peak_mb:.0f} MB; the notebook declares memory_mb: {self.memory_mb}")
        if time.monotonic() - self.started > self.seconds:
            raise _Stopped(f"the notebook's limit was reached here; it declares seconds: {self.seconds}")


class _Stopped(Exception):
    """The kernel cannot go on; says why."""


def _peak_mb(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")), 0.0)
    except OSError:
        return 0.0


def _pictures_differ(reference, fresh):
    """None if two base64 images show the same, else how they differ."""
    from PIL import Image, ImageChops

    if reference == fresh:
        return None
    before, after = (Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA") for text in (reference, fresh))
    if before.size != after.size:
        return f"the image was {before.size[0]}x{before.size[1]} and is {after.size[0]}x{after.size[1]}"
    extrema = ImageChops.difference(before, after).getextrema()
    worst = max(high for _, high in extrema)
    return f"the image differs, by up to {worst} of 255 levels" if worst > PIXEL_TOLERANCE else None


def _images(outputs, kind):
    return [out.data[kind] for out in outputs if kind in out.get("data", {})]


def _compare_outputs(cell, fresh, stored, skip_compare=None, plain=nbval.IPyNbCell.compare_outputs):
    """nbval's own comparison, which leaves images out, and then the images."""
    if not plain(cell, fresh, stored, skip_compare):
        return False
    for kind in ("image/png", "image/jpeg"):
        before, after = _images(stored, kind), _images(fresh, kind)
        if len(before) != len(after):
            cell.comparison_traceback.append(f"stored are {len(before)} images ({kind}), a fresh run gives {len(after)}")
            return False
        for difference in filter(None, map(_pictures_differ, before, after)):
            cell.comparison_traceback.append(difference)
            return False
    return True


nbval.IPyNbCell.compare_outputs = _compare_outputs
