# Nodes in and out of service.
flux resource info
#> 4 Nodes, 16 Cores, 0 GPUs
flux resource list -n -o '{state} {nnodes} {ncores}'
#> free 4 16
#> allocated 0 0
#> down 0 0
flux resource drain 3 bad fan
flux resource drain -n -o '{ranks} {reason}'
#> 3 bad fan
flux resource status -n -s avail -o '{nnodes}'
#> 3
flux resource list -n -s down -o '{nodelist}'
#> node3
flux submit -N4 true 2>&1 | grep -c .
#> 1
flux resource undrain 3
flux queue drain
flux resource eventlog -f json | grep -c '"name":"undrain"'
#> 1
flux run -N1 --requires=host:node2 flux getattr rank
#> 2
flux R encode -r 0-1 -c 0-3 | flux R decode --short
#> rank[0-1]/core[0-3]
flux resource R | flux R decode --count=core
#> 16
flux hostlist --expand --delimiter=, avail
#> node0,node1,node2,node3
flux hostlist -c node[1-20]
#> 20
