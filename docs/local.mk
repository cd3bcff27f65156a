# The documents that are installed or distributed.
