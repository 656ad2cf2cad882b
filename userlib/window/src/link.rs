// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A word of the header's `link[]`.

/// How often a role's VM has connected and disconnected. Odd while connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link(pub u32);

impl Link {
    /// Whether the VM is connected.
    pub const fn is_up(self) -> bool {
        self.0 % 2 == 1
    }

    /// The next value that says "connected": always another one.
    pub const fn connected(self) -> Link {
        // The counter wraps from odd to even, so parity survives.
        let step = if self.is_up() { 2 } else { 1 };
        Link(self.0.wrapping_add(step))
    }

    /// The next value that says "not connected": the same if it is already.
    pub const fn disconnected(self) -> Link {
        let step = if self.is_up() { 1 } else { 0 };
        Link(self.0.wrapping_add(step))
    }
}

#[cfg(test)]
mod tests {
    use super::Link;

    #[test]
    fn parity_survives_the_wrap() {
        let last = Link(u32::MAX);
        assert!(last.is_up());
        assert_eq!(last.disconnected(), Link(0));
        assert_eq!(last.connected(), Link(1));
        assert_eq!(Link(u32::MAX - 1).connected(), last);
        assert_eq!(Link(4).disconnected(), Link(4));
    }
}
