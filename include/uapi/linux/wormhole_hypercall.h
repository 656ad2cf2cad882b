/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Wormhole hypercalls: what the VMs of a pairing ask of the host module, and
 * the layout that exitless calls rest on. See Documentation/switch.rst.
 *
 * VMCALL with RAX = WORMHOLE_HYPERCALL | number, arguments in RDI, RSI, RDX,
 * and the key of the pairing (that of its window, wormhole_window.h) in ECX.
 * RAX returns 0 or more, or a negative error number; -1000 (KVM_ENOSYS) is
 * KVM's own answer where there is no pairing. All but RESUME are the
 * kernel's: EPERM at CPL 3. EINVAL unknown number, or bad argument;
 * EOPNOTSUPP the VM has no part in a pairing with this key, or the other role,
 * or the CPU or the vCPU's state does not allow exitless calls; ENOENT nothing of this name; EEXIST it is there
 * already; ENOMEM; EFAULT a guest-physical address that is not memory of this
 * VM; EBUSY a page is registered too often, or see RETIRE.
 *
 * A session is one server process and one client process of a pairing, where its
 * number is that of their channel (wormhole_guest.h), at most WORMHOLE_MAX_SESSIONS - 1.
 */
#ifndef _UAPI_LINUX_WORMHOLE_HYPERCALL_H
#define _UAPI_LINUX_WORMHOLE_HYPERCALL_H

#include <linux/types.h>

#define WORMHOLE_HYPERCALL		0x574d0000U
#define WORMHOLE_HYPERCALL_VERSION	2

#define WORMHOLE_MAX_SESSIONS		64
#define WORMHOLE_MAX_CARRIERS		64

/* Returns WORMHOLE_HYPERCALL_VERSION; EOPNOTSUPP as above. Both VMs. */
#define WORMHOLE_HC_INFO		0
/*
 * Server: opens session RDI. RSI: address of the process's function
 *	u64 entry(u64, u64, u64, u64, u64, u64).
 */
#define WORMHOLE_HC_OPEN		1
/*
 * Server: closes session RDI. Calls that are under way hop home first, for
 * WORMHOLE_HOP_CLIENT, and need no RETURN; to the client they are unknown.
 */
#define WORMHOLE_HC_CLOSE		2
/*
 * Server: registers memory with session RDI. RSI: guest-physical address of
 * RDX wormhole_mapping, within one page. Returns how many were registered;
 * the first that was not is in error if that is 0. What is executable must not
 * be writable, is copied, and is refused (EPERM) if it has a VMFUNC in it.
 */
#define WORMHOLE_HC_MAP			3
/* Server: takes RDX pages from address RSI on out of session RDI. */
#define WORMHOLE_HC_UNMAP		4
/*
 * Server: gives session RDI a carrier. RSI: its number. RDX: guest-physical
 * address of its wormhole_carrier. It can take calls from then on.
 */
#define WORMHOLE_HC_CARRIER		5
/*
 * Server: carrier RSI of session RDI has finished natively the call that
 * hopped home, with result RDX; it can take calls again.
 */
#define WORMHOLE_HC_RETURN		6
/*
 * Server: takes carrier RSI of session RDI back, from when on its
 * wormhole_carrier is used no more. EBUSY: it is in a call, or a client has
 * had it since the server asked for it last, or it never asked before. Ask
 * again after as long as nobody is to have wanted it.
 */
#define WORMHOLE_HC_RETIRE		7
/* Client: binds session RDI to the address space with CR3 RSI. */
#define WORMHOLE_HC_BIND		16
#define WORMHOLE_HC_UNBIND		17
/*
 * Client, at CPL 3 in the bound process: goes on with the call whose token is
 * RDI, without a key. Does not return: the call goes on, or RIP is at WORMHOLE_GATE_PAD. But
 * EAGAIN: it hopped home and has not finished; ENOENT: there is no such call.
 */
#define WORMHOLE_HC_RESUME		18

struct wormhole_mapping {
	__u64 address;		/* of the process, page-aligned; | WORMHOLE_MAP_* */
	__u64 gpa;
};

#define WORMHOLE_MAP_READ		(1ULL << 0)
#define WORMHOLE_MAP_WRITE		(1ULL << 1)
#define WORMHOLE_MAP_EXECUTE		(1ULL << 2)

/* bytes; room for AVX-512 and PKRU, not for AMX */
#define WORMHOLE_XSAVE_SIZE		3072

/*
 * A carrier as the server VM gives it to the host, at the start of a page. The
 * fields up to fs_base are read when it is given. When a
 * call hops home the host writes the registers and then state, which the
 * carrier's thread sets back before RETURN.
 */
#define WORMHOLE_CARRIER_PARKED		0
#define WORMHOLE_CARRIER_HOPPED		1
struct wormhole_carrier {
	__u32 state;
	__u32 cause;		/* WORMHOLE_HOP_* */
	__u64 stack;		/* RSP before the call of entry(), 16-aligned */
	__u64 fs_base;
	/* in the order of their encoding: RAX, RCX, RDX, RBX, RSP, RBP, RSI, ... */
	__u64 registers[16];
	__u64 rip;
	__u64 rflags;
	__u64 hopped_fs_base;
	__u64 hopped_gs_base;
	__u64 fault_address;	/* of a hop for WORMHOLE_HOP_MEMORY; else 0 */
	__u64 reserved[40];
	__u8 xsave[WORMHOLE_XSAVE_SIZE];	/* standard format, at offset 512 */
};

/* Why a call hopped home. */
#define WORMHOLE_HOP_EXCEPTION		0
#define WORMHOLE_HOP_SYSCALL		1
#define WORMHOLE_HOP_MEMORY		2	/* not registered, or not with that right */
#define WORMHOLE_HOP_INSTRUCTION	3	/* one that only the server VM can do */
#define WORMHOLE_HOP_CLIENT		4	/* the client went during the call, or the session ended */

/*
 * The gate: one page at the same address in both processes. The client's page
 * there is its own code, with these offsets:
 *
 * ENTER:	xor eax, eax; mov ecx, 1; vmfunc. Arguments in RDI, RSI, RDX,
 *		R10, R8, R9. No other register survives.
 * HOME:	where a call returns to, its result in RDI. RSP, FS base and GS base
 *		are as at ENTER. All else, flags and PKRU too, is what the server
 *		or the gate has left there.
 * PAD:		where the host puts a client whose call it stopped. RSP, FS base and
 *		GS base are as at ENTER or at RESUME, all other registers zero but
 *		RAX and RDI (see below).
 *
 * All other bytes of the client's page must be INT3: where the server's half of
 * the gate leaves for the client at a place of its own, that is a trap.
 */
#define WORMHOLE_GATE_REGION		0x6f5a40000000ULL	/* 1 GiB, all of it reserved */
#define WORMHOLE_GATE_ADDRESS		0x6f5a52345000ULL
#define WORMHOLE_GATE_ENTER		0x1d0
#define WORMHOLE_GATE_HOME		0x33d
#define WORMHOLE_GATE_PAD		0x380

/* RAX at PAD */
#define WORMHOLE_PAD_INTERRUPTED	1	/* RDI: token, for RESUME */
#define WORMHOLE_PAD_HOPPED		2	/* RDI: token, RESUME gives the result when it is there */
#define WORMHOLE_PAD_ERROR		3	/* RDI: error number, the call was not made or has failed */
#define WORMHOLE_PAD_RESULT		4	/* RDI: the call's result */

#endif /* _UAPI_LINUX_WORMHOLE_HYPERCALL_H */
