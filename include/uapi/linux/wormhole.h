/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Wormhole host interface: pairing two KVM virtual machines through
 * /dev/wormhole. See Documentation/uapi.rst.
 *
 * Every structure starts with its own size, as in openat2(2): the caller sets
 * it to sizeof() of the structure it was compiled with. A size smaller than
 * the first published one is EINVAL; a larger one is accepted if all bytes the
 * kernel does not know are zero, and E2BIG otherwise.
 */
#ifndef _UAPI_LINUX_WORMHOLE_H
#define _UAPI_LINUX_WORMHOLE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define WORMHOLE_ABI_VERSION	1

/* Bits of wormhole_info.cpu_features: what every online CPU can do. */
#define WORMHOLE_CPU_VMX		(1ULL << 0)
#define WORMHOLE_CPU_EPT		(1ULL << 1)
/* VM function 0, EPTP switching */
#define WORMHOLE_CPU_VMFUNC		(1ULL << 2)
#define WORMHOLE_CPU_POSTED_INTR	(1ULL << 3)

/* Bits of wormhole_info.kernel_features: what the running kernel offers. */
#define WORMHOLE_KERNEL_KVM		(1ULL << 0)
#define WORMHOLE_KERNEL_KVM_INTEL	(1ULL << 1)
#define WORMHOLE_KERNEL_APICV		(1ULL << 2)

struct wormhole_info {
	__u32 size;
	__u32 abi_version;
	__u64 cpu_features;
	__u64 kernel_features;
	/* pairings that exist now */
	__u32 pairings;
	__u32 reserved;
};

#define WORMHOLE_NAME_LEN	32

/*
 * client_vm_fd, server_vm_fd: file descriptors of two different KVM VMs, as
 * KVM_CREATE_VM returned them. The kernel keeps no reference to the files.
 * name: NUL-terminated label for fdinfo and debugfs, [A-Za-z0-9._-], may be
 * empty.
 */
struct wormhole_pair {
	__u32 size;
	__u32 flags;		/* must be 0 */
	__s32 client_vm_fd;
	__s32 server_vm_fd;
	char name[WORMHOLE_NAME_LEN];
};

#define WORMHOLE_IOC_MAGIC	0xB7

#define WORMHOLE_IOC_INFO	_IOWR(WORMHOLE_IOC_MAGIC, 0x00, struct wormhole_info)
/* Returns the pairing's file descriptor (O_CLOEXEC). Closing it unpairs. */
#define WORMHOLE_IOC_PAIR	_IOW(WORMHOLE_IOC_MAGIC, 0x01, struct wormhole_pair)

/*
 * A pairing's file descriptor: poll(2) reports EPOLLHUP once either VM has
 * gone; /proc/PID/fdinfo/FD has one "wormhole-KEY: value" line per statistic.
 */

#endif /* _UAPI_LINUX_WORMHOLE_H */
