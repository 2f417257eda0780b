# Listings that programs read.
one=$(flux submit --job-name=alpha -n2 true)
two=$(flux submit --job-name=beta sh -c 'exit 7')
flux job status $one $two || echo code $?
#> code 7
flux jobs -a --no-header -o '{name}:{ntasks}:{status}:{returncode}' | sort
#> alpha:2:COMPLETED:0
#> beta:1:FAILED:7
flux jobs --suppress-header -o '{result_abbrev} {name:>6}' $two
#> F   beta
flux jobs -a -n -f failed -o '{name}'
#> beta
flux jobs -a -n --name=alpha -o '{success}'
#> True
flux jobs --json $one | python3 -c 'import json,sys; print(json.load(sys.stdin)["name"])'
#> alpha
flux jobs -a -n -c 1 -o '{id.dec}' | grep -cE '^[0-9]+$'
#> 1
flux jobs --stats-only > /dev/null 2>&1 || echo all done
#> all done
flux job last | wc -l
#> 1
flux job id --to=dec $one | flux job id --to=f58 | grep -c "$one"
#> 1
run=$(flux submit sleep 1000)
flux job wait-event $run start > /dev/null
flux pgrep sleep | wc -l
#> 1
flux job kill -s KILL $run
flux job status $run 2> /dev/null || echo code $?
#> code 137
flux jobs -n -o '{waitstatus:h},{returncode:h} {inactive_reason}' $run
#> 35072,137 Killed
flux job eventlog $run | grep -o 'status=.*'
#> status=35072
run=$(flux submit --wait-event=start sleep 1000)
flux job kill -s TERM $run; flux job status $run 2> /dev/null
flux jobs -n -o '{waitstatus:h},{returncode:h} {inactive_reason}' $run $one
#> 36608,143 Terminated
#> 0,0 Exit 0
none=$(flux submit nosuchcmd); flux job status $none 2> /dev/null || echo code $?
#> code 127
flux jobs -n -o '{returncode} {inactive_reason}' $none
#> 127 command not found
# What is not there.
flux jobs -n -o '{id.f58}' $one ƒ23 2> err | grep -c "$one"; grep -o 'ƒ23 unknown' err
#> 1
#> ƒ23 unknown
flux jobs -n ƒ23 ƒ24 2> err || echo code $?; grep -c unknown err
#> code 1
#> 2
flux jobs -a -n -u $(($(id -u) + 1)) | wc -l
#> 0
flux jobs -a -u nosuchuser 2> /dev/null || echo code $?
#> code 1
flux jobs -a -n -w 5 --name=alpha -o '{name}{name}'
#> alpha
# The shapes that Flux has.
held=$(flux submit --urgency=hold true)
flux jobs -n -o '{t_run} {t_inactive} {expiration} <{nnodes}> {exception.occurred:h} {uri.local}{sched}{user}.' $held
#> 0.0 0.0 0.0 <> - .
flux jobs --json $held | python3 -c '
import json, sys
job = json.load(sys.stdin)
print(job["exception"], job["annotations"], [key for key in ("bank", "returncode", "runtime", "uri") if key in job])'
#> {'occurred': False} {} []
flux cancel -m enough $held; flux job status $held 2> /dev/null || echo code $?
#> code 1
flux jobs --json $held | python3 -c 'import json, sys; print(json.load(sys.stdin)["exception"]["occurred"])'
#> True
flux jobs -n -o '{exception.severity:h} {returncode} {inactive_reason}' $held
#> 0 -128 Canceled: enough
flux job list-ids $held $one | python3 -c '
import json, sys
for job in map(json.loads, sys.stdin):
    print(job["exception_occurred"], job.get("exception_type"), job.get("exception_note"), job["dependencies"])'
#> True cancel enough []
#> False None None []
flux job info $held guest.exec.eventlog 2> /dev/null || echo code $?
#> code 1
LC_ALL=C flux queue list -n | tr -d -c '✔✗' | wc -c
#> 0
flux queue disable --quiet; flux submit true 2>&1 | head -1
#> error: job submission is disabled
