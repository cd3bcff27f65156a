noinst_LIBRARIES += mirrord/libmirrord.a
mirrord_libmirrord_a_SOURCES = \
	mirrord/head.h \
	mirrord/txn.h

bin_PROGRAMS += mirrord/mirrord
mirrord_mirrord_SOURCES = mirrord/main.c
mirrord_mirrord_LDADD = $(OUR_LIBS)
