/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Input of bindgen: what the kernel crate's own bindings do not have. KVM's
 * structures differ between kernel flavours, so they are read from the headers
 * of the kernel that the module is built for.
 */
#include <linux/anon_inodes.h>
#include <linux/eventfd.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>

#include "tracepoint.h"

const __u32 RUST_CONST_HELPER_EPOLLHUP = (__force __u32)EPOLLHUP;
const __u32 RUST_CONST_HELPER_HF_GUEST_MASK = HF_GUEST_MASK;
const __u32 RUST_CONST_HELPER_HF_SMM_MASK = HF_SMM_MASK;
