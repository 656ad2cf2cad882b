/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Input of bindgen: what the kernel crate's own bindings do not have.
 */
#include <linux/kdebug.h>
#include <asm/trapnr.h>
