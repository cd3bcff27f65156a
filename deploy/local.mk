EXTRA_DIST += deploy/quickstart
dist_doc_DATA += deploy/config_sample.yml
EXTRA_DIST += deploy/systemd
