# The front end.
flux version | head -1 | cut -d: -f1
#> commands
flux -V | grep -c commands
#> 1
flux help jobs | head -1
#> List jobs
mkdir bin && printf '#!/bin/sh\necho hello $1\n' > bin/flux-hello && chmod +x bin/flux-hello
FLUX_EXEC_PATH=$PWD/bin flux hello world
#> hello world
PATH=$PATH:$PWD/bin flux hello path
#> hello path
flux env | grep -c FLUX_URI
#> 1
flux start -o,-Slog-level=3 flux getattr log-level
#> 3
flux start -Smy.attr=7 flux getattr my.attr
#> 7
printf '[tbon]\ntopo = "kary:7"\n' > conf.toml && flux start --config-path=conf.toml flux getattr tbon.topo
#> kary:7
flux start -s 2 flux getattr size
#> 2
flux start -X true 2>&1 | grep -c broker
#> 1
flux start sh -c 'exit 4' || echo code $?
#> code 4
flux jobs --no-such-option 2> /dev/null || echo code $?
#> code 2
flux dmesg > /dev/null && echo ok
#> ok
