// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The objects of a call that other threads do not wait for.

use std::sync::Arc;

use wormhole_opencl_protocol::api::Kind;

use crate::api::Vendor;
use crate::check::{check, Refusal};

/// References to the objects that a call uses, so that whoever releases them
/// meanwhile does not destroy them. Given back when this is dropped.
///
/// # Invariants
/// One reference to each of `objects` is this one's.
pub(crate) struct Used {
    vendor: Arc<Vendor>,
    objects: Vec<(Kind, usize)>,
}

impl Used {
    pub(crate) fn of(vendor: &Arc<Vendor>) -> Self {
        Used {
            vendor: vendor.clone(),
            objects: Vec::new(),
        }
    }

    /// Adds one that was found in the client's table just now. Null is none.
    ///
    /// # Errors
    /// If the vendor cannot add a reference.
    pub(crate) fn add(&mut self, kind: Kind, object: usize) -> Result<(), Refusal> {
        if object != 0 {
            // SAFETY: what is in the table is live.
            check(unsafe { self.vendor.retain(kind, object) })?;
            self.objects.push((kind, object));
        }
        Ok(())
    }

    /// As [`add`](Used::add), for each of a list.
    ///
    /// # Errors
    /// As for one.
    pub(crate) fn add_all(&mut self, kind: Kind, objects: &[usize]) -> Result<(), Refusal> {
        objects
            .iter()
            .try_for_each(|object| self.add(kind, *object))
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        for (kind, object) in self.objects.drain(..) {
            // SAFETY: by the invariant.
            unsafe { self.vendor.release(kind, object) };
        }
    }
}
