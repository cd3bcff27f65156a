noinst_LIBRARIES += upstream/libupstream.a
upstream_libupstream_a_SOURCES = \
	upstream/upstream.h
