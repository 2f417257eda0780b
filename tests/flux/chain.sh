# Jobs that wait for each other.
pre=$(flux submit --job-name=pre sh -c 'echo a >> order')
main=$(flux submit --dependency=afterok:$pre sh -c 'echo b >> order')
post=$(flux submit --dependency=afterany:$main sh -c 'echo c >> order')
flux job attach $post
xargs < order
#> a b c
bad=$(flux submit false)
never=$(flux submit --dependency=afterok:$bad true)
flux job wait-event -t 60 $never clean > /dev/null
flux jobs -n -o '{status} {exception.type}' $never
#> FAILED dependency
rescue=$(flux submit --dependency=afternotok:$bad echo rescued)
flux job attach $rescue
#> rescued
flux submit --job-name=one --dependency=singleton --quiet sleep 1000
flux submit --job-name=one --dependency=singleton --quiet true
flux jobs -n -f depend -o '{dependencies}'
#> singleton
flux cancel --all --quiet
flux queue drain
# Who waits for an array waits for all of it.
array=$(flux submit --array=0-2%1 sh -c 'test $SLURM_ARRAY_TASK_ID != 2' | head -n 1)
ok=$(flux submit --dependency=afterok:$array true)
any=$(flux submit --dependency=afterany:$array flux jobs -a -n --name=sh -c 3 -o '{state}')
flux job attach $any
#> INACTIVE
#> INACTIVE
#> INACTIVE
flux job status $ok; flux jobs -n -o '{result} {exception.type}' $ok
#> FAILED dependency
array=$(flux submit --array=0-2 true | head -n 1)
flux job status $(flux submit --dependency=afterok:$array true) && echo all is well
#> all is well
