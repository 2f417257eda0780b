# Options of what shows and chooses jobs, each by what it changes.
flux submit --quiet --wait --job-name=done --cc=1-3 true
flux submit --quiet --wait-event=start --job-name=busy sleep 1000
flux jobs -A -n | wc -l
#> 1
flux jobs --user=$(id -u) -n | wc -l
#> 1
flux jobs --since=-1h -n | wc -l
#> 4
flux jobs -n --width=3 -o '{name}'
#> bus
flux jobs --stats -n 2>&1 | grep -c '1 running, 3 completed, 0 failed'
#> 1
flux jobs --recurse-all --level=1 --threads=2 -n -o '{name}'
#> busy
flux jobs --color=always -n | grep -c "$(printf '\033')"
#> 1
flux jobs --include=node0 -n -o '{nodelist}'
#> node0
flux pgrep -a done | wc -l
#> 3
flux pgrep -A busy | wc -l
#> 1
flux pgrep --user=$(id -u) nothing || echo none $?
#> none 1
flux pgrep --filter=completed -n -o '{name}' done | sort -u
#> done
flux pgrep --queue=none busy > /dev/null 2>&1 || echo none
#> none
flux cancel --dry-run --all 2>&1 | grep -c 1
#> 1
flux cancel --user=$(id -u) --states=pending > /dev/null 2>&1; flux jobs -n | wc -l
#> 1
flux pstree --ascii
#> .
#> `-- busy
flux pstree -a --no-combine --ascii | grep -c done
#> 3
flux pstree --filter=completed --ascii -c 10 | tail -1
#> `-- 3*[done]
flux pstree -l -L 1 -p -n --ascii | tail -1 | grep -c busy
#> 1
flux pstree -x -d resources --ascii | grep -c busy
#> 1
flux pstree --detail-format='<{ntasks}>' -n --ascii | tail -1
#> <1>       busy
flux pstree -X -C --label='<{name}>' --parent-label='{name}' --skip-root=no --ascii | grep -c '<busy>'
#> 1
flux watch --all --since=-1h --filter=completed < /dev/null && echo over
#> over
flux watch --active --progress --jps 2> /dev/null &
flux pkill --user=$(id -u) --filter=running --wait busy && echo killed
#> killed
wait; echo watched
#> watched
flux pkill -A --queue=none busy 2> /dev/null || echo none
#> none
flux cancel --quiet --all
