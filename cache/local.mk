noinst_LIBRARIES += cache/libcache.a
cache_libcache_a_SOURCES = \
	cache/bloom.c cache/bloom.h \
	cache/cache.c cache/cache.h cache/cache_private.h \
	cache/digest_file.c cache/digest_file.h \
	cache/digest_search.c cache/digest_search.h \
	cache/disk.c cache/disk.h \
	cache/doubts.c cache/doubts.h \
	cache/errand.c cache/errand.h \
	cache/evict.c cache/evict.h cache/evict_private.h \
	cache/evict_choose.c \
	cache/evict_remove.c \
	cache/evict_rows.c \
	cache/fill.c cache/fill.h cache/fill_private.h \
	cache/fill_file.c cache/fill_file.h \
	cache/fill_hash.c \
	cache/fill_map.c cache/fill_map.h \
	cache/fill_reader.c \
	cache/fill_window.c \
	cache/fill_work.c \
	cache/fill_writer.c \
	cache/fills.c \
	cache/fresh_folders.c cache/fresh_folders.h \
	cache/gc.c cache/gc.h cache/gc_private.h \
	cache/gc_mark.c cache/gc_run.c cache/gc_sweep.c \
	cache/hash_run.c cache/hash_run.h \
	cache/layout.c cache/layout.h \
	cache/ledger.c cache/ledger.h cache/ledger_private.h \
	cache/ledger_db.c cache/ledger_db.h cache/ledger_sql.def \
	cache/ledger_list.c \
	cache/ledger_rows.c \
	cache/ledger_walk.c \
	cache/link.c cache/link.h \
	cache/link_file.c cache/link_file.h \
	cache/link_walk.c cache/link_walk.h \
	cache/lru.c cache/lru.h \
	cache/manifest.c cache/manifest.h \
	cache/manifest_scan.c cache/manifest_scan.h \
	cache/manifest_search.c cache/manifest_search.h \
	cache/manifest_type.c cache/manifest_type.h \
	cache/meta.c cache/meta.h cache/meta_private.h \
	cache/meta_memory.c cache/meta_redis.c \
	cache/meta_value.c cache/meta_value.h \
	cache/names.c cache/names.h \
	cache/news.c cache/news.h \
	cache/objects.c cache/objects.h \
	cache/open_files.c cache/open_files.h \
	cache/origin.c cache/origin.h \
	cache/quiet_file.c cache/quiet_file.h \
	cache/pin.c cache/pin.h \
	cache/referrer_entry.c cache/referrer_entry.h \
	cache/referrer_list.c cache/referrer_list.h \
	cache/referrers.c cache/referrers.h \
	cache/referrers_known.c cache/referrers_known.h \
	cache/referrers_page.c cache/referrers_page.h \
	cache/referrers_update.c cache/referrers_update.h \
	cache/repo.c cache/repo.h \
	cache/repo_walk.c cache/repo_walk.h \
	cache/run_report.c cache/run_report.h \
	cache/scrub.c cache/scrub.h cache/scrub_private.h \
	cache/scrub_check.c cache/scrub_check.h \
	cache/scrub_damage.c \
	cache/scrub_links.c \
	cache/scrub_list.c cache/scrub_list.h \
	cache/scrub_state.c cache/scrub_state.h \
	cache/scrub_tags.c \
	cache/scrub_verify.c \
	cache/segments.c cache/segments.h \
	cache/store.c cache/store.h cache/store_private.h \
	cache/storage_lock.c cache/storage_lock.h \
	cache/store_remove.c \
	cache/sweep.c \
	cache/tag.c cache/tag.h \
	cache/tag_check.c cache/tag_check.h \
	cache/tag_file.c cache/tag_file.h \
	cache/tag_front.c cache/tag_front.h \
	cache/tag_private.h \
	cache/tag_share.c \
	cache/tag_write.c \
	cache/team.c cache/team.h \
	cache/upload.c cache/upload.h cache/upload_private.h \
	cache/upload_file.c cache/upload_file.h \
	cache/upload_id.c \
	cache/upload_sweep.c \
	cache/upload_work.c \
	cache/uploads.c \
	cache/vouch.c cache/vouch.h cache/vouch_private.h
