// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Any bytes given to the dispatcher end in a reply or an error. There is no
//! vendor behind it, so that nothing but the dispatcher is tested.

use proptest::collection::vec;
use proptest::prelude::*;

use wormhole_opencl_server::api::Vendor;
use wormhole_opencl_server::{Binaries, Limits, Session};

fn session() -> Session {
    let limits = Limits {
        max_objects: 16,
        max_pending: 1 << 20,
    };
    let nowhere = std::path::PathBuf::from("/nonexistent");
    Session::new(Vendor::default(), Binaries::new(nowhere, 0), limits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_answered_or_refused(
        messages in vec((0u8..150, vec(0u8..4, 0..120), any::<bool>()), 1..8),
    ) {
        let session = session();
        for (function, fields, answered) in messages {
            let mut message = vec![function, 0, 0, 0];
            message.extend(fields);
            if let Ok(result) = session.request(&message, answered) {
                prop_assert_eq!(result.is_some(), answered);
            }
        }
    }

    #[test]
    fn random_bytes_are_answered_or_refused(message in vec(any::<u8>(), 0..64)) {
        // No panic is all that is asked.
        let _ = session().request(&message, true);
    }
}
