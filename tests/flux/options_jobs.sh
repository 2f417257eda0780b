# Options of what shows and chooses jobs, each by what it changes.
other=$(($(id -u) + 1))
flux submit --quiet --wait --job-name=done --cc=1-3 sh -c 'echo out of {cc}'
flux submit --quiet --wait --job-name=worse false
flux submit --quiet --wait-event=start --job-name=busy sleep 1000
flux jobs -A -n | wc -l
#> 1
flux jobs -a --count=2 -n -o '{name}' | xargs
#> busy worse
flux jobs --user=$other -n | wc -l
#> 0
flux jobs --since=-1h -n | wc -l
#> 5
flux jobs -n --width=3 -o '{name}'
#> bus
flux jobs --stats -n 2>&1 | grep -c '1 running, 3 completed, 1 failed'
#> 1
flux jobs -a --sort=name,-t_submit -n -o '{name}' | xargs
#> busy done done done worse
flux jobs --color=always -n | grep -c "$(printf '\033')"
#> 1
flux jobs --include=node0 -n -o '{nodelist}'; flux jobs --include=node1 -n -o '{nodelist}'
#> node0
flux pgrep -a done | wc -l
#> 3
flux pgrep -A busy | wc -l
#> 1
flux pgrep --user=$other busy || echo none $?
#> none 1
flux pgrep --filter=completed -n -o '{name}' 'done|busy' | sort -u
#> done
flux pgrep -a --filter=completed,running --format='{name}' 'done|busy' | head -1
#> NAME
flux pgrep -a --no-header --format='{name}' busy
#> busy
flux pgrep -a -c 2 done | wc -l; flux pgrep -a --max-entries=3 done | wc -l
#> 2
#> 1
flux pgrep --queue=none busy > /dev/null 2>&1 || echo none
#> none
flux cancel --dry-run --all 2>&1 | grep -c 1; flux jobs -n | wc -l
#> 1
#> 1
flux cancel --user=$other --all > /dev/null 2>&1; flux cancel --states=pending --all > /dev/null 2>&1; flux jobs -n | wc -l
#> 1
# The tree.
flux pstree --ascii
#> .
#> `-- busy
flux pstree -a --no-combine --ascii | grep -c done
#> 3
flux pstree --filter=completed --ascii -c 10 | tail -1
#> `-- 3*[done]
flux pstree -a -c 2 --ascii | tail -1
#> `-- worse:F
flux pstree --details=resources | head -1 | xargs
#> JOBID NODES CORES GPUS CORES
flux pstree --extended | head -1 | xargs
#> JOBID USER ST NTASKS NNODES RUNTIME
flux pstree --extended --no-header | awk '{print $3, $NF}'
#> R busy
flux pstree --detail-format='<{ntasks}>' -n | tail -1
#> <1>       busy
flux pstree --detail-format='<{ntasks}>' -n --skip-root=no | tail -1
#> <1>       └── busy
flux pstree --compact --label='<{name}>' | tail -1
#> └─<busy>
script -qec "stty cols 20; flux pstree --label='{name}{name}{name}{name}{name}'; flux pstree --long --label='{name}{name}{name}{name}{name}'" /dev/null | tr -d '\r'
#> .
#> └── busybusybusybusy
#> .
#> └── busybusybusybusybusy
# Instances in instances.
script -qec 'flux cancel --quiet --all' /dev/null && flux queue drain
inner=$(flux alloc --bg -n1 --job-name=inner 2> /dev/null); uri=$(flux uri $inner)
FLUX_URI=$uri flux alloc --bg -n1 --job-name=deep > /dev/null 2>&1
flux jobs -n -o '{name}' | xargs
#> inner
flux jobs --recurse-all --threads=2 -n -o '{name}' | grep -v ƒ | xargs
#> inner deep
flux jobs --recursive -n -o '{name}' | grep -v ƒ | xargs
#> inner deep
flux jobs --recursive --level=0 -n -o '{name}' | grep -v ƒ | xargs
#> inner
flux pstree --parent-label='<{name}>' -L 0 | tail -1
#> └── <inner>
flux pstree --parent-ids -L 0 | grep -c "$inner inner"
#> 1
flux cancel --quiet --all && flux queue drain
# What many jobs say.
flux watch --all | sort
#> out of 1
#> out of 2
#> out of 3
flux watch --since=-1h | wc -l
#> 3
flux watch --all --filter=failed | wc -l
#> 0
flux watch --active --count=9 | wc -l
#> 0
flux submit --quiet --wait-event=start --job-name=busy sleep 1000
script -qec 'flux watch --active --progress --jps' seen > /dev/null & until grep -qs 'R:1.* job/s' seen; do :; done; echo a bar
#> a bar
flux pkill -A --queue=none busy 2> /dev/null || echo none
#> none
flux pkill --user=$other busy 2> /dev/null || echo none
#> none
flux pkill --filter=pending busy 2> /dev/null || echo none
#> none
flux pkill --wait busy && flux jobs -a -n -c1 -o '{state}'
#> INACTIVE
wait
