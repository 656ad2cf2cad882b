/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Wormhole host interface: pairing two KVM virtual machines through
 * /dev/wormhole. See Documentation/uapi.rst.
 *
 * Every structure starts with its own size, as in openat2(2): the caller sets
 * it to sizeof() of the structure it was compiled with. A size smaller than
 * the first published one is EINVAL; a larger one is accepted if all bytes the
 * kernel does not know are zero, and E2BIG otherwise, as is one larger than a
 * page. That size is what counts, not the one that is part of the ioctl's
 * number. The kernel writes no more than it knows.
 *
 * Any ioctl: EFAULT bad address; ENOTTY unknown ioctl.
 */
#ifndef _UAPI_LINUX_WORMHOLE_H
#define _UAPI_LINUX_WORMHOLE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define WORMHOLE_ABI_VERSION	1

/* Bits of wormhole_info.cpu_features: what every online CPU can do. */
#define WORMHOLE_CPU_VMX		(1ULL << 0)
#define WORMHOLE_CPU_EPT		(1ULL << 1)
/* VM function 0, EPTP switching, and EPT entries that are execute-only */
#define WORMHOLE_CPU_VMFUNC		(1ULL << 2)
#define WORMHOLE_CPU_POSTED_INTR	(1ULL << 3)

/* Bits of wormhole_info.kernel_features: what the running kernel offers. */
#define WORMHOLE_KERNEL_KVM		(1ULL << 0)
#define WORMHOLE_KERNEL_KVM_INTEL	(1ULL << 1)
#define WORMHOLE_KERNEL_APICV		(1ULL << 2)

struct wormhole_info {
	__u32 size;		/* in: of the structure; out: what the kernel knows of it */
	__u32 abi_version;
	__u64 cpu_features;
	__u64 kernel_features;
	/* pairings of two VMs that are both there */
	__u32 pairings;
	__u32 reserved;
};

#define WORMHOLE_NAME_LEN	32

/*
 * client_vm_fd, server_vm_fd: file descriptors of two different KVM VMs, as
 * KVM_CREATE_VM returned them. The kernel keeps no reference to the files.
 * server_event_fd: with WORMHOLE_PAIR_SERVER_EVENT an eventfd, which is signalled
 * each time a call hops home (Documentation/switch.rst): the interrupt of the
 * server VM that wakes its carriers. The kernel keeps a reference to it. Else 0.
 * name: NUL-terminated label for fdinfo and debugfs, [A-Za-z0-9._-], may be
 * empty. What follows the NUL is ignored.
 *
 * key: the one in the window's header (wormhole_window.h), by which the VMs'
 * hypercalls name the pairing.
 *
 * A VM can be the server of any number of pairings that differ in their keys, one
 * for each client VM, and the client of one other at the same time.
 *
 * EPERM without CAP_SYS_ADMIN in the initial user namespace; EINVAL unknown
 * flag, malformed name, or server_event_fd is no eventfd; EBADF a file descriptor is not open; EMEDIUMTYPE a
 * file is not a KVM VM's; ELOOP both are the same VM; ESRCH the process of a
 * VM has gone; EBUSY the client VM is the client of another pairing, or the
 * server VM the server of another pairing with this key; EINTR a signal
 * came; EMFILE, ENFILE, ENOMEM. They are looked for in this order.
 */
struct wormhole_pair {
	__u32 size;
	__u32 flags;		/* WORMHOLE_PAIR_* */
	__s32 client_vm_fd;
	__s32 server_vm_fd;
	char name[WORMHOLE_NAME_LEN];
	__s32 server_event_fd;
	__u32 key;
};

#define WORMHOLE_PAIR_SERVER_EVENT	(1U << 0)

#define WORMHOLE_IOC_MAGIC	0xB7

#define WORMHOLE_IOC_INFO	_IOWR(WORMHOLE_IOC_MAGIC, 0x00, struct wormhole_info)
/* Returns the pairing's file descriptor (O_CLOEXEC). Closing it unpairs. */
#define WORMHOLE_IOC_PAIR	_IOW(WORMHOLE_IOC_MAGIC, 0x01, struct wormhole_pair)

/*
 * A pairing ends when the last copy of its file descriptor is closed, or when
 * the address space that one of its VMs was created in (QEMU's) ends. In the
 * latter case poll(2) reports EPOLLHUP from when the kernel has let go of both
 * VMs, and the file descriptor remains to read the last statistics from. A VM
 * all of whose file descriptors are closed, but whose process lives, stays
 * until its pairing is closed.
 *
 * /proc/PID/fdinfo/FD has one "wormhole-KEY: value" line per statistic:
 *	id			number of the pairing since the module was loaded
 *	name
 *	state			paired, client-gone or server-gone
 *	age-seconds		since the VMs were paired
 *	client-pid, server-pid	of the thread that created the VM
 *	client-exits, server-exits
 *				VM exits of all vCPUs since the VM was created
 *	client-interrupt-exits, server-interrupt-exits
 *				those of them that an interrupt of the host caused
 *	calls			exitless calls that came back with a result, as far as the
 *				client VM is to be believed: it can make any number of it
 *	stops, resumes		exitless calls that an interrupt stopped, and that went on
 *	hops-CAUSE		calls that hopped home to the server VM, by cause:
 *				exception, system-call, memory, instruction, client
 *	refusals		entries that the gate turned away
 *	table-bytes		memory of the views, the registered memory aside
 * /sys/kernel/debug/wormhole/ID/ has the same, one file each ("_" for "-"), and
 * /sys/kernel/debug/wormhole/pairings a table of all, one line each. Exit
 * counts are KVM's own.
 */

#endif /* _UAPI_LINUX_WORMHOLE_H */
