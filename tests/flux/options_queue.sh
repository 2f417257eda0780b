# Options of queues and resources, each by what it changes.
flux queue stop --verbose
#> Job submission is enabled
#> Scheduling is stopped
#> 0 pending jobs
#> 0 running jobs
#> Scheduler: built-in, fcfs
flux queue stop --quiet --nocheckpoint && flux queue start --verbose --nocheckpoint | wc -l
#> 5
flux queue disable --nocheckpoint -m why
#> Job submission is disabled: why
flux queue disable --verbose --message=later | wc -l
#> 5
flux queue disable --quiet; flux queue enable --quiet; flux queue disable --quiet
flux queue enable
#> Job submission is enabled
flux queue enable --verbose --nocheckpoint | wc -l
#> 5
flux queue stop --quiet; flux queue start --quiet
flux queue status --verbose | wc -l; flux queue status --all | wc -l
#> 5
#> 2
flux queue status --queue=none 2>&1 | head -1
#> error: queue none not found
flux queue list --no-header --format='{queue} {submission} {scheduling}'
#>  enabled started
flux resource list -n --include=node1 -o '{state} {nnodes}'
#> free 1
#> allocated 0
#> down 0
flux resource list -n --skip-empty -o '{state} {nnodes}'
#> free 4
flux resource list -n --skip-empty --no-skip-empty -o '{state}' | wc -l
#> 3
flux resource info --include=0-1; flux resource info --states=down
#> 2 Nodes, 8 Cores, 0 GPUs
#> 0 Nodes, 0 Cores, 0 GPUs
flux resource R --include=2 | flux R decode --nodelist; flux resource R --states=down | flux R decode --count=node
#> node2
#> 0
flux resource status --no-header --include=node3 --format='{ranks} {nodelist}'
#> 3 node3
flux resource status -n --states=drained | wc -l; flux resource status -n --skip-empty | wc -l
#> 0
#> 1
flux resource drain 0-1 first
flux resource drain 1 second 2> /dev/null || echo refused
#> refused
flux resource drain --force 1 second && flux resource drain -n --include=1 -o '{reason}'
#> second
flux resource drain --update 1 third && flux resource drain --no-header --format='{ranks} {reason}'
#> 0 first
#> 1 third
id=$(flux submit --wait-event=start --requires=rank:2 sleep 1000); flux resource drain 2 && flux resource undrain --force 2-3; flux cancel -q $id
flux resource status -n -s drained,draining | wc -l
#> 2
flux resource undrain --force 0-3
flux resource status -n -s drain | wc -l
#> 0
# The log.
flux resource eventlog --format=json | grep -c '"name":"undrain"'
#> 2
flux resource eventlog --human | head -1 | cut -c1
#> [
flux resource eventlog --color=always | grep -c '33mundrain'
#> 2
flux resource eventlog --time-format=iso | grep -qE '^[0-9]{4}-[0-9]{2}-[0-9]{2}T' && echo iso
#> iso
flux resource eventlog --match=reason=third | wc -l
#> 1
flux resource eventlog --include=1 | grep -c ' drain '
#> 3
flux resource eventlog --wait=drain | wc -l
#> 1
timeout 20 flux resource eventlog --wait=never --timeout=0.1s 2> /dev/null; echo $?
#> 1
flux resource eventlog --follow > followed & until grep -q undrain followed; do :; done; flux resource drain 3; until grep -q 'drain idset="3"' followed; do :; done; kill $!; echo followed
#> followed
# An instance with queues.
cat > queues.toml <<'END'
[fake-resources]
nnodes = 2
cores-per-node = 4
host-prefix = "q"
[queues.batch]
hosts = "q1"
[queues.debug]
hosts = "q0"
END
cat > inside.sh <<'END'
exec 2> errors
flux queue list --queue=debug -n -o '{queue}'
flux queue stop || flux queue stop --all
flux queue start || flux queue start --all
flux queue disable || flux queue disable --all
flux queue enable || flux queue enable --all
flux queue status --queue=debug
flux resource list -n --skip-empty --queue=debug -o '{nodelist}'
flux resource info --queue=debug
flux resource R --queue=debug | flux R decode --nodelist
flux resource status -n --queue=debug -o '{nodelist}'
flux resource drain 0-1 both; flux resource drain -n --queue=debug -o '{nodelist}'; flux resource undrain 0-1
flux submit --quiet --queue=debug --wait-event=start sleep 1000
flux submit --quiet --queue=batch --wait-event=start sleep 1000
flux jobs -n --queue=debug -o '{queue} {nodelist}'
flux pgrep --queue=batch -n -o '{queue}' sleep
flux pkill --queue=debug --wait sleep; flux jobs -n -o '{queue}'
END
flux start -s2 -c queues.toml bash inside.sh
#> debug
#> batch: Scheduling is stopped
#> debug: Scheduling is stopped
#> batch: Scheduling is started
#> debug: Scheduling is started
#> batch: Job submission is disabled
#> debug: Job submission is disabled
#> batch: Job submission is enabled
#> debug: Job submission is enabled
#> debug: Job submission is enabled
#> debug: Scheduling is started
#> q0
#> 1 Node, 4 Cores, 0 GPUs
#> q0
#> q0
#> q0
#> debug q0
#> batch
#> batch
