# Options of the rest, each by what it changes.
flux exec --exclude=0-1 flux getattr rank | sort
#> 2
#> 3
id=$(flux submit --wait-event=start -N2 sleep 1000)
flux exec --jobid=$id flux getattr rank | wc -l
#> 2
flux cancel -q $id
flux exec --dir=/usr --rank=1 pwd
#> /usr
flux exec --verbose --rank=0 true 2>&1 | cut -d' ' -f1-3
#> 0: started process
#> 0: Exit 0
flux exec --quiet --rank=0 false 2>&1 || echo code $?
#> code 1
flux hostlist --find=c a,b,c
#> 2
flux hostlist --limit=2 n[1-9]
#> n[1-2]
flux hostlist --limit=-1 n[1-9]
#> n9
flux hostlist --sort b,a,n10,n2
#> a,b,n[2,10]
flux hostlist --union a,b b,c
#> a,b,c
flux hostlist --minus n[1-4] n2
#> n[1,3-4]
flux hostlist --xor a,b b,c
#> a,c
FLUX_URI=local:///nowhere flux hostlist --fallback instance
#> instance
flux hostlist --exclude=0 a,b
#> b
flux hostlist --local
#> node[0-3]
flux hostlist --quiet --intersect a b || echo empty
#> empty
flux setattr rank 7 2> /dev/null || echo fixed
#> fixed
flux setattr --force hostname elsewhere && flux lsattr --verbose | grep ^hostname | xargs
#> hostname elsewhere
flux dmesg --clear; flux logger one; flux dmesg | cut -d' ' -f3-
#> one
flux dmesg --human | grep -cE '^[A-Z][a-z]{2} [0-9]{2} '; flux dmesg --delta | grep -cF '[    +0.0'
#> 1
#> 1
flux logger --severity=err worse; flux dmesg --color=always | grep -c "$(printf '\033')"
#> 1
(flux dmesg --follow --new > new & echo $! > follower); until grep -qs two new; do flux logger two; done; kill $(cat follower); grep -c one new
#> 0
flux dmesg --read-clear | grep -c one; flux dmesg | grep -c one
#> 1
#> 0
timeout 0.5 flux overlay status --wait=lost --summary; flux overlay status --down | wc -l
#> 0
flux overlay status --verbose --no-pretty | grep -cE '^[0-9] node[0-9]: full for '
#> 4
flux overlay status --color=always | grep -c "$(printf '\033')"
#> 4
flux uri --remote . | cut -d: -f1
#> ssh
flux uri --local ssh://elsewhere/tmp/socket
#> local:///tmp/socket
held=$(flux batch -n1 --urgency=hold --wrap true); timeout 0.5 flux uri --wait $held; echo $?
#> 124
flux cancel $held
flux proxy --force --nohup . sh -c 'kill -HUP $$; flux getattr size'
#> 4
flux start -v true 2>&1 | grep -c broker
#> 1
flux start --wrap=env,X=1 sh -c 'echo $X'
#> 1
flux start --conf=tbon.topo=kary:3 flux getattr tbon.topo
#> kary:3
flux start flux shutdown --quiet --skip-gc --yes; echo $?
#> 129
flux shutdown --verbose=1 $(flux alloc --bg -n1) 2>&1
#> flux-shutdown: the instance has ended
flux start sh -c 'trap "" HUP; timeout 20 flux shutdown --background; echo $?'
#> 0
id=$(flux submit --urgency=hold -t 1h true)
flux update --dry-run --wait $id duration=+1h
#> attributes.system.duration=7200.0
flux jobs -n -o '{duration!F}' $id
#> 1h
flux update --verbose $id duration=+1h
#> attributes.system.duration=7200.0
flux cancel -q $id
flux mini run echo old habits 2> /dev/null
#> old habits
printf '0 first\n* other %%t\n' > programs; flux multi-prog --dry-run=0-1 programs
#> 0: first
#> 1: other 1
