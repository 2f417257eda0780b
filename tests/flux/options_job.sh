# Options of `flux job`, each by what it changes.
id=$(flux submit -n2 echo got)
flux job attach --label-io --unbuffered --stdin-ranks=0 $id < /dev/null | sort
#> 0: got
#> 1: got
flux job attach --read-only --tail=1 $id 2> /dev/null | wc -l
#> 1
flux job attach --show-events $id 2>&1 | grep -c 'job.clean\| clean'
#> 1
flux job attach --show-exec $id 2> /dev/null | wc -l
#> 2
flux job attach --verbose $id 2>&1 | grep -c got
#> 2
flux job attach --wait-event=start --show-status $id > /dev/null 2>&1 && echo detached
#> detached
flux job eventlog --human $id | head -1 | cut -c1
#> [
flux job eventlog --color=always $id | grep -c 'mclean'
#> 1
flux job eventlog --follow $id | tail -1 | cut -d' ' -f2
#> clean
flux job eventlog --path=output --time-format=offset $id | head -1 | cut -d' ' -f2
#> header
flux job wait-event --format=json $id start | grep -c '"name":"start"'
#> 1
flux job wait-event --count=2 $id priority --timeout=0.1 2> /dev/null || echo only one
#> only one
flux job wait-event --path=output --quiet $id data && echo there
#> there
flux job wait-event --verbose $id clean | wc -l
#> 10
flux job wait-event --waitcreate --match-context=status=0 $id finish | cut -d' ' -f2
#> finish
hold=$(flux submit --urgency=hold sleep 1000)
flux job urgency --verbose $hold default 2>&1 | grep -c 16
#> 1
flux job wait-event $hold start > /dev/null
flux job timeleft --human $hold
#> infinity
flux job hostpids --ranks=0 --delimiter=' ' $hold | grep -cE '^node[0-9]:[0-9]+$'
#> 1
flux job taskmap --ntasks=0 $id
#> 2
flux job taskmap --nodeid=1 $id
#> 0
flux job taskmap --hostname=1 $id | cut -c1-4
#> node
flux job taskmap --taskids=0 $id
#> 0-1
flux job killall --force --user=$(id -u) --signal=USR1 2> /dev/null
flux job status $hold 2> /dev/null || echo code $?
#> code 138
one=$(flux submit --wait-event=start sleep 1000)
flux job raise --message=why --severity=5 $one
flux job eventlog $one | grep -c 'note="why"'
#> 1
flux job raiseall --user=$(id -u) --states=run --severity=0 --force cancel 2> /dev/null
flux job wait-event $one clean > /dev/null && flux jobs -n -o '{result}' $one
#> CANCELED
flux job info $one R | grep -c R_lite
#> 1
