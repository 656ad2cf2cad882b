// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * The client of delegate-sample in C: a counter, and a checksum of memory that
 * both VMs see, in the server VM. Start "delegate-sample server" there first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wormhole_delegate.h>

/* As in userlib/delegate/src/bin/delegate-sample.rs */
enum { COUNT = 1, CHECKSUM, PARENT, RESET };

#define WORDS			4096
#define SYSTEM_CALLS_EVERY	1000

static struct wormhole_caller *caller;
static unsigned long made;

static uint64_t call(uint64_t what, uint64_t a, uint64_t b)
{
	const uint64_t arguments[6] = { what, a, b };
	uint64_t result;
	int err = wormhole_caller_call(caller, arguments, &result);

	if (err) {
		fprintf(stderr, "counter: call %lu: %s\n", made, strerror(-err));
		exit(EXIT_FAILURE);
	}
	made++;
	return result;
}

int main(int argc, char **argv)
{
	const char *device = NULL;
	unsigned long calls = 100000;
	uint64_t words, parent, expected = 0, sum = 0;
	volatile uint64_t *memory;
	size_t size;
	int verified = 1;

	for (int i = 1; i < argc; i += 2) {
		char *end = "";

		if (i + 1 < argc && strcmp(argv[i], "-d") == 0) {
			device = argv[i + 1];
		} else if (i + 1 < argc && strcmp(argv[i], "-n") == 0) {
			calls = strtoul(argv[i + 1], &end, 10);
		} else {
			end = "?";
		}
		if (*end != '\0') {
			fprintf(stderr, "usage: %s [-d DEVICE] [-n CALLS]\n", argv[0]);
			return 2;
		}
	}

	caller = wormhole_caller_connect(device);
	if (!caller) {
		perror("counter: cannot connect");
		return EXIT_FAILURE;
	}
	memory = wormhole_caller_memory(caller, &size);
	if (!memory) {
		fprintf(stderr, "counter: no shared memory\n");
		return EXIT_FAILURE;
	}
	words = size / sizeof(*memory) < WORDS ? size / sizeof(*memory) : WORDS;
	for (uint64_t i = 0; i < words; i++) {
		uint64_t word = i * 0x9e3779b97f4a7c15;

		expected = expected * 31 + word;
		memory[i] = word;
	}

	call(RESET, 0, 0);
	parent = call(PARENT, 0, 0);
	verified &= call(CHECKSUM, 0, words) == expected;
	for (unsigned long i = 1; i <= calls; i++) {
		sum += i;
		verified &= call(COUNT, i, 0) == sum;
		if (i % SYSTEM_CALLS_EVERY == 0) {
			verified &= call(PARENT, 0, 0) == parent;
			verified &= call(CHECKSUM, 0, words) == expected;
		}
	}
	printf("RESULT program=counter transport=%s calls=%lu hops=%lu verified=%s\n",
	       wormhole_caller_transport(caller), made,
	       (unsigned long)wormhole_caller_hops(caller), verified ? "yes" : "no");
	wormhole_caller_close(caller);
	return verified ? EXIT_SUCCESS : EXIT_FAILURE;
}
