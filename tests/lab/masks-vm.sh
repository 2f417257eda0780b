#!/usr/bin/env bash
# masks-vm.sh - 4 tasks on 2 nodes of 2 sockets x 4 cores, in a virtual machine that has those sockets: `compact` puts
# them on one, `spread` two on each of two, and both are read from the masks that the tasks see.
#
# The machine is qemu's, in software unless VM_ACCEL=kvm. Each of the two brokers in it finds the same 8 cores, by
# discovery. Nothing is installed and nothing of this machine changes; needed are the packages in `scripts/deps.sh vm`
# and a kernel: VM_KERNEL=FILE, or one is fetched as a package and unpacked beside what is built.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
flurm=${FLURM_BIN:-$target/debug/flurm}
limit_s=${VM_LIMIT_S:-300}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "masks-vm: $*" >&2; exit 1; }

for tool in qemu-system-x86_64 busybox cpio strip; do
  command -v "$tool" >/dev/null || fail "no $tool (scripts/deps.sh vm)"
done

kernel=${VM_KERNEL:-}
if [ -z "$kernel" ]; then
  kept=$target/vm-kernel
  if ! compgen -G "$kept/boot/vmlinuz-*" >/dev/null; then
    mkdir -p "$kept"
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -1)
    (cd "$work" && apt-get -q download "$package" >&2) || fail "no kernel (VM_KERNEL=FILE names one)"
    dpkg-deb -x "$work"/linux-image-*.deb "$kept"
  fi
  kernel=$(compgen -G "$kept/boot/vmlinuz-*" | tail -1)
fi

# What the machine has: flurm with its libraries, busybox, and a script that says what it sees.
root=$work/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,etc,root}
strip -g -o "$root/bin/flurm" "$flurm"
cp "$(command -v busybox)" "$root/bin/busybox"
ldd "$flurm" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo '127.0.0.1 localhost vm' >"$root/etc/hosts"
cat >"$root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev; mount -t tmpfs none /tmp
hostname vm; ifconfig lo 127.0.0.1 up
# The firmware has left its line open.
echo >/dev/ttyS0
{
  for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
    echo "socket ${cpu##*cpu} $(cat $cpu/topology/physical_package_id)"
  done
  flurm start --test-size=2 sh /check; echo "ended $?"
} 2>&1 | sed 's/^/vm: /' >/dev/ttyS0
poweroff -f
END
cat >"$root/check" <<'END'
see() { # NAME OPTION... : what each of 4 tasks sees
  name=$1; shift
  flurm run -n4 "$@" sh -c 'echo "'"$name"' task $FLUX_TASK_RANK rank $(flurm getattr rank) cpus" \
    $(sed -n "s/^Cpus_allowed_list:[[:space:]]*//p" /proc/self/status)'
}
flurm resource list
see compact --placement=compact
see spread --placement=spread
END
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initrd"

# On a machine that is busy, the check of the timer fails and the kernel gives up.
begun=$SECONDS
timeout -k 5 "$limit_s" qemu-system-x86_64 -accel "${VM_ACCEL:-tcg}" -cpu max -m 1024 \
  -smp 8,sockets=2,cores=4,threads=1 -kernel "$kernel" -initrd "$work/initrd" \
  -append "console=ttyS0 quiet panic=-1 no_timer_check" -nographic -no-reboot -nic none </dev/null >"$work/console" 2>&1 ||
  { tail -40 "$work/console" >&2; fail "the machine did not end by itself within $limit_s s"; }
tr -d '\r' <"$work/console" | sed -n 's/^vm: //p' | tee "$work/said"
echo "masks-vm: the machine ran for $((SECONDS - begun)) s"

# compact: one rank, one socket, a CPU for each task. spread: two tasks on each of two sockets, a CPU for each.
awk '
  function wrong(what) { print "masks-vm: " what > "/dev/stderr"; bad = 1 }
  $1 == "socket" { socket[$2] = $3; sockets[$3]++ }
  $1 == "ended" && $2 != 0 { wrong("flurm start ended with " $2) }
  $2 == "task" {
    if ($7 !~ /^[0-9]+$/) wrong($0 ": more than one CPU")
    if (seen[$1, $5, $7]++) wrong($0 ": a CPU twice")
    tasks[$1]++
    if (on[$1, $5, socket[$7]]++ == 0) parts[$1]++
    if (on[$1, $5, socket[$7]] > most[$1]) most[$1] = on[$1, $5, socket[$7]]
  }
  END {
    for (s in sockets) if (sockets[s] != 4) wrong("socket " s " has " sockets[s] " cores, not 4")
    if (tasks["compact"] != 4 || parts["compact"] != 1) wrong("compact: " tasks["compact"]+0 " tasks on " parts["compact"]+0 " sockets")
    if (tasks["spread"] != 4 || parts["spread"] != 2 || most["spread"] != 2) wrong("spread: " tasks["spread"]+0 " tasks on " parts["spread"]+0 " sockets")
    exit bad
  }' "$work/said" || { tail -40 "$work/console" >&2; fail "the masks are not as they should be"; }
echo "masks-vm: 4 tasks: compact on one socket, spread 2 + 2"
