# Options of `flux job`, each by what it changes.
other=$(($(id -u) + 1))
id=$(flux submit -n2 sh -c 'echo got; exit 3')
flux job attach --label-io --unbuffered $id 2> /dev/null < /dev/null | sort
#> 0: got
#> 1: got
flux job attach --tail=1 $id 2> /dev/null | wc -l
#> 1
flux job attach --show-events $id 2>&1 | grep -c 'job.clean\| clean'
#> 1
flux job attach --show-exec $id 2>&1 | grep -c exec.shell.start
#> 1
flux job attach --verbose $id 2>&1 | grep -c 'jobid: ƒ'
#> 1
# Input goes to whom it is for, or to nobody.
reads=$(flux submit -n2 -o input.stdin.type=service --wait-event=start cat)
echo typed | flux job attach --label-io --stdin-ranks=1 $reads
#> 1: typed
reads=$(flux submit -o input.stdin.type=service --wait-event=start cat)
echo typed | timeout 1 flux job attach --read-only $reads; echo $?
#> 124
echo typed | timeout 20 flux job attach --wait-event=start $reads; echo $?
#> 0
flux cancel $reads
flux queue stop --quiet; waits=$(flux submit true)
(flux job attach --show-status $waits 2> status) & until grep -qs 'flux-job: .* waiting' status; do :; done; flux queue start --quiet; wait; echo told
#> told
# The log.
flux job eventlog --format=json $id | head -1 | cut -c1
#> {
flux job eventlog --time-format=offset $id | head -1 | cut -d' ' -f1
#> 0.000000
flux job eventlog --human $id | head -1 | cut -c1
#> [
flux job eventlog --color=always $id | grep -c 'mclean'
#> 1
flux job eventlog --path=output $id | head -1 | cut -d' ' -f2
#> header
run=$(flux submit --wait-event=start sleep 1000)
flux job eventlog --follow $run > followed & until grep -qs ' start' followed; do :; done
timeout 20 flux job wait-event --timeout=0.1s $run clean 2> /dev/null; echo $?
#> 1
flux cancel $run; wait; tail -1 followed | cut -d' ' -f2
#> clean
flux job wait-event --format=json $id start | grep -c '"name":"start"'
#> 1
flux job wait-event --count=2 $id priority --timeout=0.1 2> /dev/null || echo only one
#> only one
flux job wait-event --path=output --quiet $id data && echo there
#> there
flux job wait-event --verbose $id clean | wc -l
#> 10
flux job wait-event --waitcreate --match-context=status=0 $id finish 2> /dev/null || echo not with that status
#> not with that status
flux job info $id R | grep -c R_lite
#> 1
# One that waits, one that runs.
hold=$(flux submit --urgency=hold sleep 1000)
flux job urgency --verbose $hold default 2>&1 | grep -c 16
#> 1
flux job wait-event $hold start > /dev/null
flux job timeleft --human $hold
#> infinity
two=$(flux submit -N2 --wait-event=start sleep 1000)
flux job hostpids $two | grep -cE '^node[0-9]:[0-9]+,node[0-9]:[0-9]+$'
#> 1
flux job hostpids --ranks=1 $two | grep -cE '^node[0-9]:[0-9]+$'
#> 1
flux job hostpids --delimiter=' ' $two | grep -cE '^node[0-9]:[0-9]+ node[0-9]:[0-9]+$'
#> 1
flux job taskmap --ntasks=0 $id
#> 2
flux job taskmap --nodeid=1 $id
#> 0
flux job taskmap --hostname=1 $id | cut -c1-4
#> node
flux job taskmap --taskids=0 $id
#> 0-1
# Many at once.
flux job killall --force --user=$other 2> /dev/null; flux job killall; flux jobs -n -f running | wc -l
#> Would signal 2 jobs; -f does it
#> 2
flux job killall --force --user=$(id -u) --signal=USR1 2> /dev/null
flux job status $hold 2> /dev/null || echo code $?
#> code 138
one=$(flux submit --wait-event=start sleep 1000)
flux job raise --message=why --severity=5 --type=remark $one
flux job eventlog $one | grep 'exception' | cut -d' ' -f2- | tr ' ' '\n' | sort | xargs
#> exception note=why severity=5 type=remark userid=[..]
flux job raiseall --user=$other --force cancel 2> /dev/null; flux job raiseall cancel
#> Would raise an exception on 1 job; -f does it
flux job raiseall --states=pending --severity=0 --force cancel 2> /dev/null
flux job raiseall --states=run --force remark less 2> /dev/null
flux job eventlog $one | grep -c exception
#> 2
held=$(flux submit --urgency=hold true)
flux cancel --user=$other --all 2> /dev/null; flux cancel --states=sched 2> /dev/null
flux jobs -n -o '{name} {state}'
#> sleep RUN
flux job raiseall --states=run --severity=0 --force cancel 2> /dev/null
flux job wait-event $one clean > /dev/null && flux jobs -n -o '{result}' $one
#> CANCELED
# How they ended.
flux job status --exception-exit-code=9 $held 2> /dev/null; echo $?
#> 9
flux job status --json $held | grep -o '"result":"[A-Z]*"'
#> "result":"CANCELED"
flux job status --verbose $id 2>&1 | grep -c 'exited with exit code 3'
#> 1
flux job stats | grep -c '"inactive":[1-9]'; flux job list -a | head -1 | grep -c '"ntasks":'
#> 1
#> 1
