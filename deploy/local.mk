EXTRA_DIST += deploy/quickstart
