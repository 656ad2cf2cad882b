/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Wormhole guest interface: /dev/wormhole_guestN, one per ivshmem-doorbell
 * device whose window is Wormhole's. See Documentation/uapi.rst.
 *
 * A fresh file is unbound. CONNECT (in the client VM) or ACCEPT (in the server
 * VM) binds it to one channel, which can then be mapped (mmap offset 0, up to
 * channel_size bytes), notified and waited on. Closing the file closes the
 * channel; the other side is told.
 *
 * poll(2): an unbound file of the server VM is readable when ACCEPT would not
 * block. A bound file is readable when the event word differs from what WAIT
 * last returned on this file, and reports EPOLLHUP when the peer has closed
 * the channel or its VM has gone.
 */
#ifndef _UAPI_LINUX_WORMHOLE_GUEST_H
#define _UAPI_LINUX_WORMHOLE_GUEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define WORMHOLE_GUEST_ABI_VERSION	1

/* wormhole_guest_info.channel of an unbound file */
#define WORMHOLE_GUEST_UNBOUND		0xffffffffU

struct wormhole_guest_info {
	__u32 size;		/* as in wormhole.h */
	__u32 abi_version;
	__u32 role;		/* WORMHOLE_ROLE_* */
	__u32 channels;
	__u64 channel_size;	/* bytes */
	__u32 channel;		/* of this file, or WORMHOLE_GUEST_UNBOUND */
	__u32 peer_up;		/* 1 while the other VM is connected */
};

/*
 * CONNECT: take a free channel and wait until a server accepts it.
 * ACCEPT: wait for a client and accept it, also for a client VM to come up.
 * O_NONBLOCK: EAGAIN (ACCEPT only).
 *
 * EISCONN file already bound; EALREADY another thread is binding it;
 * EOPNOTSUPP wrong role; ENOTCONN the other VM is not there (CONNECT); ENOSPC
 * all channels in use in this VM (CONNECT); ETIMEDOUT; EINTR; ENODEV the
 * device has gone.
 */
struct wormhole_guest_bind {
	__u32 size;
	__u32 flags;		/* must be 0 */
	__s64 timeout_ns;	/* relative; -1 = no limit */
	__u32 channel;		/* out: the channel's index */
	__u32 connection;	/* out: the connection's number */
};

#define WORMHOLE_GUEST_WAIT_PEER_CLOSED	(1U << 0)
#define WORMHOLE_GUEST_WAIT_LINK_DOWN	(1U << 1)

/*
 * Sleep until this side's event word differs from @seen, the peer closes or
 * its VM goes. ENOTCONN unbound file; ETIMEDOUT; EINTR; ENODEV the device has
 * gone.
 */
struct wormhole_guest_wait {
	__u32 size;
	__u32 seen;
	__s64 timeout_ns;	/* relative; -1 = no limit; 0 = only look, no ETIMEDOUT */
	__u32 event;		/* out: the event word now */
	__u32 status;		/* out: WORMHOLE_GUEST_WAIT_* bits */
};

#define WORMHOLE_GUEST_IOC_MAGIC	0xB7

#define WORMHOLE_GUEST_IOC_INFO		_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x40, struct wormhole_guest_info)
#define WORMHOLE_GUEST_IOC_CONNECT	_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x41, struct wormhole_guest_bind)
#define WORMHOLE_GUEST_IOC_ACCEPT	_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x42, struct wormhole_guest_bind)
/* Add one to the peer's event word and ring its doorbell. ENOTCONN if unbound. */
#define WORMHOLE_GUEST_IOC_NOTIFY	_IO(WORMHOLE_GUEST_IOC_MAGIC, 0x43)
#define WORMHOLE_GUEST_IOC_WAIT		_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x44, struct wormhole_guest_wait)

#endif /* _UAPI_LINUX_WORMHOLE_GUEST_H */
