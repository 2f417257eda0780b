# Jobs that change while they wait or run.
id=$(flux submit --urgency=hold -t 10m true)
flux jobs -n -o '{urgency} {duration!F}' $id
#> 0 10m
flux update $id duration=+5m name=other
flux jobs -n -o '{name} {duration!F}' $id
#> other 15m
flux job urgency $id default
flux job status $id && echo ran
#> ran
flux job eventlog $id | grep -c jobspec-update
#> 1
flux job memo $id x=1 2> /dev/null || echo too late
#> too late
run=$(flux submit -t 1h sleep 1000)
flux job wait-event $run start > /dev/null
flux update $run duration=-30m
flux job timeleft $run | awk '{print ($1 > 1700 && $1 <= 1800) ? "half an hour" : $1}'
#> half an hour
flux job memo $run phase=2
flux jobs -n -o '{user.phase}' $run
#> 2
flux job raise --severity=7 --type=remark $run -- just saying
flux cancel $run
flux job wait-event -m type=cancel $run exception > /dev/null && echo canceled
#> canceled
