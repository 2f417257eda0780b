# Beside the scheduler, and what is known of the instance.
flux exec -r all flux getattr rank | sort -n | xargs
#> 0 1 2 3
flux exec -l -r 2 echo here
#> 2: here
flux exec -r 0-1 false || echo code $?
#> code 1
flux exec -r 1,3 sh -c 'echo x' | wc -l
#> 2
echo input | flux exec -r 0 cat; echo input | flux exec --noinput -r 0 cat
#> input
# Input that comes before the program is there is not lost.
for i in 1 2 3 4 5 6 7 8; do echo $i | flux exec -r 0-3 cat; done | wc -l
#> 32
flux getattr size
#> 4
flux lsattr | grep -c '^local-uri$'
#> 1
flux setattr my.attr 5 && flux getattr my.attr
#> 5
flux overlay status --summary
#> full
flux uptime | grep -c 'size 4'
#> 1
flux ping --count=1 0 | grep -c seq=0
#> 1
