# Instances in instances.
flux alloc -N2 flux getattr size
#> 2
flux alloc -N1 flux alloc -n1 flux getattr instance-level
#> 2
flux alloc -N1 sh -c 'flux run -n2 echo inside; exit 3' || echo code $?
#> inside
#> inside
#> code 3
flux alloc -n4 flux --parent getattr size
#> 4
flux alloc -n1 flux -r getattr instance-level
#> 0
id=$(flux alloc --bg -N1)
flux uri --wait $id | cut -d: -f1
#> local
FLUX_URI=$(flux uri $id) flux getattr instance-level
#> 1
FLURM_URI=$(flux getattr local-uri) FLUX_URI=$(flux uri $id) flux resource list -n -o '{nnodes}' -s all
#> 1
FLURM_URI=$(flux getattr local-uri) FLUX_URI=junk flux jobs 2> /dev/null || echo code $?
#> code 1
flux proxy $id flux getattr instance-level
#> 1
flux proxy $id flux run echo through the proxy
#> through the proxy
flux shutdown $id
flux job wait-event $id clean > /dev/null && echo gone
#> gone
flux alloc -n1 -- flux run -n1 echo behind --
#> behind --
