/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Rust calls to reach the tracepoints of trace.h, which has what they
 * mean.
 */
#ifndef _WORMHOLE_TRACEPOINT_H
#define _WORMHOLE_TRACEPOINT_H

#include <linux/types.h>

void wormhole_trace_pair(u64 pairing, pid_t client, pid_t server);
void wormhole_trace_unpair(u64 pairing, u32 cause);
void wormhole_trace_stop(u64 pairing, u32 vcpu, u32 session, u32 carrier);
void wormhole_trace_resume(u64 pairing, u32 vcpu, u32 session, u32 carrier);
void wormhole_trace_hop(u64 pairing, u32 session, u32 carrier, u32 cause);
void wormhole_trace_return(u64 pairing, u32 session, u32 carrier);
void wormhole_trace_refuse(u64 pairing, u32 vcpu);

#endif /* _WORMHOLE_TRACEPOINT_H */
