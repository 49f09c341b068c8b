#!/bin/bash
# The job of one server. The hub fills in the double braces; a user can write none of these values.
#SBATCH --job-name={{ job_name }}
#SBATCH --output="{{ log }}"
#SBATCH --partition={{ partition }}
#SBATCH --time={{ time }}
#SBATCH --mem={{ memory }}
#SBATCH --cpus-per-task={{ cores }}
#SBATCH --chdir=/
#SBATCH --no-requeue
#SBATCH --comment="{{ mark }}"
#SBATCH --export=ALL
{% if options %}#SBATCH {{ options }}
{% endif %}
# ALL means the variables that sudo keeps, which the hub set for this server. With a list of names instead, Slurm would first run a login shell
# for up to two minutes, and every srun in a terminal of the server would use that list.
unset "${!SUDO_@}" MAIL
umask {{ umask }}       # that of a login shell, for the user's files; the log was made with the hub's umask, for its owner only
USER=$(id -un)
export HOME=~ USER
. /etc/profile
module load {{ modules }}
cd || :     # a missing home directory is reported below

# fail STATUS WHY: the hub tells the user what each status means (EXITS in profile_spawner.py).
fail() { echo "$2" >&2; exit "$1"; }

# Make the folder of this server: begin/ has the links to the filesystems, where JupyterLab begins, and is read-only; runtime/ has the sockets
# of the kernels, which nobody else can open (see nodes/); the others have its configuration, key and certificates.
prepare() {
    own=$(mktemp -d "$1/jupyter-$SLURM_JOB_ID-XXXXXX") && begin=$own/begin && mkdir -m 700 "$begin" "$own/labconfig" "$own/runtime" "$own/tls" || return
    {% for name, target in links %}[ ! -d "{{ target }}" ] || ln -s "{{ target }}" "$begin/{{ name }}" || return
    {% endfor %}chmod 500 "$begin"
    printf %s {{ key }} > "$own/tls/key.pem" && printf %s {{ certificate }} > "$own/tls/cert.pem" && printf %s {{ authorities }} > "$own/tls/ca.pem" &&
        printf %s {{ server_config }} > "$own/jupyter_server_config.py"      # without it there is no start: it keeps secrets out of the log
}
remove() { [ -z "$own" ] || { chmod -f 700 "$begin"; rm -rf "$own"; own=; }; }
trap remove EXIT
for top in /tmp /var/tmp /dev/shm; do prepare "$top" && break; remove; done
[ -n "$own" ] || fail 101 "The node $HOSTNAME has no room in /tmp, /var/tmp and /dev/shm."
export JUPYTERHUB_ROOT_DIR=$begin JUPYTER_RUNTIME_DIR=$own/runtime
# Python runs what is in these, and in /tmp others may have made them.
export DASK_TEMPORARY_DIRECTORY=$own/runtime TORCHINDUCTOR_CACHE_DIR=$own/runtime/torch
export JOBLIB_TEMP_FOLDER=/dev/shm      # as without this line; but only who is told so makes a folder there that nobody else can read

# With the key the server proves whose server it is (see certificates.py).
export JUPYTERHUB_SSL_KEYFILE=$own/tls/key.pem JUPYTERHUB_SSL_CERTFILE=$own/tls/cert.pem JUPYTERHUB_SSL_CLIENT_CA=$own/tls/ca.pem

# Check the folder of the home directory that each server writes into.
data=${JUPYTER_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/jupyter}
trouble=$({ mkdir -p "$data" && echo room > "$data/.$SLURM_JOB_ID"; } 2>&1) || case $trouble in
    *"No space left"* | *quota*) fail 103 "$trouble" ;;
    *) fail 102 "$trouble" ;;
esac
rm -f "$data/.$SLURM_JOB_ID"

# While the server starts, remove old logs and tell JupyterLab when the job ends; labextension/ warns ten minutes before. JupyterLab does not
# ask about news of its versions, since users cannot install one.
{
    find "$HOME" -maxdepth 1 -type f -name {{ old_logs }} -mmin +{{ log_minutes }} -delete
    ends=$(env -i PATH="$PATH" ${SLURM_CONF:+SLURM_CONF="$SLURM_CONF"} squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e) && ends=$(date --date "$ends" +%s) || ends=
    echo "{\"jobEnds\": \"$ends\", \"idleSeconds\": \"{{ idle_seconds }}\", \"disabledExtensions\": {\"@jupyterlab/apputils-extension:announcements\": true}}" > "$own/labconfig/page_config.json"
} &
export JUPYTER_CONFIG_PATH=$own${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}

# JupyterLab shows them beside what the server takes (usage.py). Where Slurm tells no number, it shows none.
export MEM_LIMIT=$((${SLURM_MEM_PER_NODE:-0} * 1048576)) CPU_LIMIT=$SLURM_CPUS_ON_NODE

# Remove the variables that Slurm has set for this job. In a job that is started from a notebook, srun would read them as its own options.
for name in $(compgen -e); do
    case $name in
        {{ slurm_kept }}) ;;
        SLURM*|SBATCH_CPU_BIND*|SBATCH_MEM_BIND*) unset "$name" ;;
    esac
done

{{ command }} &
server=$!
trap 'kill -TERM $server' TERM
wait $server; status=$?
while kill -0 $server 2>/dev/null; do wait $server; status=$?; done

# The Linux kernel counts killed processes, in cgroup v1 or v2. The user reads the log, so it says what to do.
v1=/sys/fs/cgroup/memory/$(sed -n 's/^[0-9]*:memory:.*\(slurm.*\)/\1/p' /proc/self/cgroup)/memory.oom_control
v2=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/memory.events
if [ $status = 137 ] && grep -qs '^oom_kill [1-9]' "$v1" "$v2"; then
    echo Your server was killed: it took more memory than its profile {{ profile }} allows, {{ most }}. {{ advice }}
fi
exit $status
