/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Input of bindgen: what the kernel crate's own bindings do not have. KVM's
 * structures differ between kernel flavours, so they are read from the headers
 * of the kernel that the module is built for.
 */
#include <linux/anon_inodes.h>
#include <linux/kvm_host.h>
#include <linux/poll.h>

const __u32 RUST_CONST_HELPER_EPOLLHUP = (__force __u32)EPOLLHUP;
