"""A spawner that runs each server as one Slurm job: batchspawner's SlurmSpawner with profiles,
which shows the user what Slurm says.

What it adds to SlurmSpawner:

* A user chooses one of the profiles and nothing else. Any other option in a request is refused.
* One squeue serves all servers. No server is ended because the controller does not answer.
* No job is forgotten, even if the hub or Slurm fails in the middle of a start (see jobs.py).
* The page says why a job waits, and by Slurm's state of the job why it ended, even before the
  server answered.
* The user is told that the home directory is full before the job is submitted. A home directory
  that does not answer delays nobody else.
* A server may tell the hub its port while it starts, and nothing else.
"""

import asyncio
import html
import json
import math
import os
import pwd
import shlex
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import batchspawner.api  # this import registers the handler that the end of this file replaces
from batchspawner.batchspawner import JobStatus, format_template
from certificates import KnownByName
from clusterfacts import Profile  # copied from triton/lib
from jobs import JOB_NAME, Job, Jobs, SlurmRefuses, SlurmSilent, in_thread
from jupyterhub import orm
from jupyterhub.apihandlers import APIHandler, default_handlers
from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import Spawner
from slurm import CONNECTION, OF_EVERY_JOB
from tornado import web
from traitlets import Callable as Function
from traitlets import Float, Integer, List, Unicode, default

T = TypeVar("T")
# This code runs the Python script that follows on the command line, without one import that would
# take a second: jsonschema's check of international addresses. No schema of Jupyter has such an
# address (issue 1559 of jupyter_server). First it removes the current folder from the import path:
# the folder belongs to a user, who may have a types.py there. batchspawner tells the hub a free
# port, at which the server listens seconds later: until then a socket holds it, since among many
# servers that start at once another would take it.
FAST_START = """
import sys
sys.path[:] = [folder for folder in sys.path if folder]
import contextlib, runpy, socket
sys.modules["rfc3987_syntax"] = None
held = socket.socket()
def hold_port():
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("", 0))
    return held.getsockname()[1]
with contextlib.suppress(ImportError):
    import jupyterhub.utils
    jupyterhub.utils.random_port = hold_port
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


# ---------------------------------------------------------------- messages about states of Slurm

WAITS = {  # {Slurm's reason, up to its first comma: its meaning for the user who waits}
    "None": "Slurm looks for a place.",
    "Resources": "the cluster is busy, it starts when there is room.",
    "Priority": "the cluster is busy, others are before it in the queue.",
    "QOSMaxJobsPerUserLimit": "you have as many jobs as are allowed.",
    "AssocMaxJobsLimit": "you have as many jobs as are allowed.",
    "ReqNodeNotAvail": "the nodes are being serviced.",
    "PartitionDown": "its part of the cluster is closed for a while.",
    "Nodes required for job are DOWN": "the nodes are being serviced.",
}
STATES = {  # {state of a job that neither waits nor runs: its meaning}
    "SUSPENDED": "Slurm has stopped it for a while, and goes on with it later.",
    "CONFIGURING": "its node is made ready.",
    "COMPLETING": "it is about to end.",
}
ENDS = {  # {Slurm's state: the message for the user}
    "OUT_OF_MEMORY": "it took more memory than its profile allows, "
    "{most}, so Slurm killed it. {advice}",
    "TIMEOUT": "the time of its profile, {time}, was up. Files that were saved are there; "
    "variables "
    "are not.",
    "CANCELLED": "it was cancelled with scancel.",
    "NODE_FAIL": "its node failed. Start it again.",
    "BOOT_FAIL": "its node failed. Start it again.",
    "PREEMPTED": "Slurm needed its place for another job. Start it again.",
    "DEADLINE": "Slurm could not run it in time.",
    "COMPLETED": "it stopped by itself{idle}.",
}
UNUSED = (
    '<p class="alert alert-warning" id="unused">A profile that stops what is unused is '
    "for work that you sit at: a kernel that computes nothing "
    "and that no page shows is stopped after that time, and its variables are gone.</p>"
)
GONE_WRONG = "it ended with an error; Slurm says {state}. The end of its log says more."
NO_LOG = -53  # the signal that slurmd reports when it cannot open the log
EXITS = {  # {exit status of job.sh when it cannot start a server: the message for the user}
    101: "its node {node} has no room for the few files that a start needs, neither in /tmp "
    "nor in /var/tmp nor in /dev/shm. Tell the support, with the name of the node.",
    102: "it may not write into a folder of your home directory, which the end of its log "
    "names. Make that folder writable with chmod u+rwx and start again.",
    103: "your home directory is full: {home_advice}",
    NO_LOG: "Slurm on its node {node} could not write its log into your home directory {home}: "
    "it is full, or you may not write there, or the node "
    "does not have it. On the login node, touch ~/try says which.",
}
PUT_BACK = {
    "PENDING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
}  # states of a job that ran, and that Slurm would start again


def kill_limit(profile: Profile) -> float:
    """The bytes of memory above which Slurm kills a server of this profile."""
    return profile.kill_bytes or math.inf


class NotStarted(web.HTTPError):
    """A sentence for the user that says why no server starts."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(status, message.replace("%", "%%"))
        self.jupyterhub_message = message


# ---------------------------------------------------------------- checks that may hang


class Checks:
    """Calls functions that may hang on a disk or a daemon; at most MOST of them at once."""

    MOST = 64

    def __init__(self) -> None:
        self.tasks: dict[str, asyncio.Task[Any]] = {}

    async def check(self, name: str, seconds: float, function: Callable[[], T]) -> T:
        """The answer of `function`.

        Callers who ask for the same name meanwhile get the same answer. Raises TimeoutError if
        there is no answer within `seconds`.
        """
        if name not in self.tasks:
            if len(self.tasks) >= self.MOST:
                raise TimeoutError
            self.tasks[name] = asyncio.create_task(in_thread(function, None))
            self.tasks[name].add_done_callback(
                lambda task: (self.tasks.pop(name), task.cancelled() or task.exception())
            )
        return await asyncio.wait_for(asyncio.shield(self.tasks[name]), seconds)


# two, so that home directories that hang do not delay the checks of accounts
ACCOUNTS, HOMES = Checks(), Checks()


def wanted_jobs() -> set[str]:
    """The marks and numbers of the jobs of all servers that start or run."""
    servers = JupyterHub.instance().db.query(orm.Spawner).filter(orm.Spawner.server_id.isnot(None))
    return {
        server.state[key]
        for server in servers
        for key in ("mark", "job_id")
        if server.state and server.state.get(key)
    }


# ---------------------------------------------------------------- the spawner


class ProfileSpawner(KnownByName):
    profiles: "List[Profile]" = List(help="The Profiles that users choose from.").tag(config=True)
    modules: "List[str]" = List(help="Modules that the job loads first.").tag(config=True)
    links: "List[tuple[str, str]]" = List(
        help="(name, target) of the links in the folder where JupyterLab begins; a target may "
        "have shell variables."
    ).tag(config=True)
    log_pattern = Unicode(help="The logs, ~/NAME_*.log; the job's number stands for the *.").tag(
        config=True
    )
    log_days = Float(7, help="Logs older than this are removed at the next start.").tag(config=True)
    job_umask = Unicode("022", help="What files of the user may be created with.").tag(config=True)
    needed_mb = Integer(4, help="Megabytes that must be free in the home directory.").tag(
        config=True
    )
    needed_files = Integer(20, help="Files that the home directory must have room for.").tag(
        config=True
    )
    home_room = Function(
        help="home -> (bytes free, bytes in all): replace it where statvfs does not know the quota."
    ).tag(config=True)
    home_advice = Unicode(help="What to do when the home directory is full.").tag(config=True)
    server_config = Unicode(help="The configuration of each server: a Python file.").tag(
        config=True
    )
    refused_seconds = Integer(
        600,
        help="A server that the hub has refused for so long, since it does not know it any "
        "more, ends itself.",
    ).tag(config=True)
    home_seconds = Integer(
        5,
        help="Seconds in which a home directory has to answer; one that does not is not looked at.",
    ).tag(config=True)

    jobs: Jobs  # those of the hub; jupyterhub_config.py sets it
    mark = ""  # that of the start and of its job
    job: Job | None = None  # the job, as Slurm last described it
    pending_poll_interval = Float(
        0.5, help="Seconds between two looks at what is known of a job that waits."
    ).tag(config=True)
    ended = ""  # for the pages: why the last server ended
    stopping = False
    starting = False  # a job is submitted, and its server does not answer yet
    cut_off = False  # the hub was stopped while `starting` was true

    @default("home_room")
    def _home_room(self) -> Callable[[str], tuple[int, int]]:
        def room(home: str) -> tuple[int, int]:
            usage = shutil.disk_usage(home)
            return usage.free, usage.total

        return room

    # The user's choice.

    @property
    def profile(self) -> Profile:
        """The chosen profile; the first one if none is chosen."""
        name = (self.user_options or {}).get("profile")
        return next(
            (profile for profile in self.profiles if profile.name == name), self.profiles[0]
        )

    @default("options_form")
    def _form(self) -> Callable[[Spawner], str]:
        return self._render_form

    def _render_form(self, spawner: Spawner) -> str:
        rows, chosen = (
            [],
            self.profile
            if "profile" in (self.orm_spawner.user_options or {})
            else self.profiles[0],
        )
        for number, profile in enumerate(self.profiles):
            words = profile.in_words()
            texts = [html.escape(words[key]) for key in ("cores", "time", "memory", "kill", "idle")]
            rows.append(
                '<tr><th scope="row" class="text-nowrap"><input type="radio" '
                f'id="profile-{number}" name="profile" value="{html.escape(profile.name)}"'
                f"{' checked' if profile == chosen else ''}> <label "
                f'for="profile-{number}">{html.escape(profile.name)}</label></th>'
                + "".join(f"<td>{text}</td>" for text in texts)
                + "</tr>"
            )
        notice = (
            f'<p class="alert alert-warning" id="ended">{html.escape(self.ended)}</p>'
            if self.ended
            else ""
        )
        return (
            notice + '<table class="table"><thead><tr><th>Profile</th><th>Cores</th><th>Runs '
            "for</th><th>Memory</th><th>Killed above</th><th>When unused</th></tr>"
            f"</thead><tbody>{''.join(rows)}</tbody></table>{UNUSED}<p>Choose the least "
            "memory that you think you need.</p>"
        )

    @default("options_from_form")
    def _from_form(self) -> Callable[[dict[str, list[str]]], dict[str, str]]:
        # The form also has fields of its own: _xsrf and, from some pages, next.
        return lambda data: {key: values[0] for key, values in data.items() if key == "profile"}

    def options_from_query(self, query: object) -> NoReturn:
        """Refuse: a link starts no server, since anybody can have written it."""
        raise NotStarted("Nothing was started. Choose a profile, and press Start.", 400)

    @default("apply_user_options")
    def _apply(self) -> Callable[[Self, dict[str, Any]], None]:
        return type(self)._check_options

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse everything but the name of a profile. batchspawner would write any other option
        into the batch script.
        """
        if set(options) - {"profile"} or options.get("profile", self.profiles[0].name) not in [
            profile.name for profile in self.profiles
        ]:
            self.log.warning(
                "Refused options of %s: %s", self._log_name, sorted(map(str, options))[:5]
            )
            self.user_options = self.orm_spawner.user_options = {}
            raise NotStarted(
                "There is no such profile. Choose one of: "
                + ", ".join(profile.name for profile in self.profiles),
                400,
            )

    # The job.

    @property
    def home(self) -> str:
        return self.req_homedir

    def log_name(self, number: str) -> str:
        return self.log_pattern.replace("*", str(number))

    def get_env(self) -> dict[str, str]:
        # sudo and Slurm set HOME, USER and SHELL themselves. The job needs nothing else of the
        # hub's own environment.
        env = {
            key: value
            for key, value in super().get_env().items()
            if key.startswith(("JUPYTERHUB_", "JPY_")) and value is not None
        }
        return env | {"JUPYTERHUB_REFUSED_SECONDS": str(self.refused_seconds)}

    async def _check_home(self) -> None:
        """Check that the home directory exists and has room. Raises NotStarted."""
        try:
            self.req_homedir = await ACCOUNTS.check(
                self.user.name, 30, lambda: pwd.getpwnam(self.user.name).pw_dir
            )
        except KeyError:
            raise NotStarted(f"The cluster has no account {self.user.name}.", 403) from None
        except TimeoutError:
            raise NotStarted(
                "The cluster's list of accounts does not answer. Try again in some minutes.", 503
            ) from None
        try:
            trouble = await HOMES.check(self.home, self.home_seconds, self._trouble_at_home)
        except Exception as error:  # the state of the home is unknown, and the job will check it
            self.log.warning(
                "%s cannot be looked at before the start: %s",
                self.home,
                str(error) or "it does not answer",
            )
            return
        if trouble:
            raise NotStarted(trouble, 507)

    def _trouble_at_home(self) -> str | None:
        """Why no server could start in the home directory, in sentences; None if nothing is wrong.

        It may hang.
        """
        home = self.home
        try:
            status = os.stat(home)
        except FileNotFoundError:
            return (
                f"Your home directory {home} is not there. Log in to the cluster with ssh "
                "once, which makes it; if it is missing then, tell the support."
            )
        if not stat.S_ISDIR(status.st_mode):
            return f"{home}, your home directory, is no folder. Tell the support."
        if status.st_uid == pwd.getpwnam(self.user.name).pw_uid and status.st_mode & 0o700 != 0o700:
            return (
                f"You may not write into your own home directory {home}, so Jupyter cannot "
                "start there: chmod u+rwx ~ on the login node mends it."
            )
        free, total = self.home_room(home)
        if free < self.needed_mb * 2**20:
            return (
                f"Your home directory {home} is full: {free / 2**20:.1f} MB of "
                f"{total / 2**20:.0f} MB are free, "
                f"and Jupyter needs {self.needed_mb} MB to start. {self.home_advice}"
            )
        space = os.statvfs(home)
        if space.f_files and space.f_favail < self.needed_files:
            return (
                f"Your home directory {home} has room for {space.f_favail} more files, "
                f"and Jupyter needs {self.needed_files} to start, "
                f"whatever their size. {self.home_advice}"
            )
        return None

    def _script(self) -> str:
        profile = self.profile
        quoted = shlex.quote
        values = {
            "job_name": JOB_NAME,
            "mark": self.mark,
            "log": self.log_name("%j").replace("~", self.home),
            "old_logs": quoted(Path(self.log_pattern).name),
            "log_minutes": round(self.log_days * 24 * 60),
            "partition": self.req_partition,
            "time": profile.time,
            "cores": profile.cores,
            "memory": profile.slurm_memory,
            "umask": self.job_umask,
            "modules": " ".join(map(quoted, self.modules)),
            "links": self.links,
            "slurm_kept": "|".join(sorted(OF_EVERY_JOB | CONNECTION)),
            "command": shlex.join(self._command()),
            "options": self.req_options,
            "server_config": quoted(self.server_config),
            "idle_seconds": profile.idle_seconds,
            "profile": quoted(profile.name),
            "most": quoted(profile.in_words()["kill"]),
            "advice": quoted(self._advice()),
            "key": quoted(self.key),
            "certificate": quoted(self.certificate),
            "authorities": quoted(self.authorities),
        }
        script: str = format_template(self.batch_script, **values)
        return script

    def _command(self) -> list[str]:
        # the Python of the same environment
        python = Path(self.batchspawner_singleuser_cmd).with_name("python")
        return [
            str(python),
            "-c",
            FAST_START,
            self.batchspawner_singleuser_cmd,
            *self.cmd,
            *self.get_args(),
        ]

    def get_args(self) -> list[str]:
        cookies = {"xsrf_cookie_kwargs": {"secure": True, "samesite": "Lax"}}
        args = [
            "--LabApp.extension_manager=readonly",
            f"--ServerApp.tornado_settings={cookies}",
            # over TCP, everybody on the node could read the messages
            "--KernelManager.transport=ipc",
            "--LanguageServerManager.autodetect=False",
        ]  # the search would run node and R at each start
        if idle := self.profile.idle_seconds:
            args += [
                f"--ServerApp.shutdown_no_activity_timeout={idle}",
                f"--MappingKernelManager.cull_idle_timeout={idle}",
                "--MappingKernelManager.cull_interval=60",
                f"--TerminalManager.cull_inactive_timeout={idle}",
                "--TerminalManager.cull_interval=60",
            ]
        return [*super().get_args(), *args]

    async def start(self) -> str:
        self.ended, self.stopping, self.job_id, self.job = "", False, "", None
        # The server listens on all networks of its node, and tells its port later.
        self.ip, self.port = (
            "0.0.0.0",
            0,
        )
        await self._check_home()
        await self._submit()
        ran = 0.0  # seconds for which the job has run; a suspended job cannot answer
        while not (await self._still_there() == JobStatus.RUNNING and await self._answers()):
            if ran > self.http_timeout:
                raise NotStarted(
                    f"Server at https://{self.ip}:{self.port or '...'} didn't respond in "
                    f"{self.http_timeout} seconds. "
                    f"The end of its log may say why: {self.log_name(self.job_id)}"
                )
            began = time.monotonic()
            runs = self.job is not None and self.job.state == "RUNNING"
            await asyncio.sleep(self.startup_poll_interval if runs else self.pending_poll_interval)
            ran += runs and time.monotonic() - began
        self.starting = False
        return f"https://{self.ip}:{self.port}"

    async def _submit(self) -> None:
        """Submit the job; raises NotStarted.

        The mark is written down first. So the job is known even if the hub fails in the middle.
        """
        self.mark = self.jobs.new_mark()
        if not await self.jobs.starts.note(self.mark, self.user.name):
            raise NotStarted(
                "The hub cannot write down what it starts: its disk is full. Tell the support."
            )
        self.starting = True
        self._save()
        try:
            self.job_id = await self.jobs.submit(
                self.mark, self.user.name, self._script(), self.get_env()
            )
        except SlurmRefuses as error:
            reason = str(error).replace("sbatch: error: ", "").splitlines()[-1]
            self.log.error("sbatch refuses the job of %s: %s", self._log_name, error)
            raise NotStarted(
                f"Slurm did not take the job: {reason}. Choose another profile, or try "
                "again in some minutes."
            ) from None
        self.log.info(
            "Job %s submitted for %s, profile %s", self.job_id, self._log_name, self.profile.name
        )
        self._save()

    def _save(self) -> None:
        """Write the state to the database at once, for a hub that starts after a crash."""
        self.orm_spawner.state = self.get_state()
        self.db.commit()

    async def _still_there(self) -> JobStatus:
        """The job's status. Once it runs, its node becomes the address of the server.

        Raises NotStarted if it has ended.
        """
        number, status = self.job_id, await self.query_job_status(1)
        if status == JobStatus.NOTFOUND:
            why = await self._why()
            log = (
                ""
                if self.job and self.job.exit_code == NO_LOG
                else f" Its log is {self.log_name(number)}"
            )
            raise NotStarted(f"Your server ended before it answered: {why}{self._where()}{log}")
        if status == JobStatus.RUNNING and self.job:
            self.ip = self.job.node
        return status

    async def _answers(self) -> bool:
        """Whether the server has told its port and answers there, and not another process."""
        return bool(self.port and await self.own_answer(self.ip, self.port))

    async def stop(self, now: bool = False) -> None:
        """End the job.

        If Slurm does not answer or the number is still unknown, jobs.py ends the job later.
        """
        self.stopping = True
        self.jobs.wake.set()
        if not self.job_id:
            return
        await self.jobs.cancel(self.user.name, self.job_id)
        until = time.monotonic() + (0 if now else 15)
        while time.monotonic() < until and await self.query_job_status(0.5) != JobStatus.NOTFOUND:
            await asyncio.sleep(0.5)

    # The state and the end of the job.

    async def query_job_status(self, age: float | None = None) -> JobStatus:
        """The state of the job: NOTFOUND only if it has ended; UNKNOWN, which counts as alive, if
        Slurm does not answer.
        """
        if not self.job_id:
            return JobStatus.NOTFOUND
        try:
            self.job = await self.jobs.find(
                self.user.name,
                time.monotonic() - (self.poll_interval if age is None else age),
                self.job_id,
                self.mark,
            )
        except SlurmSilent as error:
            self.log.warning("What became of job %s is not known: %s", self.job_id, error)
            self.job = None
            return JobStatus.UNKNOWN
        if self.job is None or self.job.over:
            return JobStatus.NOTFOUND
        return JobStatus.RUNNING if self.job.state == "RUNNING" else JobStatus.PENDING

    async def is_paused(self) -> bool:
        status = await self.query_job_status()
        return bool(status == JobStatus.PENDING and self.job and self.job.state not in PUT_BACK)

    async def poll(self) -> int | None:
        number = self.job_id
        if self.cut_off:  # nobody waits for this job, and it knows a hub that is gone
            self._forget("the hub was restarted while it started. Start it again.")
            return 1
        status = await self.query_job_status()
        if number != self.job_id:  # another start began meanwhile
            return None
        is_put_back = self.job is not None and self.job.state in PUT_BACK
        if status == JobStatus.PENDING and not self.starting and is_put_back:
            self._forget("Slurm has put its job back into the queue. Start it again.")
            return 1
        if status != JobStatus.NOTFOUND:
            return None
        if self.job_id and not self.stopping:
            self._forget(await self._why())
        self.clear_state()
        return 1

    def _where(self) -> str:
        """A sentence with the name of the node if there was one; otherwise ""."""
        return (
            f" It ran on {self.job.node}."
            if self.job and self.job.node not in ("", "n/a", "(null)")
            else ""
        )

    def _forget(self, why: str) -> None:
        """Record why the server has ended. Its job is then no longer wanted."""
        why += self._where()
        self.ended = (
            f"Your last server (job {self.job_id}) ended: {why}"
            if self.job_id
            else f"Your last server ended: {why}"
        )
        self.log.warning("Job %s of %s ended: %s", self.job_id, self._log_name, why)
        self.clear_state()
        self.jobs.wake.set()

    async def _why(self) -> str:
        """Why the job ended, from Slurm's state of it. The text continues after a colon."""
        profile, state = self.profile, self.job.state if self.job else None
        if self.job and self.job.exit_code in EXITS:
            return EXITS[self.job.exit_code].format(
                node=self.job.node, home=self.home, home_advice=self.home_advice
            )
        if state in (None, "FAILED"):
            recorded, used = await self.jobs.accounted(self.job_id)
            # the accounting may not know the end yet
            state = recorded if recorded in ENDS else state or recorded
            # The state is FAILED if slurmd itself measures the memory.
            if state == "FAILED" and used >= 0.95 * kill_limit(profile):
                state = "OUT_OF_MEMORY"
        if state is None:
            return "Slurm does not know it any more. Start it again."
        words = profile.in_words()
        idle = f", as its profile says: {words['idle']}" if profile.idle_seconds else ""
        return ENDS.get(state, GONE_WRONG).format(
            state=state, time=words["time"], most=words["kill"], idle=idle, advice=self._advice()
        )

    def _advice(self) -> str:
        bigger = sorted(
            (kill_limit(other), other.name)
            for other in self.profiles
            if kill_limit(other) > kill_limit(self.profile)
        )
        return (
            f"Choose “{bigger[0][1]}” next time, or take less."
            if bigger
            else "Take less, or compute it in a batch job."
        )

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        return state | {
            key: getattr(self, key) for key in ("mark", "ended", "starting") if getattr(self, key)
        }

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.mark, self.ended, self.cut_off, self.job = (
            state.get("mark", ""),
            state.get("ended", ""),
            state.get("starting", False),
            None,
        )

    def clear_state(self) -> None:
        super().clear_state()
        self.mark, self.starting, self.cut_off = "", False, False

    @default("progress_ready_hook")
    def _ready_hook(self) -> Callable[[Spawner, dict[str, Any]], dict[str, Any]]:
        # JupyterHub reports a cancelled start as ready until its job has ended. The page would then
        # open a server that does not exist.
        return lambda spawner, event: (
            {"progress": 100, "failed": True, "message": "The start is cancelled."}
            if spawner.starting
            else event
        )

    async def progress(self) -> AsyncIterator[dict[str, str | int]]:
        last = ""
        while True:
            job = self.job
            if job is None and (self.job_id or self.jobs.queue.fault):
                message = "Slurm does not answer. The job waits for it..."
            elif job is None:
                message = "Submitting the job..."
            elif job.state == "PENDING":
                start = (
                    f" It expects to start it at {job.start.replace('T', ' ')} at the latest."
                    if job.start[:1].isdigit()
                    else ""
                )
                message = (
                    f"Pending in queue... {job.reason}: "
                    f"{WAITS.get(job.reason.partition(',')[0], 'Slurm waits for that.')}{start}"
                )
            elif job.state == "RUNNING":
                message = f"Cluster job running... waiting to connect to {job.node}"
            else:
                message = (
                    f"Slurm says {job.state} of the job: "
                    f"{STATES.get(job.state, 'it waits for that.')}"
                )
            if message != last:
                yield {"message": message, "progress": 60 if message.startswith("Cluster") else 20}
                last = message
            await asyncio.sleep(0.5)


# ---------------------------------------------------------------- requests


class StopHandler(UserServerAPIHandler):
    """Stops a server. JupyterHub's own handler cancels a start that is under way, and gives it one
    second to end. In a busy hub it takes longer. Then the stop would fail, and the hub would show
    for ever a server that is not there.
    """

    async def stop_single_user(self, user: Any, server_name: str = "") -> Any:
        spawner = user.spawners.get(server_name)
        if spawner and spawner._spawn_future:
            await asyncio.wait({spawner._spawn_future})
        if server_name not in user.spawners or spawner.pending == "stop":
            return spawner and spawner._stop_future  # another request has stopped it
        return await super().stop_single_user(user, server_name)


class PortHandler(APIHandler):
    """Receives the port of a server that starts. batchspawner's own handler would set any attribute
    of the spawner.
    """

    @web.authenticated
    def post(self) -> None:
        token, data = self.get_auth_token(), self.get_json_body()
        spawner = next(
            (
                spawner
                for spawner in self.current_user.spawners.values()
                if token and spawner.api_token == token
            ),
            None,
        )
        if spawner is None:
            raise web.HTTPError(403, "Only a server tells its port")
        port = data.get("port") if isinstance(data, dict) and set(data) == {"port"} else None
        if type(port) is not int or not 1024 <= port < 65536 or spawner.pending != "spawn":
            self.log.warning(
                "Refused from the server of %s: fields %s",
                spawner._log_name,
                sorted(map(str, data))[:5] if isinstance(data, dict) else "none",
            )
            raise web.HTTPError(
                400, "A server may tell its port, while it starts, and nothing else"
            )
        spawner.port = port
        self.set_status(201)
        self.finish(json.dumps({"message": "port noted"}))


OURS = {
    batchspawner.api.BatchSpawnerAPIHandler: PortHandler,
    UserServerAPIHandler: StopHandler,
}
default_handlers[:] = [
    (path, OURS.get(handler, handler), *rest) for path, handler, *rest in default_handlers
]
