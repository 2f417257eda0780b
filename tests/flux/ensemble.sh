# Many copies of one program.
flux submit --cc=1-8 --quiet --wait sh -c 'echo $FLUX_JOB_CC > out.$FLUX_JOB_CC'
cat out.* | sort -n | xargs
#> 1 2 3 4 5 6 7 8
flux jobs -a -n -o '{state} {result}' | sort | uniq -c | xargs
#> 8 INACTIVE COMPLETED
flux submit --cc=0-3 --job-name='sweep{cc}' true | wc -l
#> 4
flux submit --quiet --watch --cc=1-3 echo hello | sort -u
#> hello
flux queue drain
flux jobs -a -n -o '{name}' | grep sweep | sort | xargs
#> sweep0 sweep1 sweep2 sweep3
flux submit --bcc=1-2 --wait --quiet sh -c 'test -z "$FLUX_JOB_CC"' && echo no cc
#> no cc
flux submit --wait --quiet --cc=1-3 sh -c 'exit $FLUX_JOB_CC' || echo worst $?
#> worst 3
