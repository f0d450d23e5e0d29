# indexd: build, test, install. `make help` lists what there is to make.
#
# One Makefile, no recursion into folders; sources are found by wildcard. Each configuration has its own folder:
#   make                          gcc, optimised          build/
#   make CC=clang                 clang                   build/clang/
#   make SAN=address,undefined    gcc with sanitizers     build/san-address-undefined/     (SAN=thread likewise)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j2
endif
SHELL := /bin/bash

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
OPT     ?= -O2
DATA    ?=
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(if $(findstring clang,$(notdir $(CC))),clang++,g++)
endif

# ---------------------------------------------------------------- configuration
comma := ,
empty :=
space := $(empty) $(empty)

cfg := $(if $(findstring clang,$(notdir $(CC))),clang) $(if $(SAN),san-$(subst $(comma),-,$(SAN)))
cfg := $(subst $(space),-,$(strip $(cfg)))
B   := build$(if $(cfg),/$(cfg))
O   := $(B)/obj
GEN := build/gen
DEP := build/deps

WARN     := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
CPPFLAGS := -D_GNU_SOURCE -Iinclude -I$(GEN) -isystem $(DEP)/include -DGX_VERSION='"$(VERSION)"'
# No contraction: the SIMD kernels promise the same bits on every machine and from every compiler.
CFLAGS   := -std=c17 $(OPT) -g -ffp-contract=off -fstack-protector-strong -pthread
LDFLAGS  := -pthread -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
ifeq ($(SAN),)
CPPFLAGS += -U_FORTIFY_SOURCE $(if $(filter -O0,$(OPT)),,-D_FORTIFY_SOURCE=2)
else ifeq ($(SAN),fuzzer)
CFLAGS   += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS  += -fsanitize=address,undefined
else
CFLAGS   += -fsanitize=$(SAN) -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS  += -fsanitize=$(SAN)
endif

# libgrpc's pkg-config file names some 60 abseil libraries: these two are all that is called.
LIBS_CLIENT := -lgrpc -lgpr -lprotobuf-c -ljansson -lcrypto -lm
LIBS_FAISS  := $(DEP)/lib/libfaiss_c.a $(DEP)/lib/libfaiss.a -lopenblas -llapack -lgomp -lstdc++
LIBS_SERVER := $(LIBS_FAISS) -lrocksdb -lgrpc -lgpr -lprotobuf-c -lcrypto -linih -ljansson -lm -ldl
LIBS_CTL    := -lcsv
LIBS_CHECK  := -lcheck_pic -lsubunit -lrt -lm

# ---------------------------------------------------------------- sources
PROTOS      := $(sort $(wildcard schemas/*/*/*.proto schemas/*/*/*/*.proto))
GEN_PROTOS  := $(PROTOS:schemas/%=$(GEN)/proto/%)
GEN_H       := $(PROTOS:schemas/%.proto=$(GEN)/%.pb-c.h) $(GEN)/schema_fds.h
GEN_O       := $(PROTOS:schemas/%.proto=$(O)/gen/%.pb-c.o)

SERVER_O    := $(patsubst %.c,$(O)/%.o,$(wildcard indexd/*.c))
CTL_O       := $(patsubst %.c,$(O)/%.o,$(wildcard client/indexctl*.c))
CLIENT_O    := $(filter-out $(CTL_O),$(patsubst %.c,$(O)/%.o,$(wildcard client/*.c)))
# The status table is the server's and the client library's.
CLIENT_O    += $(if $(CLIENT_O),$(O)/shared/status.o)
TESTLIB_O   := $(patsubst %.c,$(O)/%.o,$(wildcard tests/lib/*.c))
BENCH_O     := $(patsubst %.c,$(O)/%.o,$(wildcard bench/*.c))

KINDS       := unit path crash erasure
programs     = $(patsubst %.c,$(B)/%,$(wildcard tests/$(1)/test_*.c))
TESTS       := $(foreach k,$(KINDS),$(call programs,$(k)))
TESTS_O     := $(TESTS:$(B)/%=$(O)/%.o)
FUZZERS     := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_O      := $(FUZZERS:$(B)/%=$(O)/%.o)
# The race against others needs their headers, so `make bench` builds it and `make bench-build` only compiles what is C.
RACE_O      := $(patsubst %.c,$(O)/%.o,$(wildcard bench/race*.c))
RACE        := $(B)/bench/race
PEER_O      := $(patsubst %.cpp,$(O)/%.o,$(wildcard bench/peer_*.cpp))
BENCHES     := $(patsubst $(O)/%.o,$(B)/%,$(filter-out $(RACE_O),$(BENCH_O)))

SERVER_A    := $(B)/libindexd_server.a
CTL_A       := $(B)/libindexctl.a
TESTLIB_A   := $(B)/libindexd_tests.a

SERVER      := $(if $(filter %/main.o,$(SERVER_O)),$(B)/indexd)
CTL         := $(if $(filter %/indexctl.o,$(CTL_O)),$(B)/indexctl)
LIBRARY     := $(if $(CLIENT_O),$(B)/libindexd.a $(B)/libindexd.so)
C_FILES     := $(wildcard indexd/*.[ch] client/*.[ch] include/indexd/*.h tests/*/*.[ch] bench/*.[ch] bench/*.cpp)

# ---------------------------------------------------------------- what there is to make
.PHONY: all deps check test test-long fuzz bench demo format install clean distclean help FORCE
.PHONY: check-format check-layers check-symbols check-cppcheck tests-build fuzz-build bench-build

all: $(SERVER) $(CTL) $(LIBRARY)        ## the server, the command line tool and the client library (default)

# What only the tests need is left out where only the programs are wanted.
DEPS ?= $(if $(filter bench,$(MAKECMDGOALS)),bench,$(if $(filter check% test% fuzz% bench% format,$(MAKECMDGOALS)),test,run))
deps:                                   ## Debian packages and FAISS; does nothing when all is there (DEPS=run|test|bench)
	@.ci/deps.sh $(DEPS)

check:                                  ## quick proof, under 2 minutes: format, layers, cppcheck, build, unit and path tests
	+@MAKE="$(MAKE)" tests/all.sh quick

test:                                   ## everything that CI runs, about half an hour
	+@MAKE="$(MAKE)" tests/all.sh full

test-long:                              ## the same with many more rounds of crash tests and longer fuzzing
	+@MAKE="$(MAKE)" INDEXD_TEST_LONG=1 FUZZ_SECONDS=600 tests/all.sh full

demo: all bench-build                   ## start a server, enrol, search, expunge; DATA=PREFIX uses PREFIX_gallery.fvecs
	@DATA="$(DATA)" $(TEST_ENV) bench/demo.sh

bench: all bench-build $(RACE)          ## measure; see bench/README.md
	@DATA="$(DATA)" $(TEST_ENV) bench/run.sh

format: deps                            ## clang-format everything
	@clang-format -i $(C_FILES)

help:                                   ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16
	@echo "Variables: CC=clang SAN=address,undefined|thread OPT=-O2 DEPS=run|test|bench DATA= FUZZ_SECONDS= TEST_JOBS= PREFIX= DESTDIR="

install: all                            ## into DESTDIR/PREFIX
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/lib/pkgconfig" "$(DESTDIR)$(PREFIX)/include/indexd"
	install -m 755 $(SERVER) $(CTL) "$(DESTDIR)$(PREFIX)/bin/"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man1" "$(DESTDIR)$(PREFIX)/share/man/man8"
	install -m 644 client/indexctl.1 "$(DESTDIR)$(PREFIX)/share/man/man1/"
	install -m 644 indexd/indexd.8 "$(DESTDIR)$(PREFIX)/share/man/man8/"
	install -m 644 include/indexd/*.h "$(DESTDIR)$(PREFIX)/include/indexd/"
	install -m 644 $(B)/libindexd.a "$(DESTDIR)$(PREFIX)/lib/"
	install -m 755 $(B)/libindexd.so "$(DESTDIR)$(PREFIX)/lib/libindexd.so.$(firstword $(subst ., ,$(VERSION)))"
	ln -sf libindexd.so.$(firstword $(subst ., ,$(VERSION))) "$(DESTDIR)$(PREFIX)/lib/libindexd.so"
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: indexd' 'Description: client library of the indexd face search server' \
	    'Version: $(VERSION)' 'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/lib -lindexd' \
	    'Libs.private: $(LIBS_CLIENT)' >"$(DESTDIR)$(PREFIX)/lib/pkgconfig/indexd.pc"

clean:                                  ## everything built but FAISS
	find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} +

distclean:                              ## everything built
	rm -rf build

# ---------------------------------------------------------------- generated code
# Our C code is generated from copies of the schemas that suit protobuf-c; .ci/protobuf-c.sed says how and why.
$(GEN)/proto/%.proto: schemas/%.proto .ci/protobuf-c.sed
	@mkdir -p $(@D)
	@sed -E -f .ci/protobuf-c.sed $< >$@

$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h: $(GEN)/proto/%.proto | $(GEN_PROTOS) deps
	@mkdir -p $(GEN)
	@protoc -I$(GEN)/proto --c_out=$(GEN) $<

# The untouched originals are what reflection tells clients.
$(GEN)/all.fds: $(PROTOS) | deps
	@mkdir -p $(GEN)
	@protoc -Ischemas --include_imports --descriptor_set_out=$@ $(PROTOS)

$(GEN)/schema_fds.c: $(GEN)/all.fds
	@{ echo '#include "schema_fds.h"'; echo 'const unsigned char gx_schema_fds[] = {'; \
	   od -An -v -tx1 $< | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'; \
	   echo '};'; echo 'const size_t gx_schema_fds_len = sizeof(gx_schema_fds);'; } >$@

$(GEN)/schema_fds.h:
	@mkdir -p $(GEN)
	@printf '%s\n' '/* The FileDescriptorSet of schemas/. */' '#ifndef GX_SCHEMA_FDS_H' '#define GX_SCHEMA_FDS_H' \
	    '#include <stddef.h>' 'extern const unsigned char gx_schema_fds[];' 'extern const size_t gx_schema_fds_len;' '#endif' >$@

# ---------------------------------------------------------------- objects
# A file that is rewritten only when its text changes: objects are remade when the flags do, archives and programs when
# a source comes or goes.
define remember
	@mkdir -p $(@D)
	@[ "$$(cat $@ 2>/dev/null)" = '$(subst ','\'',$(1))' ] || echo '$(subst ','\'',$(1))' >$@
endef
$(B)/flags: FORCE
	$(call remember,$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(LDFLAGS))
$(B)/sources: FORCE
	$(call remember,$(SERVER_O) $(CTL_O) $(CLIENT_O) $(TESTLIB_O) $(GEN_O))

define compile
	@mkdir -p $(@D)
	@echo "  CC   $@"
	@$(CC) $(CPPFLAGS) $(1) $(CFLAGS) -MMD -MP -c $< -o $@
endef

$(O)/gen/%.o: $(GEN)/%.c $(B)/flags | $(GEN_H) deps
	$(call compile,-w -fPIC)
$(O)/indexd/%.o: indexd/%.c $(B)/flags | $(GEN_H) deps
	$(call compile,$(WARN) -fPIE)
$(O)/shared/%.o: indexd/%.c $(B)/flags | $(GEN_H) deps
	$(call compile,$(WARN) -fPIC)
$(O)/client/%.o: client/%.c $(B)/flags | $(GEN_H) deps
	$(call compile,$(WARN) -fPIC)
# -iquote: "rows.h" means ours, while <limits.h> stays the system's.
$(O)/tests/%.o: tests/%.c $(B)/flags | $(GEN_H) deps
	$(call compile,-iquote indexd -iquote client -iquote tests/lib $(WARN) -fPIE)
$(O)/bench/%.o: bench/%.c $(B)/flags | $(GEN_H) deps
	$(call compile,-iquote indexd -iquote client -iquote tests/lib $(WARN) -fPIE)
# Libraries of others, as their users would compile them. The only C++ of the project.
$(O)/bench/%.o: bench/%.cpp $(B)/flags | deps
	@mkdir -p $(@D)
	@echo "  CXX  $@"
	@$(CXX) -std=c++17 -O3 -march=native -DNDEBUG -g -fPIE -pthread -Wall -Wextra -Wshadow -Werror -MMD -MP -c $< -o $@

ALL_O := $(SERVER_O) $(CTL_O) $(CLIENT_O) $(TESTLIB_O) $(BENCH_O) $(PEER_O) $(TESTS_O) $(FUZZ_O) $(GEN_O) $(O)/gen/schema_fds.o
.SECONDARY: $(ALL_O) $(GEN_PROTOS) $(GEN_H) $(GEN_H:.h=.c)
-include $(ALL_O:.o=.d)

# ---------------------------------------------------------------- archives and programs
define archive
	@mkdir -p $(@D)
	@rm -f $@
	@ar rcs $@ $(filter %.o,$^)
endef
define link
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(LDFLAGS) -pie -o $@ $(1)
endef

$(SERVER_A): $(filter-out %/main.o,$(SERVER_O)) $(GEN_O) $(O)/gen/schema_fds.o $(B)/sources
	$(archive)
$(B)/libindexd.a: $(CLIENT_O) $(GEN_O) $(B)/sources
	$(archive)
$(CTL_A): $(filter-out %/indexctl.o,$(CTL_O)) $(B)/sources
	$(archive)
$(TESTLIB_A): $(TESTLIB_O) $(B)/sources
	$(archive)

# From objects, not from the archive, and with accept4 in the dynamic table: the program's accept4 must take the place
# of libc's for libgrpc (indexd/accept_guard.c; tests/check_symbols.sh proves it).
$(B)/indexd: $(SERVER_O) $(GEN_O) $(O)/gen/schema_fds.o $(B)/sources
	$(call link,$(filter %.o,$^) -Wl$(comma)--export-dynamic-symbol=accept4 $(LIBS_SERVER))

$(B)/indexctl: $(CTL_O) $(B)/libindexd.a $(B)/sources
	$(call link,$(filter %.o %.a,$^) $(LIBS_CTL) $(LIBS_CLIENT))

# Exports what the public headers declare, nothing else.
$(B)/libindexd.map: $(wildcard include/indexd/*.h)
	@mkdir -p $(@D)
	@{ echo '{ global:'; grep -ohE '\bgx_[a-z0-9_]+ *\(' $^ | sed 's/ *(/;/' | sort -u; echo 'local: *; };'; } >$@

$(B)/libindexd.so: $(CLIENT_O) $(GEN_O) $(B)/libindexd.map $(B)/sources
	@echo "  LD   $@"
	@$(CC) $(LDFLAGS) $(if $(SAN),,-Wl$(comma)-z$(comma)defs) -shared -o $@ -Wl,-soname,libindexd.so.$(firstword $(subst ., ,$(VERSION))) \
	    -Wl,--version-script=$(B)/libindexd.map $(filter %.o,$^) $(LIBS_CLIENT)

TEST_A := $(TESTLIB_A) $(CTL_A) $(SERVER_A) $(B)/libindexd.a
$(TESTS): $(B)/%: $(O)/%.o $(TEST_A)
	$(call link,$^ $(LIBS_CHECK) $(LIBS_CTL) $(LIBS_SERVER))
$(BENCHES): $(B)/%: $(O)/%.o $(TEST_A)
	$(call link,$^ $(LIBS_CHECK) $(LIBS_CTL) $(LIBS_SERVER))
$(RACE): $(RACE_O) $(PEER_O) $(TEST_A)
	$(call link,$^ $(LIBS_CHECK) $(LIBS_CTL) $(LIBS_SERVER))
$(FUZZERS): $(B)/%: $(O)/%.o $(TEST_A)
	$(call link,-fsanitize=fuzzer $^ $(LIBS_CHECK) $(LIBS_CTL) $(LIBS_SERVER))

tests-build: all $(TESTS)
fuzz-build: $(FUZZERS)
bench-build: $(BENCHES) $(RACE_O)

# ---------------------------------------------------------------- single proofs
TEST_ENV = INDEXD_BIN="$(CURDIR)/$(B)/indexd" INDEXCTL_BIN="$(CURDIR)/$(B)/indexctl" INDEXD_BENCH="$(CURDIR)/$(B)/bench" \
           INDEXD_SAN="$(SAN)" LOG="$(B)/log"

check-format: deps
	@clang-format --dry-run -Werror $(C_FILES)
check-layers:
	@tests/check_layers.sh
check-symbols: all
	@tests/check_symbols.sh $(B)
check-cppcheck: deps
	@mkdir -p build/cppcheck
	@cppcheck -q -j2 --cppcheck-build-dir=build/cppcheck --std=c11 \
	    --enable=warning,performance,portability --inline-suppr --suppressions-list=tests/cppcheck.supp --error-exitcode=1 \
	    -D_GNU_SOURCE -DGX_VERSION='"$(VERSION)"' -Iinclude indexd client

# make test-unit, test-path, …: one kind of tests in this configuration; ONLY=test_x runs that one, SKIP=unit/test_x not.
.PHONY: $(KINDS:%=test-%) test-interop
ONLY ?=
SKIP ?=
chosen = $(if $(ONLY),$(filter %/$(ONLY),$(call programs,$(1))),$(filter-out $(SKIP:%=$(B)/tests/%),$(call programs,$(1))))
.SECONDEXPANSION:
$(KINDS:%=test-%): test-%: all $$(call chosen,$$*)
	@$(TEST_ENV) tests/run.sh $(call chosen,$*)
test-interop: all
	@$(TEST_ENV) tests/run.sh $(wildcard tests/interop/run.sh)

FUZZ_SECONDS ?= 20
fuzz:                                   ## run every fuzzer for FUZZ_SECONDS (20)
	+@$(MAKE) CC=clang SAN=fuzzer FUZZ_SECONDS=$(FUZZ_SECONDS) test-fuzz
.PHONY: test-fuzz
test-fuzz: fuzz-build
	@$(TEST_ENV) FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run.sh $(FUZZERS)
