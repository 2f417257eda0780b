#!/usr/bin/env bash
# slurm-testbed.sh - a real Slurm cluster of several virtual nodes on one machine.
#
# flurm is tested against Slurm itself, not against a picture of it. `cargo xtask lab` wraps
# this script (and brings the flurm binary along); it also works alone.
#
# Every virtual node (and the head/login node) is a set of namespaces (net, uts, mount, pid,
# ipc, cgroup) of its own, with its own hostname, IP address, /run, /tmp, /dev/shm, munged and
# slurmd. A bridge in one more network namespace joins them, so the machine's own network, /etc
# and /dev stay as they are, and two clusters (different --dir) can run side by side. /home and
# /usr are shared, as on a real cluster; /tmp and /root of the machine are not visible inside.
#
# Needs: root; bash, util-linux, iproute2, munge, slurmctld, slurmd, slurm-client
# (Debian 12: Slurm 22.05.8); with --dbd also slurmdbd, slurm-wlm-mysql-plugin,
# mariadb-server. `install` fetches the first group, `install --all` both and MPI.
#
#   slurm-testbed.sh install [--all]           apt-get install what is needed
#   slurm-testbed.sh up [options]              bring a cluster up, wait until idle
#   slurm-testbed.sh down [--keep-logs DIR]    kill everything, leave nothing (but the user)
#   slurm-testbed.sh exec NODE [-u USER] CMD…  run CMD on a node (as root, or USER)
#   slurm-testbed.sh login CMD…                run CMD on "head" as the test user
#   slurm-testbed.sh wait [SECONDS]            until every node responds and is usable
#   slurm-testbed.sh status                    nodes, pids, sinfo
#   slurm-testbed.sh crash NODE                power failure: link down, then SIGKILL all
#   slurm-testbed.sh boot NODE                 start a crashed node again
#   slurm-testbed.sh kill-slurmd NODE          SIGKILL only slurmd (tasks live on)
#   slurm-testbed.sh start-slurmd NODE
#   slurm-testbed.sh cut NODE | heal NODE      take the node's link down / up
#   slurm-testbed.sh partition A B | unpartition A B    only the pair A-B
#   slurm-testbed.sh freeze NODE | thaw NODE   pause / resume all of a node (freezer)
#   slurm-testbed.sh pid NODE                  pid (in the caller's view) of its init
#   slurm-testbed.sh logs                      the log directory
#   slurm-testbed.sh selftest [up options]     up, a few checks, down
#
# Options of "up" (or environment variables STB_NODES, STB_SOCKETS, …):
#   --nodes N      (3)     --sockets S (2)   --cores C per socket (10)
#   --threads T    (1)     --gpus G per node (0)     --mem MiB per node (8000)
#   --user USER    (flurmer; made with useradd -m if absent)
#   --mpi NAME     MpiDefault (none)         --proctrack auto|cgroup|linuxproc (auto)
#   --dbd          slurmdbd + MariaDB on head, so that sacct/sacctmgr work
#   --constrain    task/cgroup: confine jobs to their memory and (fake) gpus
#   --jwt          AuthAltTypes=auth/jwt as well (scontrol token)
#   --prefix DIR   use another Slurm, installed in DIR/{bin,sbin}, with this config
#   --extra LINE   one more slurm.conf line (may be repeated)
# Of every command: --dir DIR, before the command (STB_DIR, /run/slurm-testbed): where
# the cluster lives. Of exec and login: STB_CWD (the home directory), STB_PATH (put in
# front of PATH), STB_ENV ("A=1 B=2"); the caller's environment is not passed on.
set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
STB=${STB_DIR:-/run/slurm-testbed}
NODES=${STB_NODES:-3} SOCKETS=${STB_SOCKETS:-2} CORES=${STB_CORES:-10} THREADS=${STB_THREADS:-1}
GPUS=${STB_GPUS:-0} MEM=${STB_MEM:-8000} TUSER=${STB_USER:-flurmer} MPI=${STB_MPI:-none}
PROCTRACK=${STB_PROCTRACK:-auto} DBD=${STB_DBD:-0} JWT=${STB_JWT:-0} CONSTRAIN=${STB_CONSTRAIN:-0} PREFIX=${STB_PREFIX:-} EXTRA=()
NET=198.51.100                 # TEST-NET-2: never routed, and here never leaves the namespaces
export PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
export LC_ALL=C.UTF-8

die() { echo "slurm-testbed: $*" >&2; exit 1; }
say() { [ -n "${STB_QUIET:-}" ] || echo "slurm-testbed: $*" >&2; }

# ---------------------------------------------------------------- small helpers
node_index() { # 0 = head, 1.. = compute nodes
  case $1 in head) echo 0 ;; node[1-9]*) echo "${1#node}" ;; *) die "no node $1" ;; esac
}
node_addr() { echo "$NET.$((10 + $(node_index "$1")))"; }
node_mac() { printf '02:5b:00:00:00:%02x' "$((10 + $(node_index "$1")))"; }
all_nodes() { echo head; for ((i = 1; i <= NODES; i++)); do echo "node$i"; done; }

# The pid of a namespace holder, but only if it is still ours (pids are reused).
live_pid() { # NAME
  local p
  p=$(cat "$STB/pid/$1" 2>/dev/null) || return 1
  [ -n "$p" ] && grep -qzF -- "$STB/etc/init.sh" "/proc/$p/cmdline" 2>/dev/null || return 1
  echo "$p"
}
node_path() { echo "${PREFIX:+$PREFIX/bin:$PREFIX/sbin:}/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"; }
load_params() { [ -r "$STB/params" ] || die "no cluster at $STB"; . "$STB/params"; }

make_cgroups() { # the cluster's cgroup (no NAME), or below it that of node NAME
  [ -e "$STB/cgroups" ] || return 0
  local c d; while read -r c; do
    d=/sys/fs/cgroup/$c/$(<"$STB/cgroot")${1:+/$1}
    [ ! -d "$d" ] || continue
    mkdir "$d"
    [ "$c" != cpuset ] || { cat "$d/../cpuset.cpus" >"$d/cpuset.cpus"; cat "$d/../cpuset.mems" >"$d/cpuset.mems"; }
  done <"$STB/cgroups"
}
# nsenter does not move a process into the cgroups of its target, so do it first
# ($BASHPID: the subshell that calls this)
enter_cgroups() { # NAME
  [ -e "$STB/cgroups" ] || return 0
  local c; while read -r c; do
    echo "$BASHPID" >"/sys/fs/cgroup/$c/$(<"$STB/cgroot")/$1/cgroup.procs"
  done <"$STB/cgroups"
}
in_node() ( # NAME CMD… as root
  p=$(live_pid "$1") || die "$1 is not up"
  enter_cgroups "$1"; shift
  exec nsenter -t "$p" -n -u -m -i -p -C -- env PATH="$(node_path)" SLURM_CONF=/etc/slurm/slurm.conf "$@"
)

wait_for() { # SECONDS CMD…
  local end=$(($(date +%s%N) + $1 * 1000000000)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s%N)" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# ------------------------------------------------------------ configuration files
write_config() {
  local n cpus=$((SOCKETS * CORES * THREADS)) e=$STB/etc
  mkdir -p "$e/slurm" "$e/munge"
  {
    echo "127.0.0.1 localhost"
    for n in $(all_nodes); do echo "$(node_addr "$n") $n"; done
  } >"$e/hosts"
  : >"$e/resolv.conf"
  head -c 1024 /dev/urandom >"$e/munge/munge.key"
  chmod 400 "$e/munge/munge.key"; chmod 700 "$e/munge"; chown -R munge:munge "$e/munge"

  local gres='' grestypes='' task=task/none crmem='' defmem=''
  if [ "$GPUS" -gt 0 ]; then
    gres="Gres=gpu:fake:$GPUS"; grestypes="GresTypes=gpu"
    echo "NodeName=node[1-$NODES] Name=gpu Type=fake File=/run/fakegpu/nvidia[0-$((GPUS - 1))]" >"$e/slurm/gres.conf"
    [ "$GPUS" -gt 1 ] || sed -i 's/\[0-0\]/0/' "$e/slurm/gres.conf"
  fi
  # slurmd loads a cgroup plugin whatever ProctrackType says, and where it finds no
  # /sys/fs/cgroup/systemd its autodetection fails: always name the plugin
  cat >"$e/slurm/cgroup.conf" <<-EOF
	CgroupPlugin=cgroup/v1
	CgroupMountpoint=/sys/fs/cgroup
	ConstrainCores=no
	ConstrainRAMSpace=$([ "$CONSTRAIN" = 1 ] && echo yes || echo no)
	ConstrainDevices=$([ "$CONSTRAIN" = 1 ] && echo yes || echo no)
	EOF
  [ "$CONSTRAIN" = 0 ] || { task=task/cgroup; crmem=_Memory; defmem="DefMemPerCPU=$((MEM / cpus))"; }
  {
    cat <<-EOF
	ClusterName=stb
	SlurmctldHost=head
	SlurmUser=slurm
	AuthType=auth/munge
	MpiDefault=$MPI
	ProctrackType=proctrack/$PROCTRACK
	TaskPlugin=$task
	SelectType=select/cons_tres
	SelectTypeParameters=CR_Core$crmem
	SchedulerType=sched/backfill
	SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
	SlurmctldPidFile=/run/slurmctld/slurmctld.pid
	SlurmctldLogFile=/var/log/slurm/slurmctld.log
	StateSaveLocation=/var/lib/slurm/slurmctld
	SlurmdPidFile=/run/slurmd.pid
	SlurmdLogFile=/var/log/slurm/slurmd.log
	SlurmdSpoolDir=/var/lib/slurm/slurmd
	SlurmdParameters=config_overrides
	SlurmctldDebug=${STB_DEBUG:-info}
	SlurmdDebug=${STB_DEBUG:-info}
	MailProg=/bin/true
	ReturnToService=2
	SlurmctldTimeout=30
	SlurmdTimeout=${STB_SLURMD_TIMEOUT:-10}
	MessageTimeout=${STB_MESSAGE_TIMEOUT:-5}
	TCPTimeout=2
	InactiveLimit=0
	KillWait=${STB_KILLWAIT:-3}
	UnkillableStepTimeout=30
	MinJobAge=300
	Waittime=0
	$grestypes
	$defmem
	EOF
    if [ "$DBD" = 1 ]; then
      echo "AccountingStorageType=accounting_storage/slurmdbd"
      echo "AccountingStorageHost=head"
      echo "AccountingStoreFlags=job_script,job_env,job_comment"
      [ -z "$grestypes" ] || echo "AccountingStorageTRES=gres/gpu"
      echo "JobAcctGatherType=jobacct_gather/linux"
      echo "JobAcctGatherFrequency=task=1"
    fi
    if [ "$JWT" = 1 ]; then
      echo "AuthAltTypes=auth/jwt"
      echo "AuthAltParameters=jwt_key=/var/lib/slurm/jwt_hs256.key"
    fi
    echo "NodeName=node[1-$NODES] CPUs=$cpus Boards=1 SocketsPerBoard=$SOCKETS CoresPerSocket=$CORES ThreadsPerCore=$THREADS RealMemory=$MEM $gres State=UNKNOWN"
    echo "PartitionName=main Nodes=ALL Default=YES DefaultTime=10 MaxTime=INFINITE State=UP"
    for n in "${EXTRA[@]+"${EXTRA[@]}"}"; do echo "$n"; done
  } >"$e/slurm/slurm.conf"

  if [ "$DBD" = 1 ]; then
    cat >"$e/slurm/slurmdbd.conf" <<-EOF
	AuthType=auth/munge
	DbdHost=head
	SlurmUser=slurm
	LogFile=/var/log/slurm/slurmdbd.log
	PidFile=/run/slurmctld/slurmdbd.pid
	StorageType=accounting_storage/mysql
	StorageHost=localhost
	StorageUser=slurm
	StoragePass=stb
	StorageLoc=slurm_acct_db
	EOF
    chown slurm:slurm "$e/slurm/slurmdbd.conf"; chmod 600 "$e/slurm/slurmdbd.conf"
  fi

  # pid 1 of a node: sets the node's own view of the file system up, then reaps.
  cat >"$e/init.sh" <<'EOF'
#!/bin/bash
# init.sh STB NAME - runs as pid 1 of a virtual node; $STB is the cluster's directory
set -eu
stb=$1 name=$2
read -r hostpid _ </proc/self/stat        # /proc is still the machine's: our pid outside
d=$stb/node/$name log=$stb/log/$name
mkdir -p "$d" "$log/slurm" "$log/munge" "$d/varlibmunge" "$d/varlibslurm/slurmctld" "$d/varlibslurm/slurmd" "$d/tmp"
chown munge: "$log/munge" "$d/varlibmunge"; chmod 700 "$log/munge" "$d/varlibmunge"
chown slurm: "$log/slurm" "$d/varlibslurm" "$d/varlibslurm/slurmctld"
chmod 1777 "$d/tmp"
hostname "$name"
# the caller's view of the cluster directory must outlive our own /run
exec 9>"$stb/pid/.$name.new"
keep=/mnt; mount -t tmpfs -o mode=755,size=1m tmpfs $keep; mkdir $keep/stb; mount --rbind "$stb" $keep/stb
bind() { mount --bind "$keep/stb/$1" "$2"; }
bind etc/slurm /etc/slurm
bind etc/munge /etc/munge
bind etc/hosts /etc/hosts
[ ! -e /etc/resolv.conf ] || bind etc/resolv.conf "$(readlink -f /etc/resolv.conf)"
bind "node/$name/varlibmunge" /var/lib/munge
bind "node/$name/varlibslurm" /var/lib/slurm
bind "log/$name/munge" /var/log/munge
bind "log/$name/slurm" /var/log/slurm
mount -t tmpfs -o mode=755 tmpfs /run
install -d -o munge -g munge -m 755 /run/munge
install -d -o slurm -g slurm -m 755 /run/slurmctld
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t proc -o nosuid,nodev,noexec proc /proc
# a fresh sysfs shows this node's own network devices; the cgroup (v1) hierarchies
# are mounted again inside the node's cgroup namespace, rooted at its own cgroup
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
if [ -e "$keep/stb/cgroups" ]; then
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while read -r c; do
    mkdir "/sys/fs/cgroup/$c"; mount -t cgroup -o "$c" cgroup "/sys/fs/cgroup/$c"
  done <"$keep/stb/cgroups"
fi
if [ -s "$keep/stb/gpus" ] && [ "$name" != head ]; then
  mkdir /run/fakegpu
  for ((i = 0; i < $(cat $keep/stb/gpus); i++)); do mknod -m 666 "/run/fakegpu/nvidia$i" c 195 "$i"; done
fi
bind "node/$name/tmp" /tmp             # last: the cluster directory may be below /tmp
ip link set lo up
echo "$hostpid" >&9; exec 9>&-
mv "$keep/stb/pid/.$name.new" "$keep/stb/pid/$name"
umount -l $keep
cd /
exec </dev/null >/dev/null 2>&1
trap 'exit 0' TERM
while :; do sleep infinity & wait $! || :; done
EOF
  chmod 755 "$e/init.sh"
}

# ------------------------------------------------------------------ nodes and net
start_switch() {
  # a network namespace that holds nothing but the bridge
  setsid unshare --net --fork --kill-child -- bash -c '
    read -r p _ </proc/self/stat; echo "$p" >"$1.new"; mv "$1.new" "$1"
    exec </dev/null >/dev/null 2>&1; while :; do sleep infinity & wait $! || :; done
  ' "$STB/etc/init.sh" "$STB/pid/switch" </dev/null >"$STB/log/switch.log" 2>&1 &
  wait_for 10 live_pid switch || die "the switch namespace did not come up"
  local p; p=$(live_pid switch)
  nsenter -t "$p" -n sh -c 'ip link add br0 type bridge && ip link set lo up && ip link set br0 up'
}

start_node() { # NAME: namespaces, network, munged
  local name=$1 p sw i
  i=$(node_index "$name")
  live_pid "$name" >/dev/null && die "$name is up already"
  rm -f "$STB/pid/$name"
  make_cgroups "$name"
  # unshare, started within the node's own cgroups, becomes the namespaces' holder
  (
    enter_cgroups "$name"
    exec setsid unshare --net --uts --ipc --mount --pid --cgroup --fork --kill-child --propagation private \
      -- bash "$STB/etc/init.sh" "$STB" "$name"
  ) </dev/null >"$STB/log/$name.init.log" 2>&1 &
  disown
  wait_for 10 live_pid "$name" || { cat "$STB/log/$name.init.log" >&2; die "$name did not come up"; }
  p=$(live_pid "$name"); sw=$(live_pid switch)
  # veth made straight into the two namespaces: nothing appears in the machine's own
  nsenter -t "$sw" -n sh -ec "
    ip link del v$i 2>/dev/null || :
    ip link add v$i type veth peer name eth0 address $(node_mac "$name") netns $p
    ip link set v$i master br0 up"
  nsenter -t "$p" -n sh -ec "
    echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || :
    ip addr add $(node_addr "$name")/24 brd + dev eth0
    ip link set eth0 up"
  in_node "$name" setpriv --reuid munge --regid munge --clear-groups munged --num-threads=4
}

start_slurmd() { in_node "$1" slurmd; }

start_head() { # also starts a crashed head again: its state is on disk
  start_node head
  if [ "$JWT" = 1 ]; then
    in_node head sh -ec 'k=/var/lib/slurm/jwt_hs256.key; umask 077; [ -e $k ] || { head -c 32 /dev/urandom >$k; chown slurm: $k; }'
  fi
  if [ "$DBD" = 1 ]; then
    in_node head bash -ec '
      d=/var/lib/slurm/mysql s=/run/mysqld/mysqld.sock new=0
      install -d -o mysql -g mysql -m 755 /run/mysqld; chmod 755 /var/lib/slurm
      o="--datadir=$d --innodb-flush-method=nosync --skip-innodb-doublewrite --innodb-buffer-pool-size=32M --innodb-log-file-size=16M"
      if [ ! -e $d ]; then
        new=1; install -d -o mysql -g mysql -m 700 $d
        mariadb-install-db --no-defaults --user=mysql $o --auth-root-authentication-method=normal --skip-test-db >/var/log/slurm/mariadb-install.log 2>&1
      fi
      setsid setpriv --reuid mysql --regid mysql --clear-groups mariadbd --no-defaults $o --socket=$s --pid-file=/run/mysqld/mysqld.pid \
        --skip-networking --innodb-lock-wait-timeout=900 --performance-schema=OFF --key-buffer-size=1M </dev/null >/run/mysqld/log 2>&1 &
      up() { for ((i = 0; i < 600; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; return 1; }
      up mariadb-admin --no-defaults -uroot -S $s ping
      [ $new = 0 ] || mariadb --no-defaults -uroot -S $s -e "create user slurm@localhost identified by \"stb\"; grant all on slurm_acct_db.* to slurm@localhost;"
      setpriv --reuid slurm --regid slurm --clear-groups slurmdbd
      up sacctmgr -n list cluster
      if [ $new = 1 ]; then
        sacctmgr -i add cluster stb >/dev/null
        sacctmgr -i add account stb Description=testbed Organization=testbed >/dev/null
        sacctmgr -i add user "$0" Account=stb >/dev/null
      fi
    ' "$TUSER"
  fi
  in_node head setpriv --reuid slurm --regid slurm --clear-groups slurmctld
}

all_usable() { [ "$(in_node head sinfo -h -N -r -t idle,mixed,alloc,completing -o %N 2>/dev/null | sort -u | wc -l)" = "$NODES" ]; }

# -------------------------------------------------------------------- commands
cmd_up() {
  [ "$(id -u)" = 0 ] || die "must be root"
  while [ $# -gt 0 ]; do
    case $1 in
    --nodes) NODES=$2; shift 2 ;; --sockets) SOCKETS=$2; shift 2 ;; --cores) CORES=$2; shift 2 ;;
    --threads) THREADS=$2; shift 2 ;; --gpus) GPUS=$2; shift 2 ;; --mem) MEM=$2; shift 2 ;;
    --user) TUSER=$2; shift 2 ;; --mpi) MPI=$2; shift 2 ;; --proctrack) PROCTRACK=$2; shift 2 ;;
    --dbd) DBD=1; shift ;; --jwt) JWT=1; shift ;; --constrain) CONSTRAIN=1; shift ;;
    --prefix) PREFIX=$2; shift 2 ;; --extra) EXTRA+=("$2"); shift 2 ;;
    *) die "up: unknown option $1" ;;
    esac
  done
  [ "$NODES" -ge 1 ] && [ "$NODES" -le 200 ] || die "--nodes must be 1..200"
  local b
  PATH=$(node_path)
  for b in unshare nsenter setpriv ip munged slurmctld slurmd sinfo; do
    command -v "$b" >/dev/null || die "$b is missing: run '$0 install'"
  done
  [ ! -e "$STB/params" ] || die "a cluster is there already: run '$0 down' first"
  getent passwd "$TUSER" >/dev/null || useradd -m -s /bin/bash "$TUSER"
  mkdir -p "$STB/pid" "$STB/log" "$STB/node"; chmod 755 "$STB" "$STB/log"
  echo "$GPUS" >"$STB/gpus"; [ "$GPUS" -gt 0 ] || : >"$STB/gpus"

  local fs; fs=$(findmnt -rn -t cgroup -o TARGET | sed -n 's#^/sys/fs/cgroup/##p' | grep -xE 'freezer|memory|devices|cpuacct|cpuset' || :)
  if grep -qx freezer <<<"$fs"; then
    printf '%s\n' "$fs" >"$STB/cgroups"; echo "stb-$(basename "$STB")-$$" >"$STB/cgroot"
    [ "$PROCTRACK" != auto ] || PROCTRACK=cgroup
  else
    [ "$PROCTRACK" != auto ] || PROCTRACK=linuxproc
    [ "$PROCTRACK" != cgroup ] || die "no cgroup v1 freezer: use --proctrack linuxproc"
    [ "$CONSTRAIN" = 0 ] || die "--constrain needs the cgroup v1 hierarchies"
  fi
  for b in NODES SOCKETS CORES THREADS GPUS MEM TUSER MPI PROCTRACK DBD JWT CONSTRAIN PREFIX; do printf '%s=%q\n' "$b" "${!b}"; done >"$STB/params"
  trap 'rc=$?; if [ $rc != 0 ]; then say "up failed, taking it down (logs: ${TMPDIR:-/tmp}/slurm-testbed-failed)"; cmd_down --keep-logs "${TMPDIR:-/tmp}/slurm-testbed-failed"; fi; exit $rc' EXIT
  write_config
  make_cgroups
  start_switch
  # slurmd after slurmctld: one that finds no slurmctld tries again only ten seconds later
  local n w=()
  start_head & w+=($!)
  for n in $(all_nodes); do [ "$n" = head ] || { start_node "$n" & w+=($!); }; done
  for n in "${w[@]}"; do wait "$n" || die "a node did not start"; done
  wait_for 30 in_node head scontrol ping || die "slurmctld does not answer"
  w=()
  for n in $(all_nodes); do [ "$n" = head ] || { start_slurmd "$n" & w+=($!); }; done
  for n in "${w[@]}"; do wait "$n" || die "a slurmd did not start"; done
  wait_for 60 all_usable || { in_node head sinfo -N -l >&2 || :; die "the nodes did not become idle"; }
  trap - EXIT
  say "up: $NODES nodes of ${SOCKETS}x${CORES}x${THREADS} cpus, $GPUS gpus, proctrack/$PROCTRACK, user $TUSER, logs in $STB/log"
}

cmd_down() {
  local keep='' n p root pids=()
  while [ $# -gt 0 ]; do case $1 in --keep-logs) keep=$2; shift 2 ;; *) die "down: unknown option $1" ;; esac; done
  [ -e "$STB/params" ] || { say "nothing to take down"; return 0; }
  . "$STB/params"
  for n in $(all_nodes) switch; do
    p=$(live_pid "$n") || continue
    [ "$n" = switch ] || [ ! -e "$STB/cgroups" ] || freezer "$n" THAWED || :
    kill -KILL "$p" 2>/dev/null || :          # pid 1 of the namespace: takes all of it along
    pids+=("$p")
  done
  for p in "${pids[@]+"${pids[@]}"}"; do
    for ((i = 0; i < 400; i++)); do [ -e "/proc/$p" ] && ! grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null || break; sleep 0.025; done
  done
  if [ -e "$STB/cgroups" ]; then
    root=$(cat "$STB/cgroot")
    while read -r c; do
      [ -d "/sys/fs/cgroup/$c/$root" ] || continue
      for ((i = 0; i < 40; i++)); do
        find "/sys/fs/cgroup/$c/$root" -depth -type d -exec rmdir {} + 2>/dev/null && break
        [ -d "/sys/fs/cgroup/$c/$root" ] || break
        sleep 0.05
      done
    done <"$STB/cgroups"
  fi
  if [ -n "$keep" ]; then mkdir -p "$keep"; cp -r "$STB/log/." "$keep/"; cp "$STB/etc/slurm/slurm.conf" "$keep/"; fi
  rm -rf --one-file-system "$STB"
  say "down"
}

cmd_exec() { # NODE [-u USER] CMD…
  local name=$1 user=root p; shift
  load_params
  if [ "${1:-}" = -u ]; then user=$2; shift 2; fi
  [ "${1:-}" != -- ] || shift
  [ $# -gt 0 ] || set -- bash -l
  p=$(live_pid "$name") || die "$name is not up"
  local home uid gid; IFS=: read -r _ _ uid gid _ home _ < <(getent passwd "$user") || die "no user $user"
  enter_cgroups "$name"
  # pdeathsig: killing the nsenter that waits outside ends the command as well
  # (setpriv sets it after the change of user, which would clear it)
  exec nsenter -t "$p" -n -u -m -i -p -C --wd=/ -- \
    setpriv --reuid "$uid" --regid "$gid" --init-groups --pdeathsig TERM --reset-env -- \
    env -C "${STB_CWD:-$home}" PATH="${STB_PATH:+$STB_PATH:}$(node_path)" LC_ALL=C.UTF-8 \
    ${PREFIX:+SLURM_CONF=/etc/slurm/slurm.conf} ${STB_ENV:+$STB_ENV} "$@"
}
cmd_login() { load_params; cmd_exec head -u "$TUSER" "$@"; }

cmd_crash() { # the link goes first: otherwise the dying sockets would still say goodbye (FIN, RST)
  load_params
  local p; p=$(live_pid "$1") || die "$1 is not up"
  nsenter -t "$(live_pid switch)" -n ip link set "v$(node_index "$1")" down
  [ ! -e "$STB/cgroups" ] || freezer "$1" THAWED
  kill -KILL "$p"
  for ((i = 0; i < 400; i++)); do live_pid "$1" >/dev/null || return 0; sleep 0.025; done
  die "$1 does not die"
}
cmd_boot() { load_params; if [ "$1" = head ]; then start_head; else start_node "$1"; start_slurmd "$1"; fi; }
cmd_wait() { load_params; wait_for "${1:-60}" all_usable || die "not all nodes are usable"; }
cmd_kill_slurmd() { load_params; in_node "$1" sh -c 'kill -KILL "$(cat /run/slurmd.pid)"'; }
cmd_start_slurmd() { load_params; start_slurmd "$1"; }
cmd_cut() { load_params; nsenter -t "$(live_pid switch)" -n ip link set "v$(node_index "$1")" down; }
cmd_heal() { load_params; nsenter -t "$(live_pid switch)" -n ip link set "v$(node_index "$1")" up; }
neigh() { # A B replace|del: make A send what is meant for B nowhere
  if [ "$3" = replace ]; then in_node "$1" ip neigh replace "$(node_addr "$2")" lladdr 02:00:00:00:de:ad dev eth0 nud permanent
  else in_node "$1" ip neigh del "$(node_addr "$2")" dev eth0 2>/dev/null || :; fi
}
cmd_partition() { load_params; neigh "$1" "$2" replace; neigh "$2" "$1" replace; }
cmd_unpartition() { load_params; neigh "$1" "$2" del; neigh "$2" "$1" del; }
freezer() { # NODE FROZEN|THAWED: the whole node at once, as a paused machine
  [ -e "$STB/cgroups" ] || die "freeze needs the cgroup v1 freezer"
  local f=/sys/fs/cgroup/freezer/$(<"$STB/cgroot")/$1/freezer.state
  echo "$2" >"$f"; wait_for 10 grep -qx "$2" "$f"
}
cmd_freeze() { load_params; freezer "$1" FROZEN; }
cmd_thaw() { load_params; freezer "$1" THAWED; }
cmd_pid() { live_pid "$1"; }
cmd_logs() { echo "$STB/log"; }
cmd_status() {
  load_params
  local n; for n in switch $(all_nodes); do echo "$n $(live_pid "$n" || echo down)"; done
  in_node head sinfo -N -l
}
cmd_selftest() {
  [ ! -e "$STB/params" ] || die "a cluster is there already: run '$0 down' first"
  local me="$SELF" ok=0 bad=0 st=0 t0 t1 t2
  t0=$(date +%s%N)
  STB_DIR=$STB "$me" up "$@"
  t1=$(date +%s%N); load_params; export STB_DIR=$STB
  check() { # NAME EXPECTED CMD…
    local n=$1 want=$2 got; shift 2
    got=$("$@" 2>&1) && st=0 || st=$?
    if [ "$got" = "$want" ]; then ok=$((ok + 1)); else bad=$((bad + 1)); echo "FAILED $n (rc $st): wanted '$want', got '$got'"; fi
  }
  local hosts; hosts=$(for ((i = 1; i <= NODES; i++)); do echo "node$i"; done)
  check sinfo "$NODES" "$me" login sinfo -h -t idle -o %D
  check srun "$hosts" "$me" login sh -c "srun -N$NODES --ntasks-per-node=1 hostname | sort -V"
  check sbatch "$hosts" "$me" login sh -c "sbatch -W -Q -N$NODES --ntasks-per-node=1 -o .stb.out --wrap 'srun hostname' && sort -V .stb.out && rm .stb.out"
  check salloc "head node1" "$me" login sh -c "echo \$(salloc -Q -N1 -w node1 sh -c 'hostname; srun hostname')"
  check exit-code 9 sh -c "'$me' login srun -Q -N1 sh -c 'exit 9' 2>/dev/null; echo \$?"
  check mpi-plugins "none pmi2 pmix" "$me" login sh -c "echo \$(srun --mpi=list 2>&1 | grep -oxE '[[:space:]]*(none|pmi2|pmix)' | sort)"
  check pmi2 "0 1 ${NODES}" "$me" login sh -c "srun --mpi=pmi2 -N$NODES --ntasks-per-node=1 sh -c 'echo \$PMI_RANK \${PMI_FD:+1} \$PMI_SIZE' | sort -n | head -1"
  [ "$GPUS" = 0 ] || check gpus "0" "$me" login srun -N1 --gpus-per-node=1 sh -c 'echo $CUDA_VISIBLE_DEVICES'
  [ "$DBD" = 0 ] || check sacct "COMPLETED" "$me" login sh -c 'j=$(sbatch -W --parsable -o /dev/null --wrap true); sleep 1; sacct -X -n -P -j $j -o state'
  "$me" crash node1; check crash "down" sh -c "'$me' status | sed -n 's/^node1 //p' | head -1"
  "$me" boot node1; "$me" wait 60
  check boot "node1" "$me" login srun -w node1 hostname
  t2=$(date +%s%N)
  STB_DIR=$STB "$me" down
  [ ! -e "$STB" ] || bad=$((bad + 1))
  echo "up in $(((t1 - t0) / 1000000)) ms, checks in $(((t2 - t1) / 1000000)) ms, down in $((($(date +%s%N) - t2) / 1000000)) ms"
  echo "$ok passed, $bad failed"
  [ "$bad" = 0 ]
}
cmd_install() {
  local more=()
  [ "${1:-}" != --all ] || more=(slurmdbd slurm-wlm-mysql-plugin slurm-wlm-jwt-plugin mariadb-server
    openmpi-bin libopenmpi-dev libpmix-dev libpmi2-0-dev libpmi0-dev)
  DEBIAN_FRONTEND=noninteractive apt-get -y install --no-install-recommends -o DPkg::Lock::Timeout=600 \
    slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge iproute2 util-linux "${more[@]+"${more[@]}"}"
}

if [ "${1:-}" = --dir ]; then STB=$2; shift 2; fi
case $STB in /*) ;; *) die "--dir must be an absolute path" ;; esac
[ $# -gt 0 ] || { sed -n '2,/^set -e/p' "$SELF" | sed '$d; s/^# \{0,1\}//'; exit 1; }
c=$1; shift
case $c in
up | down | exec | login | status | crash | boot | cut | heal | partition | unpartition | freeze | thaw | pid | logs | wait | selftest | install) "cmd_$c" "$@" ;;
kill-slurmd | start-slurmd) "cmd_${c//-/_}" "$@" ;;
*) die "unknown command $c" ;;
esac
