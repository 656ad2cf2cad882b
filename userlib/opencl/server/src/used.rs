// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The objects of calls that other threads do not wait for: who releases one meanwhile does not
//! destroy it.

use smallvec::SmallVec;
use wormhole_opencl_protocol::api::Kind;

use crate::api::Vendor;
use crate::session::Locked;

/// An object of the vendor's.
type Object = (Kind, usize);

/// The objects of one call.
#[derive(Default)]
pub(crate) struct Used(SmallVec<[Object; 4]>);

impl Used {
    /// Adds one that was found in the client's table just now. Null is none.
    pub(crate) fn add(&mut self, kind: Kind, object: usize) {
        if object != 0 {
            self.0.push((kind, object));
        }
    }

    /// As [`add`](Used::add), for each of a list.
    pub(crate) fn add_all(&mut self, kind: Kind, objects: &[usize]) {
        objects.iter().for_each(|object| self.add(kind, *object));
    }

    /// Makes the call, while other threads work for the session.
    pub(crate) fn unlocked<T>(self, s: &mut Locked<'_>, call: impl FnOnce() -> T) -> T {
        s.in_use.begin(&self.0);
        let result = Locked::unlocked(s, call);
        let state = &mut **s;
        state.in_use.end(&self.0, &state.vendor);
        result
    }
}

/// The objects of all such calls of a session that are under way.
///
/// # Invariants
/// One reference to each of `released` is this one's.
#[derive(Default)]
pub(crate) struct InUse {
    /// As often as they are used.
    objects: Vec<Object>,
    /// Those among them that the client has released.
    released: Vec<Object>,
}

impl InUse {
    fn begin(&mut self, objects: &[Object]) {
        objects.iter().for_each(|object| self.objects.push(*object));
    }

    #[inline]
    fn end(&mut self, objects: &[Object], vendor: &Vendor) {
        let left = self.objects.len().saturating_sub(objects.len());
        // The call that began last ends first, mostly.
        match self.objects.get(left..) == Some(objects) {
            true => self.objects.truncate(left),
            false => self.remove(objects),
        }
        if !self.released.is_empty() {
            self.release_unused(vendor);
        }
    }

    #[cold]
    fn remove(&mut self, objects: &[Object]) {
        for object in objects {
            if let Some(place) = self.objects.iter().position(|used| used == object) {
                self.objects.swap_remove(place);
            }
        }
    }

    #[cold]
    fn release_unused(&mut self, vendor: &Vendor) {
        for (kind, object) in std::mem::take(&mut self.released) {
            // SAFETY: by the invariants the reference is given up once.
            unsafe { self.release(kind, object, vendor) };
        }
    }

    /// Gives up a reference to an object, now or when no call uses it any more.
    ///
    /// # Safety
    /// The reference is the caller's, who does not use it again.
    pub(crate) unsafe fn release(&mut self, kind: Kind, object: usize, vendor: &Vendor) {
        match self.objects.contains(&(kind, object)) {
            true => self.released.push((kind, object)),
            // SAFETY: the caller promises it.
            false => unsafe { vendor.release(kind, object) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use wormhole_opencl_protocol::types::{cl_event, cl_int};

    use super::*;

    thread_local! {
        static RELEASED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    unsafe extern "C" fn release(event: cl_event) -> cl_int {
        RELEASED.with_borrow_mut(|released| released.push(event as usize));
        0
    }

    fn released() -> Vec<usize> {
        RELEASED.take()
    }

    #[test]
    fn what_is_used_is_released_after_its_last_use() {
        // SAFETY: this is that function's type; the others are not there.
        let vendor = unsafe {
            Vendor::load(|symbol| match symbol {
                b"clReleaseEvent" | b"clReleaseEvent\0" => release as *const _,
                _ => std::ptr::null(),
            })
        };
        let mut in_use = InUse::default();
        // SAFETY: the references are made up.
        let let_go = |in_use: &mut InUse, object| unsafe {
            in_use.release(Kind::Event, object, &vendor);
        };
        let [one, two] = [1, 2].map(|object| (Kind::Event, object));
        in_use.begin(&[one, two]);
        in_use.begin(&[one]);
        for object in [1, 2, 3] {
            let_go(&mut in_use, object);
        }
        assert_eq!(released(), [3], "nobody uses it");
        in_use.end(&[one, two], &vendor);
        assert_eq!(released(), [2]);
        in_use.end(&[one], &vendor);
        assert_eq!(released(), [1]);
        let_go(&mut in_use, 1);
        assert_eq!(released(), [1]);
    }
}
