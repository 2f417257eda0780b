# Gates.
flux queue stop
#> Scheduling is stopped
flux submit --quiet sleep 0
flux queue status
#> Job submission is enabled
#> Scheduling is stopped
flux jobs -n -o '{status_abbrev}'
#> S
flux queue start -a --quiet
flux queue drain
flux jobs -n | wc -l
#> 0
flux queue disable -m 'no more today'
#> Job submission is disabled: no more today
flux submit true 2>&1 | grep -o 'submission is disabled: no more today'
#> submission is disabled: no more today
flux queue enable
#> Job submission is enabled
flux queue idle --timeout=60 && echo idle
#> idle
flux submit --quiet --wait-event=start sleep 1000
timeout 20 flux queue drain --timeout=0.1s 2> /dev/null; echo $?
#> 1
timeout 20 flux queue idle --timeout=0.1s 2> /dev/null; echo $?
#> 1
flux cancel --all --quiet && flux queue drain
