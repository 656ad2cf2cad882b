/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints of the host module, /sys/kernel/tracing/events/wormhole.
 * pairing: its number, as in fdinfo and debugfs. vcpu: its index in the client
 * VM.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM wormhole

#if !defined(_WORMHOLE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _WORMHOLE_TRACE_H

#include <linux/tracepoint.h>
#include <linux/wormhole_hypercall.h>

/* Two VMs have been paired. */
TRACE_EVENT(wormhole_pair,
	TP_PROTO(u64 pairing, pid_t client, pid_t server),
	TP_ARGS(pairing, client, server),
	TP_STRUCT__entry(
		__field(u64, pairing)
		__field(pid_t, client)
		__field(pid_t, server)
	),
	TP_fast_assign(
		__entry->pairing = pairing;
		__entry->client = client;
		__entry->server = server;
	),
	TP_printk("pairing=%llu client-pid=%d server-pid=%d",
		  __entry->pairing, __entry->client, __entry->server)
);

/* A pairing has been taken apart: 1 the client VM, 2 the server VM has gone, 3 its file was closed */
TRACE_EVENT(wormhole_unpair,
	TP_PROTO(u64 pairing, u32 cause),
	TP_ARGS(pairing, cause),
	TP_STRUCT__entry(
		__field(u64, pairing)
		__field(u32, cause)
	),
	TP_fast_assign(
		__entry->pairing = pairing;
		__entry->cause = cause;
	),
	TP_printk("pairing=%llu cause=%s", __entry->pairing,
		  __print_symbolic(__entry->cause, { 1, "client-gone" },
				   { 2, "server-gone" }, { 3, "closed" }))
);

DECLARE_EVENT_CLASS(wormhole_call,
	TP_PROTO(u64 pairing, u32 vcpu, u32 session, u32 carrier),
	TP_ARGS(pairing, vcpu, session, carrier),
	TP_STRUCT__entry(
		__field(u64, pairing)
		__field(u32, vcpu)
		__field(u32, session)
		__field(u32, carrier)
	),
	TP_fast_assign(
		__entry->pairing = pairing;
		__entry->vcpu = vcpu;
		__entry->session = session;
		__entry->carrier = carrier;
	),
	TP_printk("pairing=%llu vcpu=%u session=%u carrier=%u",
		  __entry->pairing, __entry->vcpu, __entry->session,
		  __entry->carrier)
);

/* An interrupt has stopped a call. */
DEFINE_EVENT(wormhole_call, wormhole_stop,
	TP_PROTO(u64 pairing, u32 vcpu, u32 session, u32 carrier),
	TP_ARGS(pairing, vcpu, session, carrier)
);

/* A call that was stopped goes on. */
DEFINE_EVENT(wormhole_call, wormhole_resume,
	TP_PROTO(u64 pairing, u32 vcpu, u32 session, u32 carrier),
	TP_ARGS(pairing, vcpu, session, carrier)
);

/* A call goes on in the server VM. */
TRACE_EVENT(wormhole_hop,
	TP_PROTO(u64 pairing, u32 session, u32 carrier, u32 cause),
	TP_ARGS(pairing, session, carrier, cause),
	TP_STRUCT__entry(
		__field(u64, pairing)
		__field(u32, session)
		__field(u32, carrier)
		__field(u32, cause)
	),
	TP_fast_assign(
		__entry->pairing = pairing;
		__entry->session = session;
		__entry->carrier = carrier;
		__entry->cause = cause;
	),
	TP_printk("pairing=%llu session=%u carrier=%u cause=%s",
		  __entry->pairing, __entry->session, __entry->carrier,
		  __print_symbolic(__entry->cause,
				   { WORMHOLE_HOP_EXCEPTION, "exception" },
				   { WORMHOLE_HOP_SYSCALL, "system-call" },
				   { WORMHOLE_HOP_MEMORY, "memory" },
				   { WORMHOLE_HOP_INSTRUCTION, "instruction" },
				   { WORMHOLE_HOP_CLIENT, "client" }))
);

/* The server VM has said RETURN. */
TRACE_EVENT(wormhole_return,
	TP_PROTO(u64 pairing, u32 session, u32 carrier),
	TP_ARGS(pairing, session, carrier),
	TP_STRUCT__entry(
		__field(u64, pairing)
		__field(u32, session)
		__field(u32, carrier)
	),
	TP_fast_assign(
		__entry->pairing = pairing;
		__entry->session = session;
		__entry->carrier = carrier;
	),
	TP_printk("pairing=%llu session=%u carrier=%u", __entry->pairing,
		  __entry->session, __entry->carrier)
);

/* The gate has turned a client away. */
TRACE_EVENT(wormhole_refuse,
	TP_PROTO(u64 pairing, u32 vcpu),
	TP_ARGS(pairing, vcpu),
	TP_STRUCT__entry(
		__field(u64, pairing)
		__field(u32, vcpu)
	),
	TP_fast_assign(
		__entry->pairing = pairing;
		__entry->vcpu = vcpu;
	),
	TP_printk("pairing=%llu vcpu=%u", __entry->pairing, __entry->vcpu)
);

#endif /* _WORMHOLE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

/* This part must be outside the guard. */
#include <trace/define_trace.h>
