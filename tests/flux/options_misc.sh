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
flux exec --quiet --verbose -r 0 true && echo done
#> done
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
flux hostlist --fallback f12345
#> f12345
flux hostlist --exclude=0 a,b
#> b
flux hostlist --local
#> node[0-3]
flux hostlist --quiet --intersect a b || echo empty
#> empty
flux setattr rank 7 2> /dev/null || echo fixed
#> fixed
flux setattr --force my.own 1 && flux getattr my.own
#> 1
flux dmesg --human --color=never > /dev/null && flux dmesg --delta > /dev/null && echo read
#> read
flux dmesg --read-clear > /dev/null; flux dmesg --clear; flux dmesg | wc -l
#> 0
timeout 1 flux dmesg --follow --new; echo $?
#> 124
flux overlay status --wait=full --down --no-pretty --color=never | wc -l
#> 0
flux overlay status --color=always | grep -c "$(printf '\033')"
#> 4
flux uri --remote . | cut -d: -f1
#> ssh
flux uri --local .. 2> /dev/null || flux uri --local . | cut -d: -f1
#> local
flux proxy --force --nohup --reconnect . sh -c 'flux getattr size'
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
flux start sh -c 'trap "" HUP; timeout 5 flux shutdown --background; echo $?'
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
flux multi-prog -n 0 /dev/null 2> /dev/null || echo empty
#> empty
