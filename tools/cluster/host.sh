#!/bin/bash
# host.sh NAME ROLE DISK: the first process of one host, in namespaces of its own. It mounts the host's folders, starts the
# services of its role, and then waits: when it ends, the host ends.
set -eu
name=$1 role=$2 disk=$3
cluster() { [[ $role = controller || $role = node || $role = login || $role = hub ]]; }

# The root folder is an overlay: the image, over it the files for all hosts of this kind, over them what this host writes.
cd "$disk/hosts/$name"
kind=reader; if cluster; then kind=cluster; fi
mount -t overlay overlay -o "lowerdir=../../layers/$kind:../../layers/all:../../image,upperdir=upper,workdir=work,userxattr" root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 dev dev
# Only root of the machine may make devices, so those of the machine are mounted.
device() { touch "dev/$2" && mount --bind "/dev/$1" "dev/$2"; }
for node in null zero full random urandom tty; do device $node $node; done
# A GPU here is /dev/null under another name: Slurm wants a device, and no driver may take it for a card.
for ((number = 0; number < ${GPUS:-0}; number++)); do device null "nvidia$number"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,gid=5,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
for folder in run var/log var/spool root; do mount -t tmpfs -o mode=755,size=256M "$name" "$folder"; done
mount --bind ../tmp tmp
if cluster; then
    mount --rbind "$disk/home" home
    mount --bind "$disk/scratch" "${SCRATCH#/}"
    mount --rbind "$disk/apps" "${APPS#/}"
    mount -o remount,bind,ro "${APPS#/}"
else
    mount --bind ../home home
fi
if [ "$role" = hub ]; then mount --bind "$disk/hub" opt/jupyterhub; fi
mount --bind "$disk/pypi" srv/pypi
mount --bind "$disk/git" srv/git

# Each host has its own cgroup subtree, since each slurmd manages the whole tree that it sees. slurmd needs the folder also
# where there are no cgroups.
mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
if [ -n "${CGROUP:-}" ]; then
    for controller in $CONTROLLERS; do
        own=/sys/fs/cgroup/$controller/$CGROUP/$name
        mkdir -p "$own" "sys/fs/cgroup/$controller"
        if [ "$controller" = cpuset ]; then
            for up in "${own%/*}" "$own"; do
                for file in cpuset.cpus cpuset.mems; do cat "/sys/fs/cgroup/cpuset/$file" > "$up/$file"; done
            done
        fi
        if [ "$controller" = memory ]; then echo 1 > "$own/memory.use_hierarchy" 2>/dev/null || true; fi
        echo 0 > "$own/cgroup.procs"
        mount --bind "$own" "sys/fs/cgroup/$controller"
    done
fi

mkdir old
pivot_root . old
umount -l old
rmdir old
cd /

hostname "$(cat /etc/hostname)"
if [ -d /etc/pki/nssdb ]; then mkdir /root/.pki; ln -s /etc/pki/nssdb /root/.pki; fi
mkdir -p /run/{munge,sshd,lock,mysqld,user} /var/log/{munge,slurm,mysql} /var/spool/{slurmd,slurmctld,cron}
chown munge: /run/munge /var/log/munge
chown slurm: /var/log/slurm /var/spool/slurmctld
chown mysql: /run/mysqld /var/log/mysql

trap 'tail -n 5 /var/log/slurm/*.log /var/log/mysql/*.log >&2 2>/dev/null' ERR
until_works() { for _ in {1..400}; do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "$name: gave up on: $*" >&2; exit 1; }
background() { setsid "$@" </dev/null >>"/var/log/$(basename "$1").log" 2>&1 & }

if cluster; then runuser -u munge -- munged; fi
case $role in
    controller)
        mkdir -p /var/lib/mysql
        mount -t tmpfs -o size=512M mysql /var/lib/mysql    # the accounting ends with the cluster
        chown mysql: /var/lib/mysql
        mariadb-install-db --user=mysql --skip-test-db --auth-root-authentication-method=normal >/var/log/mysql/install.log 2>&1
        background mariadbd --user=mysql --skip-networking --innodb-buffer-pool-size=32M --innodb-log-file-size=16M \
            --innodb-lock-wait-timeout=900 --performance-schema=off --socket=/run/mysqld/mysqld.sock
        until_works mariadb -e 'select 1'
        mariadb -e "create database slurm_acct; create user slurm@localhost identified by 'slurm'; grant all on slurm_acct.* to slurm@localhost"
        slurmdbd
        until_works sacctmgr --immediate add cluster "$CLUSTER"
        slurmctld
        ;;
    node)
        until_works scontrol ping
        slurmd
        ;;
    login | gateway)
        rm -f /etc/ssh/ssh_host_*
        ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
        /usr/sbin/sshd
        ;;
    hub)
        /etc/jupyterhub/install
        ;;
esac
touch /run/ready

# A process whose parent has ended becomes a child of this one, and bash collects its exit status.
while :; do sleep 100000 & wait $! || true; done
