// SPDX-License-Identifier: Apache-2.0 OR MIT
//! KVM's counters of one VM, from debugfs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where KVM shows its counters: a folder `PID-FD` per VM, a file per counter.
pub const KVM_DEBUGFS: &str = "/sys/kernel/debug/kvm";

/// The counters of process `pid`'s VM, added up if it has several; `None`
/// where they cannot be read (no VM, no debugfs, not root).
pub fn read(root: &Path, pid: i32) -> Option<BTreeMap<String, u64>> {
    let prefix = format!("{pid}-");
    let mut counters = None;
    for vm in fs::read_dir(root).ok()?.flatten() {
        if !vm.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        let counters: &mut BTreeMap<String, u64> = counters.get_or_insert_default();
        for file in fs::read_dir(vm.path()).ok()?.flatten() {
            // Folders (vcpuN) and histograms are not single numbers.
            let value = fs::read_to_string(file.path())
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            if let (Some(value), Ok(name)) = (value, file.file_name().into_string()) {
                let sum = counters.entry(name).or_default();
                *sum = sum.saturating_add(value);
            }
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn counters_of_one_process() {
        let root = tempfile::tempdir().unwrap();
        let vm = root.path().join("12-9");
        fs::create_dir_all(vm.join("vcpu0")).unwrap();
        fs::write(vm.join("exits"), "123\n").unwrap();
        fs::write(vm.join("halt_poll_hist"), "1 2 3\n").unwrap();
        fs::create_dir(root.path().join("123-9")).unwrap();
        fs::write(root.path().join("123-9/exits"), "7").unwrap();
        let read = |pid| super::read(root.path(), pid);
        assert_eq!(
            read(12).unwrap().into_iter().collect::<Vec<_>>(),
            [("exits".into(), 123)]
        );
        assert_eq!(read(123).unwrap()["exits"], 7);
        assert_eq!(read(1), None);
        assert_eq!(super::read(&root.path().join("none"), 12), None);
    }
}
