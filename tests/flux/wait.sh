# Waiting for many, and their codes.
flux submit --flags=waitable --quiet --cc=1-4 true
flux job wait --all && echo all good
#> all good
flux submit --flags=waitable --quiet true && flux job wait --all --verbose 2>&1 | cut -d: -f2
#>  job completed successfully
id=$(flux submit --flags=waitable false)
flux job wait $id 2> /dev/null || echo code $?
#> code 1
flux job wait --all 2> /dev/null; flux job wait 2> /dev/null || echo nothing left $?
#> nothing left 2
flux run sh -c 'exit 5' 2> err || echo code $?
#> code 5
cat err
#> flux-job: task(s) exited with exit code 5
flux run sh -c 'kill -9 $$' 2> /dev/null || echo code $?
#> code 137
flux run ./nosuchprogram 2> /dev/null || echo code $?
#> code 127
flux submit --wait-event=start --quiet sleep 1000 && echo started
#> started
flux cancel $(flux job last)
flux job status -e 9 $(flux job last) 2> /dev/null || echo code $?
#> code 143
id=$(flux submit -n1000 true 2>&1) || echo impossible
#> impossible
