"""What has happened to the reader of a page before it begins. A page that is not listed needs nothing."""
import cluster


def prepare(triton, page, user):
    """Bring about for `user` what `page` takes as given."""
    for stage in STAGES.get(page, ()):
        stage(triton, user)


def a_server_died_of_memory(triton, user):
    """A kernel took more memory than its server's job may, and Slurm killed it. The log is where the hub's servers put theirs."""
    facts = cluster.facts()
    triton.write("login", "~/greedy.py", "x = bytearray(2_000_000_000)\nimport time\ntime.sleep(60)\n", user)
    log = facts["logs"]["pattern"].replace("~/", "").replace("*", "%j")
    job = f"#!/bin/bash\n#SBATCH --mem=300M --time=5 --job-name=spawner-jupyterhub\n#SBATCH --output={log}\n" \
          f"module load {facts['modules']['jupyter']}\njupyter run --kernel=python3 greedy.py\n"
    triton.write("login", "~/server.sh", job, user)
    triton.run("login", "sbatch --wait server.sh; rm server.sh greedy.py; cat jupyterhub_*.log", user, check=False)


STAGES = {
    "triton/apps/jupyter/hub.rst": [a_server_died_of_memory],
    "triton/apps/jupyter/faq.rst": [a_server_died_of_memory],
}
