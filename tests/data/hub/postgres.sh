#!/bin/bash
# Start a PostgreSQL on the hub's host, and change the hub's configuration to use it.
set -e
cd /
bin=$(echo /usr/lib/postgresql/*/bin)
bin=${bin##* }
data=/var/lib/hub-postgres
install -d -o postgres -m 700 $data
install -d -o postgres /run/postgresql
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
as_postgres "$bin/initdb" --auth=peer --no-sync $data
as_postgres "$bin/pg_ctl" --wait --pgdata=$data --log=$data/log \
    --options='-c listen_addresses=' start
as_postgres createuser jupyterhub
as_postgres createdb --owner=jupyterhub jupyterhub
# The comment above the line of the configuration has the address.
sed --in-place=.sqlite --regexp-extended \
    '/^# PostgreSQL: /{N; s|^# PostgreSQL: (.*)\n(c.JupyterHub.db_url = ).*|\2\1|}' \
    /etc/jupyterhub/jupyterhub_config.py
