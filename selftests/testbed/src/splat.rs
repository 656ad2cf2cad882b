// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recognises kernel trouble in a console or kernel log.

/// What the kernel prints when something is wrong with it, as it stands after the time stamp.
const PHRASES: &[&str] = &[
    "Kernel panic",
    "Oops",
    "BUG:",
    "WARNING:",
    "KASAN",
    "KFENCE",
    "UBSAN",
    "kernel BUG at",
    "general protection fault",
    "unable to handle",
    "blocked for more than",
    "self-detected stall",
    "detected stalls",
    "invoked oom-killer",
    "unchecked MSR access",
    "rust_kernel: panicked",
    "------------[ cut here ]------------",
];

/// Returns whether `line` is a kernel's report of a fault of its own. Only lines with the kernel's time stamp
/// (`[   12.345678] `) count: a program may print any of these words.
pub fn is_splat(line: &str) -> bool {
    match message(line) {
        Some(text) => PHRASES.iter().any(|phrase| text.contains(phrase)),
        None => false,
    }
}

/// Returns what follows the first kernel time stamp in `line`.
fn message(line: &str) -> Option<&str> {
    let mut rest = line;
    while let Some(open) = rest.find('[') {
        let after = &rest[open + 1..];
        let close = after.find(']')?;
        let stamp = after[..close].trim_start();
        let is_stamp = match stamp.split_once('.') {
            Some((seconds, micros)) => {
                !seconds.is_empty()
                    && micros.len() == 6
                    && seconds
                        .bytes()
                        .chain(micros.bytes())
                        .all(|b| b.is_ascii_digit())
            }
            None => false,
        };
        if is_stamp {
            return Some(&after[close + 1..]);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::is_splat;

    #[test]
    fn kernel_reports_are_found() {
        assert!(is_splat(
            "[   12.345678] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 foo+0x1/0x2"
        ));
        assert!(is_splat(
            "vm client: [    0.000001] Kernel panic - not syncing: attempted to kill init"
        ));
        assert!(is_splat(
            "<4>[  100.000000] BUG: unable to handle page fault for address: 0000000000000010"
        ));
        assert!(is_splat("[x] [    1.000000] Oops: 0002 [#1] SMP"));
    }

    #[test]
    fn programs_may_say_anything() {
        assert!(!is_splat("warning: unused variable"));
        assert!(!is_splat("WARNING: this is a program"));
        assert!(!is_splat("[1.5] Oops"));
        assert!(!is_splat("[    1.000000] wormhole: loaded"));
        assert!(!is_splat("ok 1 - WARNING: [brackets]"));
    }
}
