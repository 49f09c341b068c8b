"""One server is one Slurm job: batchspawner's SlurmSpawner, with profiles, and with Slurm's own words for what happens.

What it does that SlurmSpawner does not:

* a user chooses one of the profiles and nothing else; what else a request holds is refused;
* one squeue answers for all servers, however many there are; a controller that does not answer kills no server;
* the page says why a job waits, that it ended before it answered, and after its end why: Slurm's state of the job;
* a home directory without room is told before the job is submitted;
* a server may tell the hub its port, while it starts, and nothing else.
"""
import asyncio
import html
import json
import math
import os
import re
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import clusterfacts  # copied from triton/lib
import batchspawner.api  # registers the handler that is replaced at the end of this file
from batchspawner.batchspawner import JobStatus, format_template
from certificates import KnownByName
from jupyterhub.apihandlers import APIHandler, default_handlers
from tornado import web
from traitlets import Callable, Float, Integer, List, Unicode, default

JOB_NAME = "jupyterhub"

# Runs the Python script that follows as if by its name, but for one import, which takes a second of each start: jsonschema's checker of
# international addresses, of which no schema of Jupyter's has one (jupyter_server's issue 1559).
QUICKLY = "import runpy, sys; sys.modules['rfc3987_syntax'] = None; del sys.path[0], sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"


# ---------------------------------------------------------------- profiles

@dataclass(frozen=True)
class Profile:
    """One line of the start page. The texts are those of the guide's table."""

    name: str
    time: str           # how long it runs: "10 hours"
    slurm_time: str     # the same for Slurm: "10:00:00"
    memory: str         # what it counts as: "2 GB"
    most: str           # where Slurm kills it: "8 GB" or "the whole node"
    idle: str           # "never stopped" or "stopped after 60 minutes"

    @property
    def slurm_memory(self):
        """For --mem, where 0 is all that a node has."""
        return clusterfacts.slurm_memory(clusterfacts.most(self.most))

    @property
    def bytes(self):
        return clusterfacts.most(self.most) or math.inf

    @property
    def idle_seconds(self):
        """After how many seconds without use it is stopped; 0 for never."""
        return clusterfacts.idle(self.idle)


# ---------------------------------------------------------------- what Slurm says

class SlurmSilent(Exception):
    """Slurm did not answer; the argument is what the command said instead."""


async def run(*command, input="", env=None):
    """Run `command`; return what it printed. Raises SlurmSilent with its error message if it fails."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd="/")
    try:
        out, error = await process.communicate(input.encode())
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise SlurmSilent(error.decode(errors="replace").strip() or f"{command[0]} ended with {process.returncode}")
    return out.decode(errors="replace")


@dataclass(frozen=True)
class Job:
    user: str
    state: str      # Slurm's: PENDING, RUNNING, OUT_OF_MEMORY ...
    reason: str     # why it waits, or why it ended
    node: str
    start: str      # when it starts, or started; N/A if Slurm cannot tell


class Queue:
    """All servers' jobs, those that ended in the last minutes too. One squeue for all who ask within some seconds."""

    FIELDS = "%i|%u|%T|%r|%B|%S"

    def __init__(self):
        self.jobs, self.silent, self.asked = {}, None, -math.inf
        self.lock = asyncio.Lock()

    async def job(self, number, age):
        """The Job of this number, or None if Slurm has none; what is known may be `age` seconds old. Raises SlurmSilent."""
        async with self.lock:
            known = number in self.jobs or self.silent      # one that is not may be younger than what is known
            if not known or time.monotonic() - self.asked > age:
                await self._ask()
        if self.silent:
            raise SlurmSilent(self.silent)
        return self.jobs.get(number)

    async def _ask(self):
        try:
            lines = await run("squeue", "--noheader", "--states=all", f"--name={JOB_NAME}", f"--format={self.FIELDS}")
            self.jobs = {number: Job(*rest) for number, *rest in (line.split("|") for line in lines.splitlines())}
            self.silent = None
        except SlurmSilent as error:
            self.silent = str(error)
        self.asked = time.monotonic()


async def accounted(number):
    """The state of a job and the most memory it had, in bytes, from Slurm's accounts; (None, 0) if they know nothing."""
    try:
        lines = await run("sacct", "--noheader", "--parsable2", f"--jobs={number}", "--noconvert", "--format=State,MaxRSS")
    except SlurmSilent:
        return None, 0
    rows = [line.split("|") for line in lines.splitlines()]
    return (rows[0][0].split()[0] if rows else None), max((int(float(rss)) for _, rss in rows if re.fullmatch(r"[\d.]+", rss)), default=0)


WAITS = {   # Slurm's reason: what it means for the one who waits
    "None": "Slurm looks for a place.",
    "Resources": "the cluster is busy, it starts when there is room.",
    "Priority": "the cluster is busy, others are before it in the queue.",
    "QOSMaxJobsPerUserLimit": "you have as many jobs as are allowed.",
    "AssocMaxJobsLimit": "you have as many jobs as are allowed.",
    "ReqNodeNotAvail": "the nodes are being serviced.",
    "PartitionDown": "its part of the cluster is closed for a while.",
}
ENDS = {    # Slurm's state: what the user is told of it
    "OUT_OF_MEMORY": "it took more memory than its profile allows, {most}, so Slurm killed it. {advice}",
    "TIMEOUT": "the time of its profile, {time}, was up. Files that were saved are there; variables are not.",
    "CANCELLED": "it was cancelled with scancel.",
    "NODE_FAIL": "its node failed. Start it again.",
    "BOOT_FAIL": "its node failed. Start it again.",
    "PREEMPTED": "Slurm needed its place for another job. Start it again.",
    "DEADLINE": "Slurm could not run it in time.",
    "COMPLETED": "it stopped by itself{idle}.",
}
GONE_WRONG = "it ended with an error; Slurm says {state}. The end of its log says more."


class NotStarted(web.HTTPError):
    """Why no server starts, in a sentence for the user."""

    def __init__(self, message, status=500):
        super().__init__(status, message.replace("%", "%%"))
        self.jupyterhub_message = message


# ---------------------------------------------------------------- the spawner

class ProfileSpawner(KnownByName):
    profiles = List(help="The Profiles that users choose from.").tag(config=True)
    modules = List(help="Modules that the job loads first.").tag(config=True)
    links = List(help="(name, target) of the links in the folder where JupyterLab begins; a target may have shell variables.").tag(config=True)
    log_pattern = Unicode(help="The logs, ~/NAME_*.log; the job's number stands for the *.").tag(config=True)
    log_days = Float(7, help="Logs older than this are removed at the next start.").tag(config=True)
    job_umask = Unicode("022", help="What files of the user may be created with.").tag(config=True)
    needed_mb = Integer(4, help="Megabytes that must be free in the home directory.").tag(config=True)
    home_room = Callable(help="home -> (bytes free, bytes in all): replace it where statvfs does not know the quota.").tag(config=True)
    home_advice = Unicode(help="What to do when the home directory is full.").tag(config=True)

    queue = Queue()
    ended = ""          # why the last server ended, for the pages
    stopping = False
    starting = False    # a job is submitted and has no server yet
    cut_off = False     # that was so when the hub itself ended

    @default("home_room")
    def _home_room(self):
        def room(home):
            usage = shutil.disk_usage(home)
            return usage.free, usage.total
        return room

    # What the user chooses.

    @property
    def profile(self):
        """The chosen Profile; the first if none is chosen."""
        name = (self.user_options or {}).get("profile")
        return next((profile for profile in self.profiles if profile.name == name), self.profiles[0])

    @default("options_form")
    def _form(self):
        return self._render_form

    def _render_form(self, spawner):
        rows, chosen = [], self.profile if "profile" in (self.orm_spawner.user_options or {}) else self.profiles[0]
        for number, profile in enumerate(self.profiles):
            texts = [html.escape(text) for text in (profile.time, profile.memory, profile.most, profile.idle)]
            rows.append(f'<tr><th scope="row" class="text-nowrap"><input type="radio" id="profile-{number}" name="profile" value="{html.escape(profile.name)}"'
                        f'{" checked" if profile == chosen else ""}> <label for="profile-{number}">{html.escape(profile.name)}</label></th>'
                        + "".join(f"<td>{text}</td>" for text in texts) + "</tr>")
        told = f'<p class="alert alert-warning" id="ended">{html.escape(self.ended)}</p>' if self.ended else ""
        return (told + '<table class="table"><thead><tr><th>Profile</th><th>Runs for</th><th>Memory</th><th>Killed above</th><th>When unused</th></tr>'
                f'</thead><tbody>{"".join(rows)}</tbody></table><p>Choose the least memory that you think you need.</p>')

    @default("options_from_form")
    def _from_form(self):
        # the form's own fields come with it: _xsrf and, from some pages, next
        return lambda data: {key: values[0] for key, values in data.items() if key == "profile"}

    @default("apply_user_options")
    def _apply(self):
        return type(self)._check_options

    def _check_options(self, options):
        """Refuse all but the name of a profile. batchspawner would put any other option into the batch script."""
        if set(options) - {"profile"} or options.get("profile", self.profiles[0].name) not in [profile.name for profile in self.profiles]:
            self.log.warning("Refused options of %s: %s", self._log_name, sorted(map(str, options))[:5])
            self.user_options = self.orm_spawner.user_options = {}
            raise NotStarted("There is no such profile. Choose one of: " + ", ".join(profile.name for profile in self.profiles), 400)

    # The job.

    @property
    def home(self):
        return self.req_homedir

    def log_name(self, number):
        return self.log_pattern.replace("*", str(number))

    def get_env(self):
        # sudo and Slurm look up HOME, USER and SHELL by themselves; of the hub's own environment nothing is for the job.
        return {key: value for key, value in super().get_env().items() if key.startswith(("JUPYTERHUB_", "JPY_")) and value is not None}

    def as_user(self, *command):
        return "sudo", "--non-interactive", f"--user={self.user.name}", "--", *command

    def _check_home(self):
        free, total = self.home_room(self.home)
        if free < self.needed_mb * 2**20:
            raise NotStarted(f"Your home directory {self.home} is full: {free / 2**20:.1f} MB of {total / 2**20:.0f} MB are free, "
                             f"and Jupyter needs {self.needed_mb} MB to start. {self.home_advice}", 507)

    def _script(self):
        profile = self.profile
        quoted = shlex.quote
        values = {
            "job_name": JOB_NAME, "log": self.log_name("%j").replace("~", self.home), "old_logs": quoted(Path(self.log_pattern).name),
            "log_minutes": round(self.log_days * 24 * 60), "partition": self.req_partition, "time": profile.slurm_time, "memory": profile.slurm_memory,
            "keep": ",".join(sorted(self.get_env())), "umask": self.job_umask, "modules": " ".join(map(quoted, self.modules)), "links": self.links,
            "command": shlex.join(self._command()), "options": self.req_options,
            "profile": quoted(profile.name), "most": quoted(profile.most), "advice": quoted(self._advice()),
            "key": self.key, "certificate": self.certificate, "authorities": self.authorities,
        }
        return format_template(self.batch_script, **values)

    def _command(self):
        python = Path(self.batchspawner_singleuser_cmd).with_name("python")     # of the same environment
        return [str(python), "-c", QUICKLY, self.batchspawner_singleuser_cmd, *self.cmd, *self.get_args()]

    def get_args(self):
        cookies = {"xsrf_cookie_kwargs": {"secure": True, "samesite": "Lax"}}
        args = ["--LabApp.extension_manager=readonly", f"--ServerApp.tornado_settings={cookies}",
                "--KernelManager.transport=ipc",                # on TCP, everybody on the node reads along
                "--LanguageServerManager.autodetect=False"]     # each start would run node and R to look for some
        if idle := self.profile.idle_seconds:
            args += [f"--ServerApp.shutdown_no_activity_timeout={idle}", f"--MappingKernelManager.cull_idle_timeout={idle}",
                     "--MappingKernelManager.cull_connected=True", "--MappingKernelManager.cull_interval=60",
                     f"--TerminalManager.cull_inactive_timeout={idle}", "--TerminalManager.cull_interval=60"]
        return [*super().get_args(), *args]

    async def start(self):
        self.ended, self.stopping, self.job_id, self.job = "", False, "", None
        self.ip, self.port = "0.0.0.0", 0       # the server's: on all networks of its node, at the port that it tells
        self._check_home()
        try:
            said = await run(*self.as_user("sbatch", "--parsable"), input=self._script(), env={"PATH": os.environ["PATH"], **self.get_env()})
        except SlurmSilent as error:
            reason = str(error).replace("sbatch: error: ", "").splitlines()[-1]
            self.log.error("sbatch refuses the job of %s: %s", self._log_name, error)
            raise NotStarted(f"Slurm did not take the job: {reason}. Choose another profile, or try again in some minutes.") from None
        self.job_id = said.strip().splitlines()[-1].split(";")[0]
        self.log.info("Job %s submitted for %s, profile %s", self.job_id, self._log_name, self.profile.name)
        self.starting = True
        self.orm_spawner.state = self.get_state()       # for the hub that comes after a crash
        self.db.commit()
        while await self._still_there() != JobStatus.RUNNING:
            await asyncio.sleep(self.startup_poll_interval)
        self.ip = self.state_gethost()
        began = time.monotonic()
        while not await self._answers():
            await self._still_there()
            if time.monotonic() - began > self.http_timeout:
                raise NotStarted(f"Server at https://{self.ip}:{self.port or '...'} didn't respond in {self.http_timeout} seconds. "
                                 f"The end of its log may say why: {self.log_name(self.job_id)}")
            await asyncio.sleep(self.startup_poll_interval)
        self.starting = False
        return f"https://{self.ip}:{self.port}"

    async def _still_there(self):
        """The job's status. Raises NotStarted if it ended."""
        number, status = self.job_id, await self.query_job_status(1)
        if status == JobStatus.NOTFOUND:
            why = await self._why()
            raise NotStarted(f"Your server ended before it answered: {why} Its log is {self.log_name(number)}")
        return status

    async def _answers(self):
        """Whether the server has told its port and answers there, and no other process."""
        return bool(self.port and await self.own_answer(self.ip, self.port))

    async def stop(self, now=False):
        self.stopping = True
        if not self.job_id:
            return
        self.log.info("Cancelling job %s of %s", self.job_id, self._log_name)
        try:
            await run(*self.as_user("scancel", self.job_id))
        except SlurmSilent as error:
            self.log.error("scancel of job %s: %s", self.job_id, error)
        for _ in range(0 if now else 30):
            if await self.query_job_status(0.5) == JobStatus.NOTFOUND:
                return
            await asyncio.sleep(0.5)

    # What became of it.

    async def query_job_status(self, age=None):
        """What Slurm says of the job; UNKNOWN, which counts as alive, if it says nothing."""
        if not self.job_id:
            return JobStatus.NOTFOUND
        try:
            job = await self.queue.job(self.job_id, self.poll_interval if age is None else age)
        except SlurmSilent as error:
            self.log.warning("squeue: %s", error)
            self.job = None
            return JobStatus.UNKNOWN
        self.job = job
        if job is None or job.user != self.user.name:
            self.job_status = ""
            return JobStatus.NOTFOUND
        self.job_status = f"{job.state} {job.node}"
        return JobStatus.RUNNING if self.state_isrunning() else JobStatus.PENDING if self.state_ispending() else JobStatus.NOTFOUND

    async def poll(self):
        if self.cut_off:        # nobody waits for this job, and it knows a hub that has gone
            await self.stop(now=True)
            self.ended = f"Your last server (job {self.job_id}) ended: the hub was restarted while it started. Start it again."
            self.clear_state()
            return 1
        if await self.query_job_status() != JobStatus.NOTFOUND:
            return None
        if self.job_id and not self.stopping:
            why = await self._why()
            self.ended = f"Your last server (job {self.job_id}) ended: {why}"
            self.log.warning("Job %s of %s ended: %s", self.job_id, self._log_name, why)
        self.clear_state()
        return 1

    async def _why(self):
        """Why the job ended, by Slurm's state of it, in a sentence that goes on after a colon."""
        profile, state = self.profile, self.job.state if self.job else None
        if state in (None, "FAILED"):
            told, used = await accounted(self.job_id)
            state = told if told in ENDS else state or told       # the accounts may not know its end yet
            if state == "FAILED" and used >= 0.95 * profile.bytes:     # where slurmd measures memory itself, it says FAILED
                state = "OUT_OF_MEMORY"
        idle = f", as its profile says: {profile.idle}" if profile.idle_seconds else ""
        return ENDS.get(state, GONE_WRONG).format(state=state or "nothing of it", time=profile.time, most=profile.most, idle=idle, advice=self._advice())

    def _advice(self):
        bigger = sorted((other.bytes, other.name) for other in self.profiles if other.bytes > self.profile.bytes)
        return f"Choose “{bigger[0][1]}” next time, or take less." if bigger else "Take less, or compute it in a batch job."

    def get_state(self):
        return super().get_state() | {key: getattr(self, key) for key in ("ended", "starting") if getattr(self, key)}

    def load_state(self, state):
        super().load_state(state)
        self.ended, self.cut_off, self.job = state.get("ended", ""), state.get("starting", False), None

    def clear_state(self):
        super().clear_state()
        self.starting = self.cut_off = False

    @default("progress_ready_hook")
    def _ready_hook(self):
        # JupyterHub calls a start that was cancelled ready until its job has gone, and the page would go to a server that is none
        return lambda spawner, event: {"progress": 100, "failed": True, "message": "The start is cancelled."} if spawner.starting else event

    async def progress(self):
        said = ""
        while True:
            job = getattr(self, "job", None)
            if not self.job_id:
                message = "Submitting the job..."
            elif job is None:
                message = "Slurm does not answer. The job waits for it..."
            elif self.state_ispending():
                start = f" It expects to start it at {job.start.replace('T', ' ')} at the latest." if job.start[:1].isdigit() else ""
                message = f"Pending in queue... {job.reason}: {WAITS.get(job.reason, 'Slurm waits for that.')}{start}"
            else:
                message = f"Cluster job running... waiting to connect to {job.node}"
            if message != said:
                yield {"message": message, "progress": 60 if message.startswith("Cluster") else 20}
                said = message
            await asyncio.sleep(0.5)


# ---------------------------------------------------------------- the port

class PortHandler(APIHandler):
    """A server that starts tells its port here. batchspawner's own handler would set any attribute of the spawner."""

    @web.authenticated
    def post(self):
        token, data = self.get_auth_token(), self.get_json_body()
        spawner = next((spawner for spawner in self.current_user.spawners.values() if token and spawner.api_token == token), None)
        if spawner is None:
            raise web.HTTPError(403, "Only a server tells its port")
        port = data.get("port") if isinstance(data, dict) and set(data) == {"port"} else None
        if type(port) is not int or not 1024 <= port < 65536 or spawner.pending != "spawn":
            self.log.warning("Refused from the server of %s: fields %s", spawner._log_name, sorted(map(str, data))[:5] if isinstance(data, dict) else "none")
            raise web.HTTPError(400, "A server may tell its port, while it starts, and nothing else")
        spawner.port = port
        self.set_status(201)
        self.finish(json.dumps({"message": "port noted"}))


default_handlers[:] = [entry for entry in default_handlers if entry[1] is not batchspawner.api.BatchSpawnerAPIHandler]
default_handlers.append((r"/api/batchspawner", PortHandler))
