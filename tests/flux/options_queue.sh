# Options of queues and resources, each by what it changes.
flux queue stop --all --verbose
#> Job submission is enabled
#> Scheduling is stopped
#> 0 pending jobs
#> 0 running jobs
#> Scheduler: built-in, fcfs
flux queue stop --quiet --nocheckpoint && flux queue start --verbose --nocheckpoint | tail -4 | head -1
#> Scheduling is started
flux queue disable --all --nocheckpoint -m why
#> Job submission is disabled: why
flux queue disable --verbose --message=later | head -1
#> Job submission is disabled: later
flux queue disable --quiet; flux queue enable --quiet; flux queue disable --quiet
flux queue enable --all
#> Job submission is enabled
flux queue enable --verbose --nocheckpoint | wc -l
#> 5
flux queue status --all --verbose | head -1
#> Job submission is enabled
flux queue status --queue=none 2>&1 | head -1
#> error: queue none not found
flux queue list --queue=none 2>&1 | head -1
#> error: queue none not found
flux resource list -n --queue=none 2>&1 | head -1
#> error: queue none not found
flux resource list -n --include=node1 -o '{state} {nnodes}'
#> free 1
#> allocated 0
#> down 0
flux resource list -n --skip-empty -o '{state} {nnodes}'
#> free 4
flux resource list -n --no-skip-empty -o '{state}' | wc -l
#> 3
flux resource info --states=free --include=0-1
#> 2 Nodes, 8 Cores, 0 GPUs
flux resource info --queue=none 2>&1 | head -1
#> error: queue none not found
flux resource R --states=free --include=2 | flux R decode --nodelist
#> node2
flux resource R --queue=none 2>&1 | head -1
#> error: queue none not found
flux resource status -n --include=node3 -o '{nodelist}'
#> node3
flux resource status --queue=none 2>&1 | head -1
#> error: queue none not found
flux resource status -n --skip-empty --states=torpid,exclude,allocated -o '{nodelist}' | wc -l
#> 0
flux resource drain 0-1 first
flux resource drain 1 second 2> /dev/null || echo refused
#> refused
flux resource drain --force 1 second && flux resource drain -n --include=1 -o '{reason}'
#> second
flux resource drain --update 1 third && flux resource drain --no-header --format='{ranks} {reason}'
#> 0 first
#> 1 third
flux resource drain --queue=none 2>&1 | head -1
#> error: queue none not found
flux resource undrain --force 0-3
flux resource status -n -s drain | wc -l
#> 0
flux resource eventlog --human | head -1 | cut -c1
#> [
flux resource eventlog --color=always | grep -c '33mundrain'
#> 1
flux resource eventlog --match=reason=third | wc -l
#> 1
flux resource eventlog --include=1 | grep -c ' drain '
#> 3
flux resource eventlog --wait=drain --time-format=iso | wc -l
#> 1
flux resource eventlog --wait=never --timeout=0.1s 2> /dev/null || echo never
#> never
flux resource eventlog --follow > followed & until grep -q undrain followed; do :; done; kill $!; echo followed
#> followed
