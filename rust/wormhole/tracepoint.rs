// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of `trace.h`, which has what they mean. In any context.

use crate::bindings as c;

/// A number as tracepoints have it; there are none that are higher.
fn number(value: usize) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}

/// A vCPU's calls of a session, as they are traced.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) pairing: u64,
    pub(crate) vcpu: usize,
    pub(crate) session: usize,
    pub(crate) carrier: usize,
}

impl Call {
    pub(crate) fn stop(self) {
        let (vcpu, session) = (number(self.vcpu), number(self.session));
        // SAFETY: Numbers alone.
        unsafe { c::wormhole_trace_stop(self.pairing, vcpu, session, number(self.carrier)) };
    }

    pub(crate) fn resume(self) {
        let (vcpu, session) = (number(self.vcpu), number(self.session));
        // SAFETY: Numbers alone.
        unsafe { c::wormhole_trace_resume(self.pairing, vcpu, session, number(self.carrier)) };
    }
}

pub(crate) fn pair(pairing: u64, client: i32, server: i32) {
    // SAFETY: Numbers alone.
    unsafe { c::wormhole_trace_pair(pairing, client, server) };
}

pub(crate) fn unpair(pairing: u64, cause: u32) {
    // SAFETY: Numbers alone.
    unsafe { c::wormhole_trace_unpair(pairing, cause) };
}

pub(crate) fn hop(pairing: u64, session: usize, carrier: usize, cause: u32) {
    // SAFETY: Numbers alone.
    unsafe { c::wormhole_trace_hop(pairing, number(session), number(carrier), cause) };
}

pub(crate) fn returned(pairing: u64, session: u64, carrier: usize) {
    // SAFETY: Numbers alone.
    unsafe { c::wormhole_trace_return(pairing, session as u32, number(carrier)) };
}

pub(crate) fn refuse(pairing: u64, vcpu: usize) {
    // SAFETY: Numbers alone.
    unsafe { c::wormhole_trace_refuse(pairing, number(vcpu)) };
}
