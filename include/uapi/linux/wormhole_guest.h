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

/*
 * Exitless calls (wormhole_hypercall.h), on a file that is bound to a channel.
 * EOPNOTSUPP: the wrong role, or the host cannot (no VMFUNC, or not paired by
 * the host module): use the channel. ENOTCONN: unbound file. Errors of the
 * hypercall are passed on.
 */

/*
 * Server: opens the channel's session for this process; entry is called by the
 * client. EBUSY if the file has one. What is registered is taken out when the
 * process unmaps it or changes its protection, and all of it at END, when the
 * file is closed, or when the process's address space ends.
 */
struct wormhole_guest_serve {
	__u32 size;
	__u32 flags;		/* must be 0 */
	__u64 entry;
};

/*
 * Server: REGISTER pages of the process's memory, or of the channel that is
 * mapped there, with those rights (WORMHOLE_MAP_*) that the mapping has too:
 * EACCES otherwise. EFAULT not mapped; EINVAL writable and executable, or not
 * page-aligned; EPERM executable with a VMFUNC in it. Pages that are registered
 * already are passed over. Sets done to the bytes that are registered from
 * address on, also when it fails.
 */
struct wormhole_guest_register {
	__u32 size;
	__u32 rights;		/* WORMHOLE_MAP_* */
	__u64 address;
	__u64 length;		/* bytes */
	__u64 done;		/* out */
};

/*
 * Server: gives the session a carrier. context: a page of the process with a
 * struct wormhole_carrier, which stays where it is while the session lives.
 */
struct wormhole_guest_carrier {
	__u32 size;
	__u32 index;		/* less than WORMHOLE_MAX_CARRIERS */
	__u64 context;
};

/*
 * Server: carrier index has finished a call that hopped home. The client is
 * notified (as by NOTIFY).
 */
struct wormhole_guest_return {
	__u32 size;
	__u32 index;
	__u64 result;
};

/*
 * Server: sleep until the call of carrier index hops home, that is, until the
 * state in its context is WORMHOLE_CARRIER_HOPPED; until the peer closes or its
 * VM goes; or until the session ends. The host wakes the sleeper by the
 * channel's interrupt, without an event. Status is 0 if the call has hopped.
 *
 * ENOENT no session, or it was not given that carrier; EPERM another process
 * serves it; EPIPE the session has ended, and the call had not hopped by then;
 * ETIMEDOUT; EINTR; ENODEV the device has gone.
 */
struct wormhole_guest_await {
	__u32 size;
	__u32 index;
	__s64 timeout_ns;	/* relative; -1 = no limit; 0 = only look */
	__u32 status;		/* out: WORMHOLE_GUEST_WAIT_* bits */
	__u32 reserved;		/* must be 0 */
};

/*
 * Server: takes a carrier back, so that its context can go. EBUSY it is in a
 * call, or was since this was last asked for it: as WORMHOLE_HC_RETIRE says.
 * ENOENT no session, or it was not given that carrier; EPERM another process
 * serves it; EPIPE the session has ended.
 */
struct wormhole_guest_retire {
	__u32 size;
	__u32 index;
};

#define WORMHOLE_GUEST_IOC_MAGIC	0xB7

#define WORMHOLE_GUEST_IOC_INFO		_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x40, struct wormhole_guest_info)
#define WORMHOLE_GUEST_IOC_CONNECT	_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x41, struct wormhole_guest_bind)
#define WORMHOLE_GUEST_IOC_ACCEPT	_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x42, struct wormhole_guest_bind)
/* Add one to the peer's event word and ring its doorbell. ENOTCONN if unbound. */
#define WORMHOLE_GUEST_IOC_NOTIFY	_IO(WORMHOLE_GUEST_IOC_MAGIC, 0x43)
#define WORMHOLE_GUEST_IOC_WAIT		_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x44, struct wormhole_guest_wait)
#define WORMHOLE_GUEST_IOC_SERVE	_IOW(WORMHOLE_GUEST_IOC_MAGIC, 0x45, struct wormhole_guest_serve)
#define WORMHOLE_GUEST_IOC_REGISTER	_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x46, struct wormhole_guest_register)
#define WORMHOLE_GUEST_IOC_CARRIER	_IOW(WORMHOLE_GUEST_IOC_MAGIC, 0x47, struct wormhole_guest_carrier)
#define WORMHOLE_GUEST_IOC_RETURN	_IOW(WORMHOLE_GUEST_IOC_MAGIC, 0x48, struct wormhole_guest_return)
/*
 * Client: binds the channel's session to this process's address space, until
 * the address space ends (exit, execve), the device goes, or the file's last
 * descriptor and mapping are closed. ENOENT: the server has not opened it;
 * EEXIST: the address space is bound to another session already; EBUSY: the
 * file is bound.
 *
 * From then on a call of this process ends at WORMHOLE_GATE_PAD with
 * WORMHOLE_PAD_ERROR and ENOENT also where VMFUNC is no instruction, because
 * the VMs are not paired any more. That outlasts the device, and ends with the
 * address space, with the file's last descriptor and mapping, or when another
 * process asks this file to BIND.
 */
#define WORMHOLE_GUEST_IOC_BIND		_IO(WORMHOLE_GUEST_IOC_MAGIC, 0x49)
#define WORMHOLE_GUEST_IOC_AWAIT	_IOWR(WORMHOLE_GUEST_IOC_MAGIC, 0x4a, struct wormhole_guest_await)
/*
 * Server: ends the session. Calls that are under way hop home first, for
 * WORMHOLE_HOP_CLIENT: there is nobody to RETURN their results to. Afterwards
 * the client reaches nothing of the process, and AWAIT ends. ENOENT no session;
 * EPERM another process serves it; EPIPE it has ended already.
 */
#define WORMHOLE_GUEST_IOC_END		_IO(WORMHOLE_GUEST_IOC_MAGIC, 0x4b)
#define WORMHOLE_GUEST_IOC_RETIRE	_IOW(WORMHOLE_GUEST_IOC_MAGIC, 0x4c, struct wormhole_guest_retire)

#endif /* _UAPI_LINUX_WORMHOLE_GUEST_H */
