/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The window: memory that both VMs of a pairing see, as BAR2 of an
 * ivshmem-doorbell device. See Documentation/window.rst.
 *
 * "wormholectl serve" writes the header; both guests read it once, at probe,
 * and validate it. All numbers are little-endian. Everything in the window can
 * be changed by the other VM at any time: copy in, validate, then use.
 *
 *	offset 0		struct wormhole_window, padded to channel_size
 *	channel_size * (1 + i)	channel i, 0 <= i < channels
 */
#ifndef _UAPI_LINUX_WORMHOLE_WINDOW_H
#define _UAPI_LINUX_WORMHOLE_WINDOW_H

#include <linux/types.h>

/* The ASCII bytes "WORMHOLE" */
#define WORMHOLE_WINDOW_MAGIC		0x454c4f484d524f57ULL
#define WORMHOLE_WINDOW_VERSION		1

/* A role is the device's ivshmem peer ID (IVPosition) and an array index. */
#define WORMHOLE_ROLE_SERVER		0
#define WORMHOLE_ROLE_CLIENT		1
#define WORMHOLE_ROLES			2

/* ivshmem (MSI-X) vectors */
#define WORMHOLE_VECTOR_CHANNEL		0	/* some channel's event word moved */
#define WORMHOLE_VECTOR_LINK		1	/* link[] of the other side moved */
#define WORMHOLE_VECTORS		2

#define WORMHOLE_WINDOW_MIN_SIZE	(1ULL << 20)
#define WORMHOLE_WINDOW_MAX_SIZE	(1ULL << 36)
#define WORMHOLE_CHANNEL_MIN_SIZE	(1ULL << 18)
#define WORMHOLE_CHANNELS_MAX		255

struct wormhole_window {
	__u64 magic;
	__u32 version;
	__u32 channels;		/* size / channel_size - 1 */
	__u64 size;		/* bytes, power of two, all of BAR2 */
	__u64 channel_size;	/* bytes, power of two */
	char name[32];		/* NUL-terminated, for people */
	/*
	 * Names this window to the host (wormhole_hypercall.h). A random
	 * number, so that no VM can have its peer take this window for another
	 * one of the peer's, whose header it does not see.
	 */
	__u32 key;
	__u8 reserved[60];
	/*
	 * Offset 128. Per role: odd while that VM is connected, one more on
	 * each connect and disconnect. Written by "wormholectl serve".
	 */
	__u32 link[WORMHOLE_ROLES];
};

/*
 * The first page of a channel. The guest drivers own it up to
 * WORMHOLE_CHANNEL_DRIVER_SIZE; the rest of the channel belongs to the
 * transport in user space.
 */
struct wormhole_channel {
	/*
	 * Per role: 0 = closed, otherwise the connection's number. The
	 * client's driver picks it; the server's driver repeats it to accept.
	 */
	__u32 state[WORMHOLE_ROLES];
	/*
	 * Per role: pages from the channel's start that processes of that VM
	 * may have touched since it last set this to 0 (the client at CONNECT,
	 * the server at ACCEPT). The client clears that much before it offers
	 * the channel again, so that no process sees what another one left.
	 */
	__u32 touched[WORMHOLE_ROLES];
	__u8 pad0[48];
	/* Offset 64: number of notifications sent to the server */
	__u32 event_server;
	__u8 pad1[60];
	/* Offset 128: number of notifications sent to the client */
	__u32 event_client;
	__u8 pad2[60];
};

#define WORMHOLE_CHANNEL_DRIVER_SIZE	512

#endif /* _UAPI_LINUX_WORMHOLE_WINDOW_H */
