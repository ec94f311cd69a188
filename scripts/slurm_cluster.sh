#!/usr/bin/env bash
# A real SLURM on this one machine, for tests: munged, slurmctld and one slurmd for each node.
#
# Usage: scripts/slurm_cluster.sh COMMAND
#   install                  installs Debian's packages where they are missing, starting no service
#   up                       starts the cluster; returns when every node is idle
#   down                     ends what `up` started; logs stay in $SLURM_TEST_DIR/log
#   env                      prints what a shell must export: eval "$(scripts/slurm_cluster.sh env)"
#   exec CMD...              runs CMD (srun, salloc) as the host "ctl", where the nodes' names resolve
#   kill-node [--silent] N   crash of node N: SIGKILL to all its processes; slurmctld learns of it,
#                            or (--silent) finds out after SlurmdTimeout
#   start-node N             brings node N back
#   task-pid JOB RANK        prints the pid, on this machine, of a task of step 0
#
# Settings, by environment variables:
#   SLURM_TEST_DIR     (/tmp/slurm_test) root's own folder, which all can enter; a short path, since
#                      names of sockets have at most 107 characters
#   SLURM_TEST_PORT    (16817) of slurmctld; node N listens on the N-th after it
#   SLURM_TEST_FIRST_JOB (1) the first job's id. Where several clusters are up, they need ids of
#                      their own: runs know each other by their jobs' ids, and share the network
#   SLURM_TEST_NODES   (2), SLURM_TEST_CPUS (8) and SLURM_TEST_GPUS (2) on each; made up
#   SLURM_TEST_KILL_WAIT (5), SLURM_TEST_GRACE (10)  seconds from SIGTERM to SIGKILL, and from a
#                      preemption's signal to the requeue
#
# `up` needs root with CAP_SYS_ADMIN: each slurmd gets separate mount, UTS and PID namespaces, so
# that tasks see a host name nodeN, an /etc/hosts that knows all nodes, their own /dev/shm and only
# their node's processes. The network is shared, every socket is on 127.0.0.1. Nothing outside
# SLURM_TEST_DIR is written.
set -euo pipefail

dir=${SLURM_TEST_DIR:-/tmp/slurm_test}
port=${SLURM_TEST_PORT:-16817}
first_job=${SLURM_TEST_FIRST_JOB:-1}
nodes=${SLURM_TEST_NODES:-2}
cpus=${SLURM_TEST_CPUS:-8}
gpus=${SLURM_TEST_GPUS:-2}
kill_wait=${SLURM_TEST_KILL_WAIT:-5}
grace=${SLURM_TEST_GRACE:-10}
conf=$dir/etc/slurm.conf
export SLURM_CONF=$conf

die() {
  printf 'slurm_cluster.sh: %s\n' "$@" >&2
  exit 1
}

# ---- processes: a file holds "PID STARTTIME", so that it never names an unrelated process of a later boot.
# Where PID 1 reaps nothing, ended daemons stay zombies, for which kill -0 succeeds.

# Prints "STATE STARTTIME".
stat_of() { sed 's/^.*) //' "/proc/$1/stat" 2> /dev/null | cut -d' ' -f1,20; }

remember() {  # FILE PID
  local stat
  stat=$(stat_of "$2") || true
  echo "$2 ${stat#* }" > "$1"
}

is_running() {  # FILE
  local pid start stat
  [[ -s $1 ]] && read -r pid start < "$1" && stat=$(stat_of "$pid") &&
    [[ ${stat#* } == "$start" && ${stat%% *} != Z ]]
}

is_gone() { ! is_running "$1"; }

wait_for() {  # SECONDS CMD...
  local end=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

stop_process() {  # FILE [SIGNAL]
  local pid
  [[ -s $1 ]] || return 0
  if is_running "$1"; then
    read -r pid _ < "$1"
    kill -"${2:-TERM}" "$pid" 2> /dev/null || true
    if ! wait_for 10 is_gone "$1"; then
      kill -KILL "$pid" 2> /dev/null || true
      wait_for 5 is_gone "$1" || true
    fi
  fi
  rm -f "$1"
}

# ---- packages

has_packages() { command -v slurmctld slurmd sbatch munged > /dev/null && [[ $(
  command -v slurmctld slurmd sbatch munged | wc -l) == 4 ]]; }

install_packages() {
  has_packages && return
  ((EUID == 0)) || die "only root can install slurmctld, slurmd, slurm-client and munge."
  local log policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then  # keeps the packages from starting their services
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f '"$policy" EXIT
  fi
  log=$(mktemp)
  if ! { apt-get -o DPkg::Lock::Timeout=300 update &&
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y \
      --no-install-recommends slurmctld slurmd slurm-client munge; } > "$log" 2>&1; then
    tail -n 15 "$log" >&2
    die "apt-get could not install SLURM (its last lines are above, all of them in $log)."
  fi
  rm -f "$log"
}

# ---- configuration

write_slurm_conf() {
  local i
  cat << CONF
ClusterName=test
SlurmctldHost=ctl(127.0.0.1)
SlurmctldPort=$port
FirstJobId=$first_job
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job can start cred_expire + 1 seconds later; 5 is the least.
AuthInfo=socket=$dir/munge/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/pid/slurmctld.slurm-pid
SlurmdPidFile=$dir/pid/%n.slurm-pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
SlurmctldDebug=debug
SlurmdDebug=debug
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.log
# More CPUs than the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
# With the submitter's limit, crashing tasks leave no core files.
PropagateResourceLimits=CORE
JobRequeue=1
ReturnToService=2
KillWait=$kill_wait
KillOnBadExit=0
SlurmdTimeout=20
SlurmctldTimeout=30
MessageTimeout=10
BatchStartTimeout=20
InactiveLimit=0
EnforcePartLimits=ALL
MinJobAge=3600
# Jobs start at once.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
PriorityType=priority/basic
# A job in "high" evicts jobs in "test": they get their --signal at once and are requeued later.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
CONF
  for ((i = 1; i <= nodes; ++i)); do
    echo "NodeName=node$i NodeHostname=node$i NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=$cpus" \
      "Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=65536" \
      "Gres=gpu:$gpus State=UNKNOWN"
  done
  local partition="Nodes=node[1-$nodes] MaxTime=INFINITE DefaultTime=60 State=UP"
  echo "PartitionName=test Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=$grace $partition"
  echo "PartitionName=high Default=NO PriorityTier=10 PreemptMode=OFF $partition"
}

write_files() {
  local i
  mkdir -p "$dir"/{etc,state,spool,log,pid,munge,dev}
  chmod 755 "$dir" "$dir"/{etc,state,spool,log,pid,munge,dev}
  (umask 077 && head -c 128 /dev/urandom > "$dir/munge/munge.key")
  {
    echo "127.0.0.1 localhost ctl"
    for ((i = 1; i <= nodes; ++i)); do echo "127.0.0.1 node$i"; done
  } > "$dir/etc/hosts"
  write_slurm_conf > "$conf"
  # slurmd drops a GPU without a device file; the number that ends the name becomes its index.
  for ((i = 0; i < gpus; ++i)); do ln -sfn /dev/null "$dir/dev/gpu$i"; done
  : > "$dir/etc/gres.conf"
  if ((gpus > 0)); then
    echo "NodeName=node[1-$nodes] Name=gpu File=$dir/dev/gpu[0-$((gpus - 1))]" > "$dir/etc/gres.conf"
  fi
  : > "$dir/etc/plugstack.conf"
}

# ---- daemons

start_munge() {
  munged --key-file="$dir/munge/munge.key" --socket="$dir/munge/munge.socket" \
    --pid-file="$dir/munge/munged.pid" --log-file="$dir/log/munged.log" \
    --seed-file="$dir/munge/munged.seed" --num-threads=4
  wait_for 10 munge -n -S "$dir/munge/munge.socket" || die "munged: $(tail -n 3 "$dir/log/munged.log")"
  remember "$dir/pid/munged" "$(cat "$dir/munge/munged.pid")"
}

start_controller() {
  # shellcheck disable=SC2016
  setsid unshare --mount --uts bash -c '
    hostname ctl
    mount --bind "$1/etc/hosts" /etc/hosts
    exec slurmctld -D -f "$2"' _ "$dir" "$conf" < /dev/null > "$dir/log/slurmctld.out" 2>&1 &
  remember "$dir/pid/slurmctld" $!
  wait_for 10 eval 'scontrol ping || is_gone "$dir/pid/slurmctld"'
  is_running "$dir/pid/slurmctld" || die "slurmctld: $(tail -n 3 "$dir/log/slurmctld.log")"
}

# PID 1 of the node is a shell: it reaps orphans, which slurmd does not.
start_node() {
  local node=node$1
  ! is_running "$dir/pid/$node" || die "$node is already up"
  mkdir -p "$dir/spool/$node"
  # shellcheck disable=SC2016
  setsid unshare --mount --uts --pid --fork --kill-child --mount-proc bash -c '
    hostname "$1"
    mount --bind "$2/etc/hosts" /etc/hosts
    mount -t tmpfs tmpfs /dev/shm
    slurmd -D -N "$1" -f "$3" &
    wait $!' _ "$node" "$dir" "$conf" < /dev/null > "$dir/log/$node.out" 2>&1 &
  remember "$dir/pid/$node" $!
}

are_nodes_idle() { (($(sinfo -h -N -p test -t idle -o %N | wc -l) == nodes)); }

up() {
  ((EUID == 0)) || die "up needs root"
  has_packages || die "SLURM's programs are missing. HINT: run scripts/slurm_cluster.sh install"
  down
  trap 'rc=$?; if ((rc != 0)); then down; fi' EXIT
  rm -rf "$dir"/{etc,state,spool,log,pid,munge,dev}
  write_files
  start_munge
  # Before the nodes: a slurmd that finds no controller tries again only a second later.
  start_controller
  local i
  for ((i = 1; i <= nodes; ++i)); do start_node "$i"; done
  if ! wait_for 60 are_nodes_idle; then
    { sinfo -N -l; sinfo -R; tail -n 8 "$dir"/log/*; } >&2 || true
    die "the nodes did not become idle"
  fi
}

down() {
  local file
  [[ -d $dir/pid ]] || return 0
  for file in "$dir"/pid/node*; do
    [[ $file == *.slurm-pid ]] || stop_process "$file" KILL
  done
  stop_process "$dir/pid/slurmctld"
  stop_process "$dir/pid/munged"
}

kill_node() {
  local tell=yes
  if [[ $1 == --silent ]]; then
    tell=no
    shift
  fi
  stop_process "$dir/pid/node$1" KILL
  [[ $tell == no ]] || scontrol update NodeName="node$1" State=DOWN Reason=crash
}

# Pids inside a node are those of its namespace, so the task is found by its variables.
task_pid() {
  local step pid
  for step in $(pgrep -x slurmstepd); do
    for pid in $(pgrep -P "$step"); do
      tr '\0' '\n' < "/proc/$pid/environ" 2> /dev/null |
        grep -cxF -e "SLURM_CONF=$conf" -e "SLURM_JOB_ID=$1" -e "SLURM_STEP_ID=0" \
          -e "SLURM_PROCID=$2" | grep -qx 4 && echo "$pid"
    done
  done || true
}

command=${1:-}
shift || true
case $command in
  install) install_packages ;;
  up) up ;;
  down) down ;;
  env) echo "export SLURM_CONF=$conf" ;;
  exec)
    read -r controller _ < "$dir/pid/slurmctld"
    exec nsenter -t "$controller" --mount --uts --wd="$PWD" -- "$@"
    ;;
  kill-node) kill_node "$@" ;;
  start-node) start_node "$1" ;;
  task-pid) task_pid "$@" ;;
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0" ;;
  *) die "unknown command '$command'. HINT: see scripts/slurm_cluster.sh --help" ;;
esac
