/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Calls of functions in another VM without a VM exit, or by messages where that
 * cannot be (one line on stderr says why). Link with -lwormhole_delegate.
 *
 * A path of NULL is /dev/wormhole_guest0. Functions that give a pointer give
 * NULL and set errno if they fail; those that give an int give 0 or a negative
 * error number.
 */
#ifndef WORMHOLE_DELEGATE_H
#define WORMHOLE_DELEGATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The function that clients call. Several calls can be under way at once, in
 * any thread. What a system call or memory that is not registered makes it do
 * in the server VM costs as much as a message.
 */
typedef uint64_t (*wormhole_entry)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

/* The server. */
struct wormhole_listener;
struct wormhole_service;

struct wormhole_listener *wormhole_listener_open(const char *path);
/* Waits for a client. */
struct wormhole_service *wormhole_listener_accept(struct wormhole_listener *listener);
void wormhole_listener_close(struct wormhole_listener *listener);

/* Memory that is shared with the client, who can change it at any time. */
void *wormhole_service_memory(const struct wormhole_service *service, size_t *size);
/*
 * Serves the client until it leaves, and closes the service. carriers: how many
 * exitless calls can be under way at once; 0 for a default.
 */
int wormhole_service_run(struct wormhole_service *service, wormhole_entry entry, uint32_t carriers);
void wormhole_service_close(struct wormhole_service *service);

/* The client. */
struct wormhole_caller;

struct wormhole_caller *wormhole_caller_connect(const char *path);
/* Memory that is shared with the server, who can change it at any time. */
void *wormhole_caller_memory(const struct wormhole_caller *caller, size_t *size);
/* Calls the server's function. Any thread. */
int wormhole_caller_call(const struct wormhole_caller *caller, const uint64_t arguments[6],
			 uint64_t *result);
/* "vmfunc" or "ring" */
const char *wormhole_caller_transport(const struct wormhole_caller *caller);
/* Exitless calls so far that had to go on in the server VM. */
uint64_t wormhole_caller_hops(const struct wormhole_caller *caller);
void wormhole_caller_close(struct wormhole_caller *caller);

#ifdef __cplusplus
}
#endif

#endif
