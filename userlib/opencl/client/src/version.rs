// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Versions of OpenCL: the server's, as far as what they demand is forwarded.

use wormhole_opencl_protocol::constants::CL_NAME_VERSION_MAX_NAME_SIZE;

/// Major and minor.
type Version = (u32, u32);

/// Newest version that is forwarded.
const NEWEST: Version = (3, 0);
/// Newest of those before it. Those between demand shared virtual memory, pipes and queues on the
/// device, which are not forwarded, and which 3.0 made optional.
const BEFORE: Version = (1, 2);

/// The version that is reported for one of the server's.
fn limited(version: Version) -> Version {
    match version >= NEWEST {
        true => NEWEST,
        false => version.min(BEFORE),
    }
}

/// The version in `OpenCL 3.0 …`, and what follows it.
fn parse<'a>(prefix: &str, text: &'a [u8]) -> Option<(Version, &'a str)> {
    let rest = std::str::from_utf8(text).ok()?.strip_prefix(prefix)?;
    let end = rest.find([' ', '\0']).unwrap_or(rest.len());
    let (major, minor) = rest[..end].split_once('.')?;
    Some(((major.parse().ok()?, minor.parse().ok()?), &rest[end..]))
}

/// In `OpenCL 3.1 …` puts the version that is reported for it.
pub(crate) fn limit(prefix: &str, value: Vec<u8>) -> Vec<u8> {
    match parse(prefix, &value) {
        Some((version, rest)) => {
            let (major, minor) = limited(version);
            format!("{prefix}{major}.{minor}{rest}").into_bytes()
        }
        None => value,
    }
}

/// Whether `OpenCL 3.0 …` is the newest version.
pub(crate) fn is_newest(value: &[u8]) -> bool {
    parse("OpenCL ", value).is_some_and(|(version, _)| version == NEWEST)
}

/// Places of major and minor in a `cl_version`; below them is the patch.
const MAJOR: u32 = 22;
const MINOR: u32 = 12;

/// As a `cl_version`.
pub(crate) const fn number((major, minor): Version) -> u32 {
    (major << MAJOR) | (minor << MINOR)
}

fn of_number(number: u32) -> Version {
    (
        number >> MAJOR,
        (number >> MINOR) & ((1 << (MAJOR - MINOR)) - 1),
    )
}

/// Whether a `cl_version` is reported as it is.
pub(crate) fn is_reported(number: u32) -> bool {
    limited(of_number(number)) == of_number(number)
}

/// For a `cl_version` puts the one that is reported for it.
pub(crate) fn limit_number(value: Vec<u8>) -> Vec<u8> {
    match value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) {
        Some(version) if !is_reported(version) => {
            number(limited(of_number(version))).to_ne_bytes().to_vec()
        }
        _ => value,
    }
}

/// Bytes of a `cl_name_version`: the version, and the name with zeros behind it.
const NAMED: usize = size_of::<u32>() + CL_NAME_VERSION_MAX_NAME_SIZE;

/// A `cl_name_version`.
pub(crate) fn named(name: &str, version: Version) -> Vec<u8> {
    let mut bytes = number(version).to_ne_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes.resize(NAMED, 0);
    bytes
}

/// Of several `cl_name_version`, those that are to be kept by name and version.
pub(crate) fn keep(value: &[u8], keep: impl Fn(&str, u32) -> bool) -> Vec<u8> {
    let is_kept = |named: &&[u8]| {
        let Some((version, name)) = named.split_first_chunk() else {
            return false;
        };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).is_ok_and(|name| keep(name, u32::from_ne_bytes(*version)))
    };
    let kept = value.chunks_exact(NAMED).filter(is_kept);
    kept.flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_forwarded_is_reported() {
        let limit =
            |text: &str| String::from_utf8(limit("OpenCL ", text.as_bytes().to_vec())).unwrap();
        assert_eq!(limit("OpenCL 3.0 PoCL 6.0\0"), "OpenCL 3.0 PoCL 6.0\0");
        assert_eq!(limit("OpenCL 3.1 x\0"), "OpenCL 3.0 x\0");
        assert_eq!(limit("OpenCL 1.1 x\0"), "OpenCL 1.1 x\0");
        assert_eq!(limit("OpenCL 2.0\0"), "OpenCL 1.2\0");
        assert_eq!(limit("OpenCL 2.2 x\0"), "OpenCL 1.2 x\0");
        assert_eq!(limit("garbage\0"), "garbage\0");
        assert_eq!(limit(""), "");
        assert!(is_newest(b"OpenCL 3.0 x\0"));
        assert!(!is_newest(b"OpenCL 1.2 x\0") && !is_newest(b""));
    }

    #[test]
    fn numbers_are_limited_as_texts() {
        let limit = |number: u32| limit_number(number.to_ne_bytes().to_vec());
        assert_eq!(number((3, 0)), 0xc0_0000);
        for (theirs, ours) in [
            (0xc0_0000, 0xc0_0000),
            (0xc0_0007, 0xc0_0007),
            (0xc0_1000, 0xc0_0000),
            (0x80_2000, 0x40_2000),
            (0x40_1000, 0x40_1000),
        ] {
            assert_eq!(limit(theirs), u32::to_ne_bytes(ours), "{theirs:#x}");
        }
        assert_eq!(limit_number(vec![1]), [1]);
    }

    #[test]
    fn names_are_kept_with_their_versions() {
        let c = |version| named("OpenCL C", version);
        let all = [c((1, 2)), c((2, 0)), c((3, 0)), c((3, 1))].concat();
        let kept = keep(&all, |name, version| {
            name == "OpenCL C" && is_reported(version)
        });
        assert_eq!(kept, [c((1, 2)), c((3, 0))].concat());
        assert_eq!(kept.len(), 2 * 68);
        assert_eq!(keep(&all[..70], |_, _| true).len(), 68);
        assert_eq!(keep(&[0xff; 68], |_, _| true), []);
    }
}
