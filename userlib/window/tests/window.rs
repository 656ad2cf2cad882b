// SPDX-License-Identifier: Apache-2.0 OR MIT

use proptest::prelude::*;
use wormhole_window::{
    Count, FunctionCounts, Header, HeaderError, Layout, LayoutError, Link, Name, NameError, Role,
    COUNTED_FUNCTIONS, COUNTS_OFFSET, COUNTS_SIZE, HEADER_SIZE,
};

const MIB: u64 = 1 << 20;

fn header() -> Header {
    Header {
        layout: Layout::new(64 * MIB, 4 * MIB).unwrap(),
        name: Name::new("gpu0").unwrap(),
        key: 0x1234_5678,
    }
}

#[test]
fn the_usual_window() {
    let layout = header().layout;
    assert_eq!(layout.channels(), 15);
    assert_eq!(layout.channel_offset(0), Some(4 * MIB));
    assert_eq!(layout.channel_offset(14), Some(60 * MIB));
    assert_eq!(layout.channel_offset(15), None);
    assert_eq!(layout.state_offset(0, Role::Server), Some(4 * MIB));
    assert_eq!(layout.state_offset(0, Role::Client), Some(4 * MIB + 4));
    assert_eq!(layout.event_offset(1, Role::Server), Some(8 * MIB + 64));
    assert_eq!(layout.event_offset(1, Role::Client), Some(8 * MIB + 128));
    assert_eq!(layout.link_offset(Role::Server), 128);
    assert_eq!(layout.link_offset(Role::Client), 132);
}

#[test]
fn sizes_that_make_no_window() {
    let refused = |size, channel| Layout::new(size, channel).unwrap_err();
    assert_eq!(refused(0, MIB), LayoutError::Size(0));
    assert_eq!(refused(3 * MIB, MIB), LayoutError::Size(3 * MIB));
    assert_eq!(refused(MIB / 2, MIB / 4), LayoutError::Size(MIB / 2));
    assert_eq!(refused(1 << 37, 1 << 30), LayoutError::Size(1 << 37));
    assert_eq!(refused(MIB, MIB / 8), LayoutError::ChannelSize(MIB / 8));
    assert_eq!(refused(MIB, 0), LayoutError::ChannelSize(0));
    assert_eq!(
        refused(MIB, MIB),
        LayoutError::NoChannel {
            size: MIB,
            channel_size: MIB
        }
    );
    assert!(matches!(
        refused(MIB, 1 << 63),
        LayoutError::NoChannel { .. }
    ));
    assert_eq!(
        refused(128 * MIB, MIB / 4),
        LayoutError::TooManyChannels(511)
    );
    assert_eq!(Layout::new(64 * MIB, MIB / 4).unwrap().channels(), 255);
    assert_eq!(Layout::new(1 << 36, 1 << 35).unwrap().channels(), 1);
}

#[test]
fn names() {
    assert_eq!(Name::new("").unwrap().as_str(), "");
    assert_eq!(Name::new(&"a".repeat(31)).unwrap().as_str().len(), 31);
    assert_eq!(Name::new(&"a".repeat(32)), Err(NameError::TooLong));
    assert_eq!(Name::new("a/b"), Err(NameError::Character));
    assert_eq!(Name::new("a\0b"), Err(NameError::Character));
    assert_eq!(Name::new("ü"), Err(NameError::Character));
    assert_eq!(Name::from_field(&[b'x'; 32]), Err(NameError::TooLong));
    let mut field = [b'x'; 32];
    field[1] = 0;
    assert_eq!(Name::from_field(&field).unwrap().as_str(), "x");
    // What stands after the NUL is dropped.
    assert_eq!(Name::from_field(&field).unwrap(), Name::new("x").unwrap());
}

#[test]
fn header_fields_are_checked_one_by_one() {
    let good = header().format();
    let broken = |offset: usize, value: u8| {
        let mut bytes = good;
        assert_ne!(bytes[offset], value);
        bytes[offset] = value;
        Header::parse(&bytes, 64 * MIB).unwrap_err()
    };
    assert!(matches!(broken(0, b'w'), HeaderError::Magic(_)));
    assert_eq!(broken(8, 2), HeaderError::Version(2));
    assert!(matches!(
        broken(12, 16),
        HeaderError::ChannelsMismatch { .. }
    ));
    assert!(matches!(broken(16, 1), HeaderError::SizeMismatch { .. }));
    assert!(matches!(broken(24, 1), HeaderError::Layout(_)));
    assert!(matches!(broken(32, b'/'), HeaderError::Name(_)));
    assert_eq!(
        Header::parse(&good, 32 * MIB),
        Err(HeaderError::SizeMismatch {
            header: 64 * MIB,
            actual: 32 * MIB
        })
    );
    assert_eq!(
        Header::parse(&good[..HEADER_SIZE - 1], 64 * MIB),
        Err(HeaderError::Short(HEADER_SIZE - 1))
    );
}

#[test]
fn link_words_of_a_header() {
    let mut bytes = header().format();
    assert_eq!(Link::from_header(&bytes, Role::Client), Link(0));
    bytes[132] = 3;
    assert_eq!(Link::from_header(&bytes, Role::Client), Link(3));
    assert_eq!(Link::from_header(&bytes, Role::Server), Link(0));
}

proptest! {
    #[test]
    fn any_two_sizes(size: u64, channel_size: u64) {
        let _ = Layout::new(size, channel_size);
    }

    #[test]
    fn parts_lie_inside_and_apart(size_log in 20u32..=36, channel_log in 18u32..=36) {
        let Ok(layout) = Layout::new(1 << size_log, 1 << channel_log) else {
            prop_assert!(size_log <= channel_log || size_log - channel_log > 8);
            return Ok(());
        };
        let mut end_of_last = layout.channel_size();
        prop_assert!(HEADER_SIZE as u64 <= end_of_last);
        for channel in 0..layout.channels() {
            let base = layout.channel_offset(channel).unwrap();
            prop_assert_eq!(base, end_of_last);
            end_of_last = base + layout.channel_size();
            for role in Role::ALL {
                for word in [layout.state_offset(channel, role), layout.event_offset(channel, role)] {
                    let word = word.unwrap();
                    prop_assert!(word >= base && word + 4 <= base + 512 && word % 4 == 0);
                }
            }
        }
        prop_assert_eq!(end_of_last, layout.size());
        prop_assert_eq!(layout.channel_offset(layout.channels()), None);
    }

    #[test]
    fn formatted_headers_read_back(
        size_log in 20u32..=36,
        ratio_log in 1u32..=8,
        name in "[A-Za-z0-9._-]{0,31}",
        key: u32,
    ) {
        prop_assume!(size_log - ratio_log >= 18);
        let header = Header {
            layout: Layout::new(1 << size_log, 1 << (size_log - ratio_log)).unwrap(),
            name: Name::new(&name).unwrap(),
            key,
        };
        let bytes = header.format();
        prop_assert_eq!(Header::parse(&bytes, 1 << size_log), Ok(header));
        prop_assert_eq!(header.name.as_str(), name);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), size: u64) {
        let _ = Header::parse(&bytes, size);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_harmless(bit in 0usize..HEADER_SIZE * 8) {
        let mut bytes = header().format();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match Header::parse(&bytes, 64 * MIB) {
            // Only the name, the key, the reserved bytes and link[] may differ.
            Ok(read) => prop_assert!(bit / 8 >= 32 && read.layout == header().layout),
            Err(_) => prop_assert!(bit / 8 < 64),
        }
    }

    #[test]
    fn name_fields_read_back(field in prop::array::uniform32(any::<u8>())) {
        if let Ok(name) = Name::from_field(&field) {
            prop_assert_eq!(Name::from_field(name.as_field()), Ok(name));
        }
    }
}

#[test]
fn every_count_has_a_word_of_its_own() {
    let functions = COUNTED_FUNCTIONS as u16;
    let mut seen = vec![false; COUNTS_SIZE / 8];
    for (function, count) in (0..=functions).flat_map(|f| Count::ALL.map(|count| (f, count))) {
        let offset = count.offset(function);
        assert!(offset % 8 == 0 && offset + 8 <= COUNTS_SIZE);
        assert!(
            !std::mem::replace(&mut seen[offset / 8], true),
            "{function} {count:?}"
        );
    }
    for function in [functions + 1, u16::MAX] {
        assert_eq!(Count::Home.offset(function), Count::Home.offset(functions));
    }
    let layout = header().layout;
    assert_eq!(layout.counts_offset(1), Some(8 * MIB + COUNTS_OFFSET));
    assert_eq!(layout.counts_offset(15), None);
    for (cause, count) in (0..).zip(Count::CAUSES) {
        assert_eq!(Count::of_cause(cause), Some(count));
    }
    assert_eq!(Count::of_cause(5), None);
}

#[test]
fn counts_are_read_where_they_lie_and_never_overflow() {
    let mut bytes = [0; COUNTS_SIZE];
    let mut put = |count: Count, function, value: u64| {
        let offset = count.offset(function);
        bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(Count::Posted, 3, 7);
    put(Count::SystemCall, 3, u64::MAX);
    put(Count::Home, u16::MAX, 1);
    let rows: Vec<_> = FunctionCounts::rows(&bytes).collect();
    assert_eq!(rows.len(), COUNTED_FUNCTIONS + 1);
    assert_eq!(
        (rows[3].get(Count::Posted), rows[3].get(Count::Home)),
        (7, 0)
    );
    assert_eq!(rows[COUNTED_FUNCTIONS].get(Count::Home), 1);
    assert_eq!(rows.iter().filter(|row| !row.is_zero()).count(), 2);
    let twice = rows[3].saturating_add(rows[3]);
    assert_eq!(twice.get(Count::Posted), 14);
    assert_eq!(twice.get(Count::SystemCall), u64::MAX);
}
