#!/bin/bash
# The job of one server. The hub fills in what stands in double braces, none of which a user can write.
#SBATCH --job-name={{ job_name }}
#SBATCH --output="{{ log }}"
#SBATCH --partition={{ partition }}
#SBATCH --time={{ time }}
#SBATCH --mem={{ memory }}
#SBATCH --chdir=/
#SBATCH --no-requeue
#SBATCH --export={{ keep }}
{% if options %}#SBATCH {{ options }}
{% endif %}
umask {{ umask }}       # the log is made with the hub's, for its owner only; files of the user as from a login shell
export HOME=~ USER=$(id -un)
. /etc/profile
module load {{ modules }}
cd

# Where JupyterLab begins: links to everywhere, and nothing can be made beside them.
own=$(mktemp -d "/tmp/jupyter-$SLURM_JOB_ID-XXXXXX")
begin=$own/begin
mkdir "$begin"
{% for name, target in links %}[ ! -d "{{ target }}" ] || ln -s "{{ target }}" "$begin/{{ name }}"
{% endfor %}chmod 500 "$begin"
export JUPYTERHUB_ROOT_DIR=$begin

# Kernels are reached through sockets in this folder, which nobody else can open: see nodes/.
mkdir -m 700 "$own/runtime"
export JUPYTER_RUNTIME_DIR=$own/runtime
trap 'chmod 700 "$begin"; rm -rf "$own"' EXIT

# With this key the server proves whose it is: see certificates.py.
mkdir "$own/tls"
cat > "$own/tls/key.pem" <<'END'
{{ key }}END
cat > "$own/tls/cert.pem" <<'END'
{{ certificate }}END
cat > "$own/tls/ca.pem" <<'END'
{{ authorities }}END
export JUPYTERHUB_SSL_KEYFILE=$own/tls/key.pem JUPYTERHUB_SSL_CERTFILE=$own/tls/cert.pem JUPYTERHUB_SSL_CLIENT_CA=$own/tls/ca.pem

# What the log is not told: these messages name the session, which is as good as a password.
cat > "$own/jupyter_server_config.py" <<'END'
import logging
TELL = ("Setting new xsrf cookie", "xsrf id mismatch", "HubAuth cache miss", "Received request from Hub user", "User model")
logging.getLogger("tornado.application").addFilter(lambda record: not str(record.msg).startswith(TELL))
END

# While the server starts: old logs go, and JupyterLab is told when the job ends, of which labextension/ warns ten minutes before. Nobody
# is asked about news of new versions: who cannot install any needs none.
mkdir "$own/labconfig"
{
    find "$HOME" -maxdepth 1 -type f -name {{ old_logs }} -mmin +{{ log_minutes }} -delete
    ends=$(squeue --noheader --jobs=$SLURM_JOB_ID --format=%e) && ends=$(date --date "$ends" +%s) || ends=
    echo "{\"jobEnds\": \"$ends\", \"disabledExtensions\": {\"@jupyterlab/apputils-extension:announcements\": true}}" > "$own/labconfig/page_config.json"
} &
export JUPYTER_CONFIG_PATH=$own${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}

{{ command }} &
server=$!
trap 'kill -TERM $server' TERM
wait $server; status=$?
while kill -0 $server 2>/dev/null; do wait $server; status=$?; done

# What the kernel counted: cgroup v1, cgroup v2. The log is the user's, so it says what to do.
v1=/sys/fs/cgroup/memory/$(sed -n 's/^[0-9]*:memory:.*\(slurm.*\)/\1/p' /proc/self/cgroup)/memory.oom_control
v2=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/memory.events
if [ $status = 137 ] && grep -qs '^oom_kill [1-9]' "$v1" "$v2"; then
    echo Your server was killed: it took more memory than its profile {{ profile }} allows, {{ most }}. {{ advice }}
fi
exit $status
