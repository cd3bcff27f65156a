"""What the tests stand on: the daemon under test, upstreams real and programmable, images, raw HTTP."""
