// SPDX-License-Identifier: GPL-2.0
/*
 * In C, since TRACE_EVENT() is a C macro and the kernel crate's
 * declare_trace!() knows the kernel's own tracepoints alone.
 */
#include "tracepoint.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

void wormhole_trace_pair(u64 pairing, pid_t client, pid_t server)
{
	trace_wormhole_pair(pairing, client, server);
}

void wormhole_trace_unpair(u64 pairing, u32 cause)
{
	trace_wormhole_unpair(pairing, cause);
}

void wormhole_trace_stop(u64 pairing, u32 vcpu, u32 session, u32 carrier)
{
	trace_wormhole_stop(pairing, vcpu, session, carrier);
}

void wormhole_trace_resume(u64 pairing, u32 vcpu, u32 session, u32 carrier)
{
	trace_wormhole_resume(pairing, vcpu, session, carrier);
}

void wormhole_trace_hop(u64 pairing, u32 session, u32 carrier, u32 cause)
{
	trace_wormhole_hop(pairing, session, carrier, cause);
}

void wormhole_trace_return(u64 pairing, u32 session, u32 carrier)
{
	trace_wormhole_return(pairing, session, carrier);
}

void wormhole_trace_refuse(u64 pairing, u32 vcpu)
{
	trace_wormhole_refuse(pairing, vcpu);
}
