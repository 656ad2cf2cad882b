// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Failures of posted calls, kept until a call can report them.

use rustc_hash::FxHashMap;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::cl_int;

/// The first failure of each queue or kernel since it was last reported.
#[derive(Debug, Default)]
pub(crate) struct Accounts(FxHashMap<Handle, cl_int>);

/// A client that makes up handles cannot make more accounts than this.
const MAX: usize = 4096;

impl Accounts {
    /// A posted call has failed.
    pub(crate) fn defer(&mut self, account: Handle, status: cl_int) {
        if self.0.len() < MAX || self.0.contains_key(&account) {
            self.0.entry(account).or_insert(status);
        }
    }

    /// Takes the failure of one account.
    pub(crate) fn take(&mut self, account: Handle) -> Option<cl_int> {
        self.0.remove(&account)
    }

    /// Takes the failure of the first of these accounts that has one.
    #[inline]
    pub(crate) fn take_first(&mut self, accounts: &[Handle]) -> Option<cl_int> {
        // Failures are rare.
        match self.0.is_empty() {
            true => None,
            false => accounts.iter().find_map(|account| self.take(*account)),
        }
    }

    /// Takes the failure of any account.
    pub(crate) fn take_any(&mut self) -> Option<cl_int> {
        let account = *self.0.keys().next()?;
        self.take(account)
    }
}
