"""What the page on data says is true on the small cluster."""

import json
import re

import pytest

from tools import pages
from tools.cluster import cluster
from tools.cluster.hub import notebook
from tools.cluster.jupyter_server import Server, let_in
from tools.proof.reader import NOT_RUN

FACTS = cluster.facts()
WORK = FACTS.paths.work
PAGE = "triton/tut/data.rst"
# Prints a table of ten columns.
ROWS = "seq -s ',0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5\n' 0 0.000005 1"


@pytest.fixture(scope="module")
def rsync(triton, user):
    """A function that runs rsync on a host of the reader, with the page's options and others."""
    let_in(triton, user, ["laptop", "outside"])
    target = f"measurements {user}@{FACTS.hosts.login}:{WORK}/{user}"
    typed = re.search(r"rsync --archive .*(?= measurements username@)", pages.read(PAGE))[0]

    def run(options, host="laptop"):
        return user.run(f"{typed} {options} {target}", host)

    user.run("mkdir measurements; touch measurements/monday.csv", "laptop")
    run("")
    return run


@pytest.mark.claims(
    "With ``--delete``, files that you have deleted here are deleted there too. Look with "
    "``--dry-run`` before.",
    "``rsync`` copies a folder, and the next time only what is new.",
    "A slash at the end of the first path means what is in the folder, without the folder.",
    "After a broken connection, type the same line again.",
)
def test_rsync_deletes_only_when_told_and_shows_it_before(user, rsync):
    user.run("rm measurements/monday.csv; touch measurements/friday.csv", "laptop")
    assert re.findall(r"measurements/\w+\.csv", rsync("")) == ["measurements/friday.csv"]
    assert user.run("ls $WRKDIR/measurements").split() == ["friday.csv", "monday.csv"]
    rsync("measurements/")  # what is in it, beside the folder
    assert {"friday.csv", "measurements"} <= set(user.run("ls $WRKDIR").split())
    user.run("rm $WRKDIR/friday.csv")
    assert "deleting measurements/monday.csv" in rsync("--delete --dry-run")
    assert "monday" in user.run("ls $WRKDIR/measurements")
    user.run("echo 1,2,3 > measurements/friday.csv", "laptop")
    user.run("printf 1, > $WRKDIR/measurements/friday.csv")  # what a broken connection has left
    rsync("--delete")
    assert user.run("cat $WRKDIR/measurements/friday.csv") == "1,2,3\n"
    assert user.run("ls $WRKDIR/measurements").split() == ["friday.csv"]


@pytest.mark.claims(
    "With ``--chmod=go-w`` nobody else can write into the copy, whatever the folder on your "
    "computer allows: on a USB stick, or under Windows, it is often open to everybody."
)
def test_nobody_else_writes_into_a_copy(user, rsync):
    make = "mkdir -m 777 {0}; install -m 666 /dev/null {0}/a".format("measurements/open")
    user.run(make, "laptop")
    rsync("")
    assert user.run("find $WRKDIR/measurements -perm /022") == ""
    assert user.run("find measurements -perm /022", "laptop").split() == [
        "measurements/open",
        "measurements/open/a",
    ]
    user.run("rm -r measurements/open", "laptop")


@pytest.mark.claims(
    "This compares what is in the files, copies nothing, and prints the name of each that differs. "
    "Nothing is printed? Then the copy is whole.",
)
def test_what_differs_after_a_copy_is_named(user, rsync):
    [command] = re.findall(r"rsync (--archive .*--checksum .*) measurements ", pages.read(PAGE))
    user.run("echo 1,2 > measurements/sunday.csv", "laptop")
    rsync("")
    rest = f"measurements {user}@{FACTS.hosts.login}:{WORK}/{user}"
    assert user.run(f"rsync {command} {rest}", "laptop") == ""
    there = "$WRKDIR/measurements/sunday.csv"
    user.run(f"touch -r {there} when; echo 1,3 > {there}; touch -r when {there}")
    assert "sunday.csv" in user.run(f"rsync {command} {rest}", "laptop")
    assert user.run(f"cat {there}") == "1,3\n"


@pytest.mark.claims(
    "With nothing behind the colon it goes into your home directory, which has {{ quota.home }}.",
    "What stands behind the colon is where it goes:",
    "To upload 50 GB, type this line on your own computer,",
)
def test_scp_without_a_folder_copies_into_the_home(user, rsync):
    size = int(re.search(r"To upload (\d+) GB", pages.read(PAGE))[1])
    assert size > FACTS.quota.home_gb
    target = f"{user}@{FACTS.hosts.login}:"
    user.run(f"echo 1 > a.csv; scp -q a.csv {target}; scp -q a.csv {target}{WORK}/{user}", "laptop")
    assert user.run("cat ~/a.csv $WRKDIR/a.csv") == "1\n1\n"


@pytest.mark.claims('From outside, add ``-e "ssh -J username@{{ hosts.gateway }}"``.')
def test_rsync_goes_through_the_gateway(user, rsync):
    user.run("mkdir measurements; touch measurements/outside.csv", "outside")
    rsync(f'-e "ssh -J {user}@{FACTS.hosts.gateway}"', "outside")
    assert "outside.csv" in user.run("ls $WRKDIR/measurements")


@pytest.mark.claims(
    "The folder itself counts.",
    "Each of these files takes a whole block of the disk:",
    "The last command reads one of them without unpacking the others.",
    "Pack them into one:",
)
def test_an_empty_folder_counts_as_one_file(user):
    assert user.run("mkdir empty; du --inodes --summarize empty").split() == ["1", "empty"]
    user.run("echo 1 > empty/1; echo 2 > empty/2; tar -cf empty.tar empty; rm empty/*")
    assert int(user.run("cd empty; echo 1 > 1; du -k 1").split()[0]) * 1024 >= 512
    assert user.run("rm empty/1; tar -xf empty.tar --to-stdout empty/2; ls empty") == "2\n"


@pytest.mark.claims(
    "Read it once in pieces, keep the columns and the rows that you need, and write them into a "
    "better format.",
    "There are never more than 10,000 rows of the file in memory, and the rows that are kept.",
    "A CSV file of 40 GB? Read as a table it takes more than that in memory.",
)
def test_a_table_in_pieces_takes_less_memory(user):
    peak = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    shown = pages.read("triton/tut/pieces.py")
    assert "chunksize=10_000" in shown
    used = {}
    for size in ("10_000", "10_000_000"):
        user.write("~/measured.py", shown.replace("10_000", size) + peak)
        load = f"cd $WRKDIR; module load {FACTS.modules.python}"
        printed = user.run(f"{load}; [ -e rows.csv ] || {ROWS} > rows.csv; python3 ~/measured.py")
        used[size] = int(printed.split()[-1])
    assert used["10_000"] < 0.9 * used["10_000_000"]
    code = "import os, pandas; print(pandas.read_csv('rows.csv').memory_usage().sum() - "
    code += "os.path.getsize('rows.csv'))"
    assert int(user.run(f'{load}; python3 -c "{code}"')) > 0


@pytest.mark.claims(
    "When the job is cancelled or its time is up, the folder is removed too, and nothing is copied "
    "back.",
    "In a job, unpack them into ``/tmp``, which is on the node itself.",
)
def test_the_folder_on_the_node_goes_however_the_job_ends(triton, user):
    text = pages.read("triton/tut/local.sh").replace(
        "{{ partitions.batch }}", FACTS.partitions.batch
    )
    slow = text.replace("sort -n", "sort -n && sleep 200").replace("00:10:00", "00:01:00")
    user.run("cd $WRKDIR; mkdir many; echo 1 > many/1; tar -cf many.tar many")
    user.write("~/slow.sh", slow)
    jobs = [user.run("sbatch --parsable slow.sh").strip() for _ in range(2)]
    made = "srun --overlap --jobid={} sh -c 'ls -d /tmp/tmp.*/many'"
    assert "/tmp" not in user.run("df --output=target $WRKDIR")
    for job in jobs:
        user.wait_until(made.format(job))
    node = user.run(f"squeue --noheader --jobs={jobs[0]} --format=%N").strip()
    user.run(f"scancel {jobs[0]}")
    user.ended(*jobs, seconds=200)
    assert user.state(jobs[1])[0] == "TIMEOUT"
    left = "find /tmp -maxdepth 1 -name 'tmp.*' -user $USER"
    assert not user.run(left, node)
    assert "sorted.txt" not in user.run("ls $WRKDIR")


@pytest.mark.claims("The text is three times as large, and takes many times as long to read.")
def test_text_is_larger_and_slower_than_a_format_for_numbers(user):
    user.write("~/formats.py", pages.read("triton/tut/formats.py"))
    times = []
    for _ in range(3):  # other tests may hold up one of the two
        printed = user.run(f"module load {FACTS.modules.python}; python3 formats.py")
        (csv, slow), (npy, quick) = re.findall(r"(\d+) MB, (\d+\.\d+) s", printed)
        assert 2.7 < int(csv) / int(npy) < 3.3, printed
        times.append(float(slow) / float(quick))
    assert max(times) > 8, times


@pytest.mark.claims(
    "Map it: what you look at is read, and nothing else.",
    "You need some rows of a file, and not all of it?",
)
def test_of_a_mapped_file_only_what_is_looked_at_is_read(user):
    user.write("~/mapped.py", pages.read("triton/tut/mapped.py"))
    printed = user.run(f"module load {FACTS.modules.python}; python3 mapped.py")
    mapped, whole = map(int, re.findall(r": (\d+) MB", printed))
    assert mapped < 10 and 140 < whole < 180


@pytest.mark.claims("Several processes of a node that map the same file share what they have read.")
def test_processes_share_what_they_have_mapped(user):
    code = """import numpy as np, os, time
np.lib.format.open_memmap("shared.npy", mode="w+", shape=(5_000_000,)).fill(1)
def pss():
    return int(open("/proc/self/smaps_rollup").read().split("Pss:")[1].split()[0]) // 1024
child = os.fork()
before = pss()
np.load("shared.npy", mmap_mode="r").sum()
rows = np.load("shared.npy", mmap_mode="r"); rows.sum(); time.sleep(3)
if child:
    print(pss() - before); os.wait()
else:
    time.sleep(3); os._exit(0)"""
    user.write("~/shared.py", code)
    grown = int(user.run(f"module load {FACTS.modules.python}; python3 shared.py"))
    assert 15 < grown < 30, "half of 40 MB: each counts half"


@pytest.mark.claims(
    "Where a folder has no ``x`` for somebody, nothing in it can be read, whatever the letters of "
    "the files are.",
    "Behind the first letter stand three for you, three for the group and three for all "
    "others: ``r`` to read, ``w`` to write, ``x`` to go into a folder.",
)
def test_nobody_reads_behind_a_closed_folder(triton, user):
    other = triton.account()
    user.run(
        "mkdir -m 755 $WRKDIR/open; echo text > $WRKDIR/open/file; chmod 644 $WRKDIR/open/file"
    )
    letters = user.run("chmod 751 $WRKDIR/open; stat --format=%A $WRKDIR/open").strip()
    assert letters == "drwxr-x--x", "three for the owner, for the group, for others"
    user.run("chmod 755 $WRKDIR/open")
    look = f"cat {WORK}/{user}/open/file"
    assert other.run(look) == "text\n"
    user.run("chmod o-x $WRKDIR/open")
    assert "Permission denied" in other.tries(look).stderr
    [close] = set(re.findall(r"chmod o\S+ \$WRKDIR", pages.read(PAGE)))
    user.run(f"chmod o+x $WRKDIR/open; {close}")
    assert user.run("stat --format=%A $WRKDIR").strip().endswith("---")
    assert "Permission denied" in other.tries(look).stderr
    user.run("chmod o+rx $WRKDIR")


@pytest.mark.claims("Nobody else may read it there:")
def test_a_cache_that_was_moved_is_closed_to_others(triton):
    """A home is closed, and $WRKDIR is not."""
    user, other = triton.account(), triton.account()
    moves = re.findall(r"\$ (.*cache)$", pages.read("triton/tut/storage.rst"), re.MULTILINE)
    user.run(f"mkdir -p .cache $WRKDIR/cache; {'; '.join(moves)}; echo token > .cache/token")
    assert user.run("cat $WRKDIR/cache/token") == "token\n"
    assert "Permission denied" in other.tries(f"cat {WORK}/{user}/cache/token").stderr


@pytest.mark.claims(
    "The line with ``umask`` holds for this terminal, and for the jobs that you submit in it."
)
def test_a_umask_holds_in_jobs_of_the_same_terminal(user):
    user.run("umask 027; sbatch --wait --output=out --wrap umask")
    assert user.run("cat out; umask").split() == ["0027", "0022"]


@pytest.mark.claims(
    "The second line lets her through ``$WRKDIR`` without showing what else is there. But she "
    "reads another file there, too, if she knows its name and its own letters allow it. Close "
    "your other folders too, by ``chmod -R o-rwx`` and their names.",
    "Files that you make in the folder from now on are hers to read.",
    "One colleague, here alice, may read one folder, and need not be in a group with you:",
)
def test_a_colleague_reads_one_folder(triton, user):
    her = triton.account()
    blocks = pages.read(PAGE)
    acl = re.findall(r"setfacl --modify .*", blocks)
    assert len(acl) == 2
    user.run("cd $WRKDIR; chmod o-rwx .; mkdir for-alice other; echo secret > other/file")
    user.run("cd $WRKDIR; " + "; ".join(acl).replace("alice:", f"{her}:"))
    third = triton.account()
    user.run(f"setfacl --modify user:{third}:x $WRKDIR")
    user.run("umask 027; echo new > $WRKDIR/for-alice/new")
    there = f"{WORK}/{user}"
    group = user.run("stat --format=%g $WRKDIR/for-alice").strip()
    assert group not in her.run("id --groups").split()
    assert her.run(f"cat {there}/for-alice/new") == "new\n"
    assert her.run(f"cat {there}/other/file") == "secret\n"
    user.run("chmod -R o-rwx $WRKDIR/other")
    assert "Permission denied" in her.tries(f"cat {there}/other/file").stderr
    for refused in (f"ls {there}", f"touch {there}/for-alice/hers"):
        assert "Permission denied" in her.tries(refused).stderr
    [back] = re.findall(r"setfacl --remove.*", blocks)
    user.run(back.replace("alice", her))
    assert f"user:{third}:--x" in user.run("getfacl --omit-header $WRKDIR")
    assert "Permission denied" in her.tries(f"cat {there}/for-alice/new").stderr
    user.run("chmod o+rx $WRKDIR")


@pytest.mark.claims(
    "For all of a group, write ``group:NAME`` in place of ``user:alice``. These are the groups "
    "that you are in:",
    "You are not in the group that owns a folder? ``ls -l`` in the folder above shows its owner "
    "and its group.",
)
def test_a_group_reads_one_folder(triton, user):
    member, other = triton.account(), triton.account()
    group = re.findall(r"groups=\d+\((\w+)\)", member.run("id"))[0]
    assert f"({group})" not in other.run("id")
    acl = "; ".join(re.findall(r"setfacl --modify .*", pages.read(PAGE)))
    user.run("cd $WRKDIR; chmod o-rwx .; mkdir -p for-alice")
    user.run("cd $WRKDIR; " + acl.replace("user:alice", f"group:{group}"))
    user.run("umask 027; echo new > $WRKDIR/for-alice/for-members")
    there = f"{WORK}/{user}/for-alice/for-members"
    listed = next(
        line for line in other.run(f"ls -l {WORK}").splitlines() if line.endswith(f" {user}")
    )
    owner, its_group = user.run("stat --format='%U %G' $WRKDIR").split()
    assert listed.split()[2:4] == [owner, its_group]
    assert its_group not in other.run("id --groups --name").split()
    assert member.run(f"cat {there}") == "new\n"
    assert "Permission denied" in other.tries(f"cat {there}").stderr
    user.run("setfacl --remove-all $WRKDIR; chmod o+rx $WRKDIR")


@pytest.mark.claims(
    "Students read it there by its full path, and copy only what they change.",
    "With the last line, whoever knows the name of another file in ``$WRKDIR`` reads it too, if "
    "its own letters allow it:",
    "For a course, let everybody read one folder, and change it yourself alone:",
)
def test_students_read_the_course_and_change_nothing(triton, user):
    student = triton.account()
    user.run("umask 077; cd $WRKDIR; mkdir -p course; echo 1 > course/data.csv; chmod o-rwx .")
    lines = re.findall(r"chmod (?:-R )?a\+.*", pages.read(PAGE))
    assert len(lines) == 2
    user.run("cd $WRKDIR; " + "; ".join(lines))
    user.run("umask 022; mkdir -p $WRKDIR/measurements; echo 1 > $WRKDIR/measurements/known")
    course = f"{WORK}/{user}/course"
    assert student.run(f"cat {course}/data.csv; cp {course}/data.csv mine.csv") == "1\n"
    assert student.run(f"cat {course}/../measurements/known") == "1\n"
    for refused in (
        f"touch {course}/theirs",
        f"rm -f {course}/data.csv",
        f"ls {course}/..",
    ):
        assert student.tries(refused).returncode, refused
    user.run("chmod o+rx $WRKDIR")


@pytest.mark.claims(
    "Everybody on the cluster sees the names of your jobs, and everybody on a node the whole "
    "command line of a program there.",
    "So no name of a person belongs there, and no password.",
    "Permissions protect files, not what you say about them.",
)
def test_others_read_names_of_jobs_and_command_lines(triton, user):
    other = triton.account()
    job = user.run("sbatch --parsable --job-name=patient-7 --output=/dev/null --wrap 'sleep 77.7'")
    user.wait_until(f"squeue --noheader --jobs={job.strip()} --format=%T | grep RUNNING")
    node = user.run(f"squeue --noheader --jobs={job.strip()} --format=%N").strip()
    assert "patient-7" in other.run("squeue --noheader --format=%j")
    assert "sleep 77.7" in other.run(
        "for i in $(seq 50); do ps -eo args | grep '^sleep 77' && break; sleep 0.2; done", node
    )
    user.run(f"scancel {job}")


@pytest.mark.claims(
    "A notebook keeps what its cells have shown, tables and pictures too.",
    "To clear them without a browser: ``jupyter nbconvert --clear-output --inplace``, and the name "
    "of the notebook.",
)
def test_a_notebook_keeps_what_was_shown_until_it_is_cleared(user):
    user.write("~/analysis.ipynb", notebook(["print('Aino, ' + str(40 + 2))"]))
    load = f"module load {FACTS.modules.jupyter}; "
    user.run(f"{load}jupyter nbconvert --execute --inplace analysis.ipynb")
    assert "Aino, 42" in user.run("cat analysis.ipynb")
    user.run(f"{load}jupyter nbconvert --clear-output --inplace analysis.ipynb")
    [cell] = json.loads(user.run("cat analysis.ipynb"))["cells"]
    assert cell["outputs"] == [] and "print" in "".join(cell["source"])


@pytest.mark.claims(
    "JupyterLab keeps a copy of each notebook in a hidden folder beside it, and what you delete "
    "there in ``~/.local/share/Trash``."
)
def test_jupyterlab_keeps_copies_of_what_is_deleted(triton):
    me = triton.account()
    me.write("~/patients.ipynb", notebook(["1"]))
    with Server(triton, me) as server:
        server.talk("ask", "/api/contents/patients.ipynb/checkpoints", {}, "POST")
        assert "patients" in me.run("ls .ipynb_checkpoints")
        server.talk("ask", "/api/contents/patients.ipynb", None, "DELETE")
    assert "patients.ipynb" in me.run("ls ~/.local/share/Trash/files")


@pytest.mark.claims("These two tools were not run to prove this page.")
def test_two_tools_are_not_run():
    assert len([words for words in NOT_RUN[PAGE] if re.match("mkdir remote|rclone", words)]) == 2
