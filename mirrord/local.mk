noinst_LIBRARIES += mirrord/libmirrord.a
mirrord_libmirrord_a_SOURCES = \
	mirrord/address.c mirrord/address.h \
	mirrord/admin.c mirrord/admin.h mirrord/admin_private.h \
	mirrord/admin_scrub.c \
	mirrord/admin_client.c mirrord/admin_client.h \
	mirrord/admin_images.c mirrord/admin_pins.c \
	mirrord/admin_tags.c \
	mirrord/command.h \
	mirrord/daemon.c mirrord/daemon.h \
	mirrord/image_command.c mirrord/image_command.h \
	mirrord/image_choice.c mirrord/image_choice.h mirrord/image_pattern.c mirrord/image_pattern.h \
	mirrord/gc_command.c mirrord/gc_command.h \
	mirrord/freshness.c mirrord/freshness.h \
	mirrord/hold.c mirrord/hold.h \
	mirrord/offline.c mirrord/offline.h \
	mirrord/precedence.c mirrord/precedence.h \
	mirrord/refresh.c mirrord/refresh.h \
	mirrord/silence.c mirrord/silence.h \
	mirrord/repo_pattern.c mirrord/repo_pattern.h mirrord/tag_pattern.c mirrord/tag_pattern.h \
	mirrord/tag_rules.c mirrord/tag_rules.h \
	mirrord/privileges.c mirrord/privileges.h \
	mirrord/scrubber.c mirrord/scrubber.h \
	mirrord/space.c mirrord/space.h \
	mirrord/settings.c mirrord/settings.h \
	mirrord/verify_command.c mirrord/verify_command.h \
	mirrord/states.h \
	mirrord/config_load.c mirrord/config_print.c mirrord/config_private.h \
	mirrord/config_number.c mirrord/config_number.h \
	mirrord/config_upstreams.c mirrord/config_upstreams.h \
	mirrord/config_text.c mirrord/config_text.h \
	mirrord/config_value.c mirrord/config_value.h \
	mirrord/configuration.c mirrord/configuration.h \
	mirrord/flavors.def \
	mirrord/options.c mirrord/options.h mirrord/options.def \
	mirrord/options_legacy.def mirrord/options_storage.def \
	mirrord/options_man.c mirrord/options_man.h \
	mirrord/sample.c mirrord/sample.h \
	mirrord/yaml_scalar.c mirrord/yaml_scalar.h \
	mirrord/yaml_tree.c mirrord/yaml_tree.h \
	mirrord/api.c mirrord/api.h mirrord/api_private.h \
	mirrord/api_settings.c mirrord/api_settings.h \
	mirrord/api_blob.c mirrord/api_catalog.c mirrord/api_manifest.c \
	mirrord/api_manifest_body.c mirrord/api_manifest_private.h mirrord/api_manifest_send.c \
	mirrord/api_manifest_heard.c \
	mirrord/api_manifest_tag.c \
	mirrord/api_delete.c mirrord/api_manifest_put.c \
	mirrord/push_fetch.c mirrord/push_fetch.h \
	mirrord/push_manifest.c mirrord/push_manifest.h \
	mirrord/push_refs.c mirrord/push_refs.h \
	mirrord/revision_lock.c mirrord/revision_lock.h \
	mirrord/api_error.c mirrord/api_error.h \
	mirrord/api_push.c \
	mirrord/api_referrers.c \
	mirrord/api_root.c mirrord/api_tags.c \
	mirrord/api_upload.c mirrord/api_upload_private.h \
	mirrord/api_upload_begin.c mirrord/api_upload_body.c mirrord/api_upload_commit.c \
	mirrord/api_upload_mount.c mirrord/api_upload_status.c \
	mirrord/blob_body.c mirrord/blob_body.h \
	mirrord/chunk_range.c mirrord/chunk_range.h \
	mirrord/fill_body.c mirrord/fill_body.h \
	mirrord/flight.c mirrord/flight.h \
	mirrord/memory_share.c mirrord/memory_share.h \
	mirrord/name.c mirrord/name.h \
	mirrord/name_page.c mirrord/name_page.h \
	mirrord/network.c mirrord/network.h \
	mirrord/provenance.c mirrord/provenance.h \
	mirrord/pull.c mirrord/pull.h \
	mirrord/push_rules.c mirrord/push_rules.h \
	mirrord/query.c mirrord/query.h \
	mirrord/range.c mirrord/range.h \
	mirrord/range_body.c mirrord/range_body.h \
	mirrord/reindex_command.c mirrord/reindex_command.h \
	mirrord/referrer_page.c mirrord/referrer_page.h \
	mirrord/refetch.c mirrord/refetch.h \
	mirrord/referrers_ask.c mirrord/referrers_ask.h \
	mirrord/registries.c mirrord/registries.h mirrord/registries_print.c \
	mirrord/registries_make.c mirrord/registries_make.h \
	mirrord/registry_host.c mirrord/registry_host.h \
	mirrord/registry_route.c mirrord/registry_route.h \
	mirrord/resolve.c mirrord/resolve.h \
	mirrord/route.c mirrord/route.h \
	mirrord/access_log.c mirrord/access_log.h \
	mirrord/body.c mirrord/body.h \
	mirrord/conn.c mirrord/conn.h \
	mirrord/head.c mirrord/head.h \
	mirrord/http_status.c mirrord/http_status.h \
	mirrord/lane.c mirrord/lane.h \
	mirrord/leftover.c mirrord/leftover.h \
	mirrord/listener.c mirrord/listener.h \
	mirrord/reply.c \
	mirrord/server.c mirrord/server.h \
	mirrord/tag_choice.c mirrord/tag_choice.h \
	mirrord/transport.c mirrord/transport.h \
	mirrord/txn.c mirrord/txn.h mirrord/txn_private.h

bin_PROGRAMS += mirrord/mirrord
mirrord_mirrord_SOURCES = mirrord/main.c
mirrord_mirrord_LDADD = $(OUR_LIBS)
