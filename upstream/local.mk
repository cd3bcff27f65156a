noinst_LIBRARIES += upstream/libupstream.a
upstream_libupstream_a_SOURCES = \
	upstream/backoff.c upstream/backoff.h \
	upstream/breaker.c upstream/breaker.h \
	upstream/challenge.c upstream/challenge.h \
	upstream/content_range.c upstream/content_range.h \
	upstream/fetch.c upstream/fetch.h upstream/fetch_private.h \
	upstream/fetch_answer.c upstream/fetch_auth.c upstream/fetch_next.c upstream/fetch_retry.c upstream/fetch_send.c \
	upstream/quota.c upstream/quota.h \
	upstream/realm.c upstream/realm.h \
	upstream/redirect.c upstream/redirect.h \
	upstream/token.c upstream/token.h \
	upstream/token_request.c upstream/token_private.h \
	upstream/upstream.c upstream/upstream.h \
	upstream/upstream_private.h
