/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Input of bindgen: Wormhole's UAPI, for both modules. bindgen does not
 * evaluate the _IO*() macros; constants of that value it does, and Kbuild
 * strips RUST_CONST_HELPER_ from their names.
 */
#include <linux/wormhole.h>
#include <linux/wormhole_guest.h>
#include <linux/wormhole_hypercall.h>
#include <linux/wormhole_window.h>

#define IOCTL(name) const __u32 RUST_CONST_HELPER_##name = name

IOCTL(WORMHOLE_IOC_INFO);
IOCTL(WORMHOLE_IOC_PAIR);
IOCTL(WORMHOLE_GUEST_IOC_INFO);
IOCTL(WORMHOLE_GUEST_IOC_CONNECT);
IOCTL(WORMHOLE_GUEST_IOC_ACCEPT);
IOCTL(WORMHOLE_GUEST_IOC_NOTIFY);
IOCTL(WORMHOLE_GUEST_IOC_WAIT);
IOCTL(WORMHOLE_GUEST_IOC_SERVE);
IOCTL(WORMHOLE_GUEST_IOC_REGISTER);
IOCTL(WORMHOLE_GUEST_IOC_CARRIER);
IOCTL(WORMHOLE_GUEST_IOC_RETURN);
IOCTL(WORMHOLE_GUEST_IOC_BIND);
IOCTL(WORMHOLE_GUEST_IOC_AWAIT);
IOCTL(WORMHOLE_GUEST_IOC_END);
IOCTL(WORMHOLE_GUEST_IOC_RETIRE);
