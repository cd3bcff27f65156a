# Tests that make itself builds. A unit test takes three lines, beside its like, in the order of the alphabet:
#
#   UNIT_TESTS += tests/unit/test_fill
#   tests_unit_test_fill_SOURCES = tests/unit/test_fill.c
#   tests_unit_test_fill_LDADD = $(UNIT_CACHE)
#
# The last line names the floor of the house the tested file lives on. A test that links only its own floor proves that the
# floor stands without the ones above. Base: UNIT_BASE; cache: UNIT_CACHE; upstream: UNIT_UPSTREAM; mirrord: UNIT_MIRRORD.
AM_CFLAGS += $(CMOCKA_CFLAGS)
UNIT_BASE = $(BASE_LIBS) $(CMOCKA_LIBS)
UNIT_CACHE = cache/libcache.a $(BASE_LIBS) $(SQLITE_LIBS) $(CMOCKA_LIBS)
UNIT_UPSTREAM = upstream/libupstream.a $(BASE_LIBS) $(CMOCKA_LIBS)
UNIT_MIRRORD = $(OUR_LIBS) $(CMOCKA_LIBS)

noinst_HEADERS += tests/unit/unit.h

UNIT_TESTS =
# Unit tests: add below this line.
CACHE_PLACE = tests/unit/cache_place.c tests/unit/cache_place.h
UNIT_TESTS += tests/unit/test_address
tests_unit_test_address_SOURCES = tests/unit/test_address.c
tests_unit_test_address_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_api_error
tests_unit_test_api_error_SOURCES = tests/unit/test_api_error.c
tests_unit_test_api_error_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_arena
tests_unit_test_arena_SOURCES = tests/unit/test_arena.c
tests_unit_test_arena_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_backoff
tests_unit_test_backoff_SOURCES = tests/unit/test_backoff.c
tests_unit_test_backoff_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_bloom
tests_unit_test_bloom_SOURCES = tests/unit/test_bloom.c
tests_unit_test_bloom_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_body
tests_unit_test_body_SOURCES = tests/unit/test_body.c
tests_unit_test_body_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_breaker
tests_unit_test_breaker_SOURCES = tests/unit/test_breaker.c
tests_unit_test_breaker_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_challenge
tests_unit_test_challenge_SOURCES = tests/unit/test_challenge.c
tests_unit_test_challenge_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_chunk_range
tests_unit_test_chunk_range_SOURCES = tests/unit/test_chunk_range.c
tests_unit_test_chunk_range_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_clock
tests_unit_test_clock_SOURCES = tests/unit/test_clock.c
tests_unit_test_clock_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_config_load
tests_unit_test_config_load_SOURCES = tests/unit/test_config_load.c
tests_unit_test_config_load_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_config_number
tests_unit_test_config_number_SOURCES = tests/unit/test_config_number.c
tests_unit_test_config_number_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_config_upstreams
tests_unit_test_config_upstreams_SOURCES = tests/unit/test_config_upstreams.c
tests_unit_test_config_upstreams_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_configuration
tests_unit_test_configuration_SOURCES = tests/unit/test_configuration.c
tests_unit_test_configuration_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_content_range
tests_unit_test_content_range_SOURCES = tests/unit/test_content_range.c
tests_unit_test_content_range_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_digest
tests_unit_test_digest_SOURCES = tests/unit/test_digest.c
tests_unit_test_digest_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_digest_search
tests_unit_test_digest_search_SOURCES = tests/unit/test_digest_search.c
tests_unit_test_digest_search_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_disk
tests_unit_test_disk_SOURCES = tests/unit/test_disk.c $(CACHE_PLACE)
tests_unit_test_disk_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_error
tests_unit_test_error_SOURCES = tests/unit/test_error.c
tests_unit_test_error_LDADD = $(UNIT_BASE)
# Images in a cache, and what the ledger says about them.
CACHE_SCENE = $(CACHE_PLACE) tests/unit/cache_scene.c tests/unit/cache_scene.h
EVICT_SCENE = $(CACHE_SCENE) tests/unit/evict_scene.c tests/unit/evict_scene.h

UNIT_TESTS += tests/unit/test_evict_batch
tests_unit_test_evict_batch_SOURCES = tests/unit/test_evict_batch.c $(EVICT_SCENE)
tests_unit_test_evict_batch_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_wall_s
tests_unit_test_evict_batch_LDADD = $(UNIT_CACHE)

UNIT_TESTS += tests/unit/test_evict
tests_unit_test_evict_SOURCES = tests/unit/test_evict.c $(EVICT_SCENE)
tests_unit_test_evict_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_wall_s
tests_unit_test_evict_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_fill
tests_unit_test_fill_SOURCES = tests/unit/test_fill.c $(CACHE_PLACE) tests/unit/fill_feed.c tests/unit/fill_feed.h
tests_unit_test_fill_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_fill_end
tests_unit_test_fill_end_SOURCES = tests/unit/test_fill_end.c $(CACHE_PLACE) tests/unit/fill_feed.c tests/unit/fill_feed.h
tests_unit_test_fill_end_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_fill_map
tests_unit_test_fill_map_SOURCES = tests/unit/test_fill_map.c
tests_unit_test_fill_map_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_fill_window
tests_unit_test_fill_window_SOURCES = tests/unit/test_fill_window.c $(CACHE_PLACE) tests/unit/fill_feed.c tests/unit/fill_feed.h
tests_unit_test_fill_window_LDADD = $(UNIT_CACHE)
# Fetches against a server that does what upstreams do wrong.
FETCH_PROBE = tests/unit/fetch_probe.c tests/unit/fetch_probe.h tests/unit/script_server.c tests/unit/script_server.h
UNIT_TESTS += tests/unit/test_fetch
tests_unit_test_fetch_SOURCES = tests/unit/test_fetch.c $(FETCH_PROBE)
tests_unit_test_fetch_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_fetch_auth
tests_unit_test_fetch_auth_SOURCES = tests/unit/test_fetch_auth.c $(FETCH_PROBE)
tests_unit_test_fetch_auth_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_mono_ms
tests_unit_test_fetch_auth_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_fetch_life
tests_unit_test_fetch_life_SOURCES = tests/unit/test_fetch_life.c $(FETCH_PROBE)
tests_unit_test_fetch_life_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_fetch_resume
tests_unit_test_fetch_resume_SOURCES = tests/unit/test_fetch_resume.c $(FETCH_PROBE)
tests_unit_test_fetch_resume_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_fresh_folders
tests_unit_test_fresh_folders_SOURCES = tests/unit/test_fresh_folders.c
tests_unit_test_fresh_folders_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_gc
tests_unit_test_gc_SOURCES = tests/unit/test_gc.c $(CACHE_PLACE)
tests_unit_test_gc_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_mono_ms,--wrap=rename
tests_unit_test_gc_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_gc_race
tests_unit_test_gc_race_SOURCES = tests/unit/test_gc_race.c $(CACHE_PLACE)
tests_unit_test_gc_race_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_mono_ms -Wl,--wrap=clock_wall_s
tests_unit_test_gc_race_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_flight
tests_unit_test_flight_SOURCES = tests/unit/test_flight.c $(CACHE_PLACE)
tests_unit_test_flight_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_head
tests_unit_test_head_SOURCES = tests/unit/test_head.c
tests_unit_test_head_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_http_call
tests_unit_test_http_call_SOURCES = tests/unit/test_http_call.c tests/unit/script_server.c tests/unit/script_server.h
tests_unit_test_http_call_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_layout
tests_unit_test_layout_SOURCES = tests/unit/test_layout.c
tests_unit_test_layout_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_json_text
tests_unit_test_json_text_SOURCES = tests/unit/test_json_text.c
tests_unit_test_json_text_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_json_walk
tests_unit_test_json_walk_SOURCES = tests/unit/test_json_walk.c
tests_unit_test_json_walk_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_ledger
tests_unit_test_ledger_SOURCES = tests/unit/test_ledger.c $(CACHE_SCENE)
tests_unit_test_ledger_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_wall_s
tests_unit_test_ledger_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_link
tests_unit_test_link_SOURCES = tests/unit/test_link.c $(CACHE_PLACE)
tests_unit_test_link_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_log
tests_unit_test_log_SOURCES = tests/unit/test_log.c
tests_unit_test_log_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_team
tests_unit_test_team_SOURCES = tests/unit/test_team.c $(CACHE_PLACE)
tests_unit_test_team_LDADD = $(UNIT_CACHE)

UNIT_TESTS += tests/unit/test_lru
tests_unit_test_lru_SOURCES = tests/unit/test_lru.c
tests_unit_test_lru_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_manifest
tests_unit_test_manifest_SOURCES = tests/unit/test_manifest.c $(CACHE_PLACE)
tests_unit_test_manifest_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_manifest_scan
tests_unit_test_manifest_scan_SOURCES = tests/unit/test_manifest_scan.c
tests_unit_test_manifest_scan_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_memory_share
tests_unit_test_memory_share_SOURCES = tests/unit/test_memory_share.c
tests_unit_test_memory_share_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_meta
tests_unit_test_meta_SOURCES = tests/unit/test_meta.c $(CACHE_PLACE)
tests_unit_test_meta_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_mono_ms
tests_unit_test_meta_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_metric
tests_unit_test_metric_SOURCES = tests/unit/test_metric.c
tests_unit_test_metric_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_name
tests_unit_test_name_SOURCES = tests/unit/test_name.c
tests_unit_test_name_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_name_page
tests_unit_test_name_page_SOURCES = tests/unit/test_name_page.c
tests_unit_test_name_page_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_names
tests_unit_test_names_SOURCES = tests/unit/test_names.c
tests_unit_test_names_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_network
tests_unit_test_network_SOURCES = tests/unit/test_network.c
tests_unit_test_network_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_options
tests_unit_test_options_SOURCES = tests/unit/test_options.c
tests_unit_test_options_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_origin
tests_unit_test_origin_SOURCES = tests/unit/test_origin.c
tests_unit_test_origin_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_image_choice
tests_unit_test_image_choice_SOURCES = tests/unit/test_image_choice.c
tests_unit_test_image_choice_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_image_pattern
tests_unit_test_image_pattern_SOURCES = tests/unit/test_image_pattern.c
tests_unit_test_image_pattern_LDADD = $(UNIT_MIRRORD)

UNIT_TESTS += tests/unit/test_space
tests_unit_test_space_SOURCES = tests/unit/test_space.c
tests_unit_test_space_LDADD = $(UNIT_MIRRORD)

UNIT_TESTS += tests/unit/test_freshness
tests_unit_test_freshness_SOURCES = tests/unit/test_freshness.c
tests_unit_test_freshness_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_hold
tests_unit_test_hold_SOURCES = tests/unit/test_hold.c
tests_unit_test_hold_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_silence
tests_unit_test_silence_SOURCES = tests/unit/test_silence.c
tests_unit_test_silence_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_precedence
tests_unit_test_precedence_SOURCES = tests/unit/test_precedence.c
tests_unit_test_precedence_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_pull
tests_unit_test_pull_SOURCES = tests/unit/test_pull.c $(CACHE_PLACE)
tests_unit_test_pull_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_push_rules
tests_unit_test_push_rules_SOURCES = tests/unit/test_push_rules.c
tests_unit_test_push_rules_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_push_manifest
tests_unit_test_push_manifest_SOURCES = tests/unit/test_push_manifest.c
tests_unit_test_push_manifest_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_push_refs
tests_unit_test_push_refs_SOURCES = tests/unit/test_push_refs.c $(CACHE_PLACE)
tests_unit_test_push_refs_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_quiet_file
tests_unit_test_quiet_file_SOURCES = tests/unit/test_quiet_file.c $(CACHE_PLACE)
tests_unit_test_quiet_file_LDADD = $(UNIT_CACHE)
tests_unit_test_quiet_file_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pread
UNIT_TESTS += tests/unit/test_quota
tests_unit_test_quota_SOURCES = tests/unit/test_quota.c
tests_unit_test_quota_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_query
tests_unit_test_query_SOURCES = tests/unit/test_query.c
tests_unit_test_query_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_range
tests_unit_test_range_SOURCES = tests/unit/test_range.c
tests_unit_test_range_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_range_body
tests_unit_test_range_body_SOURCES = tests/unit/test_range_body.c
tests_unit_test_range_body_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_realm
tests_unit_test_realm_SOURCES = tests/unit/test_realm.c
tests_unit_test_realm_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_redirect
tests_unit_test_redirect_SOURCES = tests/unit/test_redirect.c
tests_unit_test_redirect_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_referrer_list
tests_unit_test_referrer_list_SOURCES = tests/unit/test_referrer_list.c
tests_unit_test_referrer_list_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_referrer_page
tests_unit_test_referrer_page_SOURCES = tests/unit/test_referrer_page.c
tests_unit_test_referrer_page_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_referrers
tests_unit_test_referrers_SOURCES = tests/unit/test_referrers.c $(CACHE_PLACE)
tests_unit_test_referrers_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_registry_route
tests_unit_test_registry_route_SOURCES = tests/unit/test_registry_route.c
tests_unit_test_registry_route_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_repo
tests_unit_test_repo_SOURCES = tests/unit/test_repo.c $(CACHE_PLACE)
tests_unit_test_repo_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_repo_pattern
tests_unit_test_repo_pattern_SOURCES = tests/unit/test_repo_pattern.c
tests_unit_test_repo_pattern_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_route
tests_unit_test_route_SOURCES = tests/unit/test_route.c
tests_unit_test_route_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_scrub
tests_unit_test_scrub_SOURCES = tests/unit/test_scrub.c $(CACHE_PLACE)
tests_unit_test_scrub_LDADD = $(UNIT_CACHE)
tests_unit_test_scrub_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=quiet_file_read
UNIT_TESTS += tests/unit/test_segments
tests_unit_test_segments_SOURCES = tests/unit/test_segments.c
tests_unit_test_segments_LDADD = $(UNIT_CACHE)
# A server whose handler does what its paths say, and a raw client.
SERVER_PROBE = tests/unit/server_probe.c tests/unit/server_probe.h
UNIT_TESTS += tests/unit/test_server
tests_unit_test_server_SOURCES = tests/unit/test_server.c $(SERVER_PROBE)
tests_unit_test_server_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_server_requests
tests_unit_test_server_requests_SOURCES = tests/unit/test_server_requests.c $(SERVER_PROBE)
tests_unit_test_server_requests_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_glob
tests_unit_test_glob_SOURCES = tests/unit/test_glob.c
tests_unit_test_glob_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_slice
tests_unit_test_slice_SOURCES = tests/unit/test_slice.c
tests_unit_test_slice_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_storage_lock
tests_unit_test_storage_lock_SOURCES = tests/unit/test_storage_lock.c $(CACHE_PLACE)
tests_unit_test_storage_lock_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_store
tests_unit_test_store_SOURCES = tests/unit/test_store.c $(CACHE_PLACE)
tests_unit_test_store_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_strbuf
tests_unit_test_strbuf_SOURCES = tests/unit/test_strbuf.c
tests_unit_test_strbuf_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_tag_choice
tests_unit_test_tag_choice_SOURCES = tests/unit/test_tag_choice.c
tests_unit_test_tag_choice_LDADD = $(UNIT_MIRRORD)
UNIT_TESTS += tests/unit/test_tag_heard
tests_unit_test_tag_heard_SOURCES = tests/unit/test_tag_heard.c $(CACHE_PLACE)
tests_unit_test_tag_heard_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_tag_settle
tests_unit_test_tag_settle_SOURCES = tests/unit/test_tag_settle.c $(CACHE_PLACE)
tests_unit_test_tag_settle_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_tag
tests_unit_test_tag_SOURCES = tests/unit/test_tag.c $(CACHE_PLACE)
tests_unit_test_tag_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_token
tests_unit_test_token_SOURCES = tests/unit/test_token.c
tests_unit_test_token_LDADD = $(UNIT_UPSTREAM)
UNIT_TESTS += tests/unit/test_thread
tests_unit_test_thread_SOURCES = tests/unit/test_thread.c
tests_unit_test_thread_LDADD = $(UNIT_BASE)
UPLOAD_DESK = $(CACHE_PLACE) tests/unit/upload_desk.c tests/unit/upload_desk.h
UNIT_TESTS += tests/unit/test_upload
tests_unit_test_upload_SOURCES = tests/unit/test_upload.c $(UPLOAD_DESK)
tests_unit_test_upload_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_upload_disk
tests_unit_test_upload_disk_SOURCES = tests/unit/test_upload_disk.c $(UPLOAD_DESK)
tests_unit_test_upload_disk_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_upload_threads
tests_unit_test_upload_threads_SOURCES = tests/unit/test_upload_threads.c $(UPLOAD_DESK)
tests_unit_test_upload_threads_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_url
tests_unit_test_url_SOURCES = tests/unit/test_url.c
tests_unit_test_url_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_utf8
tests_unit_test_utf8_SOURCES = tests/unit/test_utf8.c
tests_unit_test_utf8_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_vouch
tests_unit_test_vouch_SOURCES = tests/unit/test_vouch.c $(CACHE_PLACE)
tests_unit_test_vouch_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_mono_ms
tests_unit_test_vouch_LDADD = $(UNIT_CACHE)
UNIT_TESTS += tests/unit/test_worker
tests_unit_test_worker_SOURCES = tests/unit/test_worker.c
tests_unit_test_worker_LDADD = $(UNIT_BASE)
UNIT_TESTS += tests/unit/test_yaml_tree
tests_unit_test_yaml_tree_SOURCES = tests/unit/test_yaml_tree.c
tests_unit_test_yaml_tree_LDADD = $(UNIT_MIRRORD)


# Fuzz targets: each file has LLVMFuzzerTestOneInput and nothing else. With --enable-fuzz (clang) it becomes a fuzzer,
# otherwise a program that replays tests/fuzz/corpus/<name without fuzz_>, which make check runs:
#
#   FUZZ_TARGETS += tests/fuzz/fuzz_head
#   tests_fuzz_fuzz_head_SOURCES = tests/fuzz/fuzz_head.c $(FUZZ_MAIN)
#   tests_fuzz_fuzz_head_LDADD = $(FUZZ_MIRRORD)
if FUZZ
FUZZ_MAIN =
else
FUZZ_MAIN = tests/fuzz/replay.c
endif
FUZZ_BASE = $(BASE_LIBS) $(FUZZ_LDFLAGS)
FUZZ_CACHE = cache/libcache.a $(BASE_LIBS) $(SQLITE_LIBS) $(FUZZ_LDFLAGS)
FUZZ_UPSTREAM = upstream/libupstream.a $(BASE_LIBS) $(FUZZ_LDFLAGS)
FUZZ_MIRRORD = $(OUR_LIBS) $(FUZZ_LDFLAGS)

FUZZ_TARGETS =
# Fuzz targets: add below this line.
FUZZ_TARGETS += tests/fuzz/fuzz_body
tests_fuzz_fuzz_body_SOURCES = tests/fuzz/fuzz_body.c $(FUZZ_MAIN)
tests_fuzz_fuzz_body_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_challenge
tests_fuzz_fuzz_challenge_SOURCES = tests/fuzz/fuzz_challenge.c $(FUZZ_MAIN)
tests_fuzz_fuzz_challenge_LDADD = $(FUZZ_UPSTREAM)
FUZZ_TARGETS += tests/fuzz/fuzz_chunk_range
tests_fuzz_fuzz_chunk_range_SOURCES = tests/fuzz/fuzz_chunk_range.c $(FUZZ_MAIN)
tests_fuzz_fuzz_chunk_range_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_config
tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c $(FUZZ_MAIN)
tests_fuzz_fuzz_config_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_digest_search
tests_fuzz_fuzz_digest_search_SOURCES = tests/fuzz/fuzz_digest_search.c $(FUZZ_MAIN)
tests_fuzz_fuzz_digest_search_LDADD = $(FUZZ_CACHE)
FUZZ_TARGETS += tests/fuzz/fuzz_head
tests_fuzz_fuzz_head_SOURCES = tests/fuzz/fuzz_head.c $(FUZZ_MAIN)
tests_fuzz_fuzz_head_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_json_walk
tests_fuzz_fuzz_json_walk_SOURCES = tests/fuzz/fuzz_json_walk.c $(FUZZ_MAIN)
tests_fuzz_fuzz_json_walk_LDADD = $(FUZZ_BASE)
FUZZ_TARGETS += tests/fuzz/fuzz_manifest_scan
tests_fuzz_fuzz_manifest_scan_SOURCES = tests/fuzz/fuzz_manifest_scan.c $(FUZZ_MAIN)
tests_fuzz_fuzz_manifest_scan_LDADD = $(FUZZ_CACHE)
FUZZ_TARGETS += tests/fuzz/fuzz_manifest_type
tests_fuzz_fuzz_manifest_type_SOURCES = tests/fuzz/fuzz_manifest_type.c $(FUZZ_MAIN)
tests_fuzz_fuzz_manifest_type_LDADD = $(FUZZ_CACHE)
FUZZ_TARGETS += tests/fuzz/fuzz_map
tests_fuzz_fuzz_map_SOURCES = tests/fuzz/fuzz_map.c $(FUZZ_MAIN)
tests_fuzz_fuzz_map_LDADD = $(FUZZ_CACHE)
FUZZ_TARGETS += tests/fuzz/fuzz_meta_value
tests_fuzz_fuzz_meta_value_SOURCES = tests/fuzz/fuzz_meta_value.c $(FUZZ_MAIN)
tests_fuzz_fuzz_meta_value_LDADD = $(FUZZ_CACHE)
FUZZ_TARGETS += tests/fuzz/fuzz_network
tests_fuzz_fuzz_network_SOURCES = tests/fuzz/fuzz_network.c $(FUZZ_MAIN)
tests_fuzz_fuzz_network_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_pin
tests_fuzz_fuzz_pin_SOURCES = tests/fuzz/fuzz_pin.c $(FUZZ_MAIN)
tests_fuzz_fuzz_pin_LDADD = $(FUZZ_CACHE)
FUZZ_TARGETS += tests/fuzz/fuzz_range
tests_fuzz_fuzz_range_SOURCES = tests/fuzz/fuzz_range.c $(FUZZ_MAIN)
tests_fuzz_fuzz_range_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_referrer_link
tests_fuzz_fuzz_referrer_link_SOURCES = tests/fuzz/fuzz_referrer_link.c $(FUZZ_MAIN)
tests_fuzz_fuzz_referrer_link_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_referrer_list
tests_fuzz_fuzz_referrer_list_SOURCES = tests/fuzz/fuzz_referrer_list.c $(FUZZ_MAIN)
tests_fuzz_fuzz_referrer_list_LDADD = $(FUZZ_CACHE)
FUZZ_TARGETS += tests/fuzz/fuzz_registry_route
tests_fuzz_fuzz_registry_route_SOURCES = tests/fuzz/fuzz_registry_route.c $(FUZZ_MAIN)
tests_fuzz_fuzz_registry_route_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_route
tests_fuzz_fuzz_route_SOURCES = tests/fuzz/fuzz_route.c $(FUZZ_MAIN)
tests_fuzz_fuzz_route_LDADD = $(FUZZ_MIRRORD)
FUZZ_TARGETS += tests/fuzz/fuzz_url
tests_fuzz_fuzz_url_SOURCES = tests/fuzz/fuzz_url.c $(FUZZ_MAIN)
tests_fuzz_fuzz_url_LDADD = $(FUZZ_BASE)

if HAVE_CMOCKA
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
endif
check_PROGRAMS += $(FUZZ_TARGETS)
if !FUZZ
TESTS += $(FUZZ_TARGETS)
endif

# The load generators of the benchmarks (tests/bench/run).
check_PROGRAMS += tests/bench/push
tests_bench_push_SOURCES = tests/bench/push.c
tests_bench_push_LDADD = $(BASE_LIBS)
check_PROGRAMS += tests/bench/store
tests_bench_store_SOURCES = tests/bench/store.c
tests_bench_store_LDADD = $(BASE_LIBS)
check_PROGRAMS += tests/bench/load
tests_bench_load_SOURCES = \
	tests/bench/load.c \
	tests/bench/load_connection.c tests/bench/load_connection.h \
	tests/bench/load_options.c tests/bench/load_options.h \
	tests/bench/load_report.c tests/bench/load_report.h
tests_bench_load_LDADD = $(BASE_LIBS)

# What tests/run builds before it runs the parts; names are read back by tests/run from these targets.
.PHONY: check-programs fuzz-targets list-unit-tests list-fuzz-targets
check-programs: $(check_PROGRAMS)
fuzz-targets: $(FUZZ_TARGETS)
list-unit-tests:
	@for program in $(UNIT_TESTS); do echo $$program; done
list-fuzz-targets:
	@for program in $(FUZZ_TARGETS); do echo $$program; done

EXTRA_DIST += tests/run tests/lint tests/conftest.py tests/pytest.ini tests/lib tests/data tests/wire tests/faults tests/e2e tests/conformance \
	tests/lib/clock.c tests/lib/power.c tests/fuzz/corpus \
	tests/bench/run tests/bench/content.py tests/bench/measure.py tests/bench/servers.py tests/bench/table.py \
	tests/bench/works.py tests/bench/works_many.py tests/bench/works_push.py tests/bench/works_quota.py \
	tests/bench/works_redis.py

# Folders go into the archive whole, but not what a Python left in them. A folder that holds sources must not be named
# here: make would take its objects along.
dist-hook:
	find $(distdir) -name __pycache__ -type d -prune -exec rm -rf {} +
