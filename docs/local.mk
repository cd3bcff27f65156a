# The documents that are installed or distributed.
dist_man_MANS += docs/man/mirrord.8 docs/man/mirrord.conf.5
EXTRA_DIST += docs/man/mirrord.conf.5.in
EXTRA_DIST += docs/benchmarks.md docs/design
