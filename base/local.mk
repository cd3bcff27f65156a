noinst_LIBRARIES += base/libbase.a
base_libbase_a_SOURCES = \
	base/alloc.c base/alloc.h \
	base/arena.c base/arena.h \
	base/check.c base/check.h \
	base/clock.c base/clock.h \
	base/digest.c base/digest.h \
	base/error.c base/error.h \
	base/glob.c base/glob.h \
	base/http_call.c base/http_call.h \
	base/http_client.c base/http_client.h base/http_client_private.h \
	base/http_wait.c base/http_wait.h \
	base/json_text.c base/json_text.h \
	base/json_walk.c base/json_walk.h \
	base/log.c base/log.h \
	base/metric.c base/metric.h base/metric.def \
	base/pool.c base/pool.h \
	base/redis.c base/redis.h base/redis_private.h \
	base/redis_feed.c base/redis_feed.h \
	base/redis_link.c base/redis_link.h \
	base/redis_names.c base/redis_names.h \
	base/slice.c base/slice.h \
	base/strbuf.c base/strbuf.h \
	base/thread.c base/thread.h \
	base/url.c base/url.h \
	base/utf8.c base/utf8.h \
	base/worker.c base/worker.h
