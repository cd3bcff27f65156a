noinst_LIBRARIES += mirrord/libmirrord.a
mirrord_libmirrord_a_SOURCES = \
	mirrord/address.h \
	mirrord/configuration.h \
	mirrord/options.c mirrord/options.h mirrord/options.def \
	mirrord/options_legacy.def mirrord/options_storage.def \
	mirrord/options_man.h \
	mirrord/sample.h \
	mirrord/head.h \
	mirrord/txn.h

bin_PROGRAMS += mirrord/mirrord
mirrord_mirrord_SOURCES = mirrord/main.c
mirrord_mirrord_LDADD = $(OUR_LIBS)
