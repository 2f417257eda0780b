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
flux jobs -n -o '{returncode}' $run
#> -9
