// SPDX-License-Identifier: GPL-2.0

//! KVM, as another module sees it: its symbols, and references to its VMs.
//!
//! The symbols are looked up at load rather than linked: four are exported to kvm-intel and kvm-amd
//! alone, and without KVM the module is to say so rather than fail with "Unknown symbol". Looking
//! them up pins `kvm.ko`, not `kvm_intel.ko`; the latter is pinned by each VM that exists.

use crate::{bindings as kvm_bindings, vcpu::Vcpu};
use core::ptr::NonNull;
use kernel::{
    bindings,
    fs::File,
    mm::{Mm, MmWithUser},
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Acquire, Atomic},
        Arc,
    },
};

/// A GPL-only exported symbol, with a reference to the module that has it.
///
/// # Invariants
///
/// `address` is that of the symbol `name`, and one reference taken by `__symbol_get` is owned.
struct Symbol {
    name: &'static CStr,
    address: NonNull<c_void>,
}

impl Symbol {
    /// ENODEV if no live module exports `name`.
    fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: `name` is NUL-terminated.
        let address = unsafe { bindings::__symbol_get(name.as_char_ptr()) };
        // INVARIANT: `__symbol_get` took a reference, as it did not return null.
        NonNull::new(address)
            .map(|address| Self { name, address })
            .ok_or(ENODEV)
    }
}

impl Drop for Symbol {
    fn drop(&mut self) {
        // SAFETY: By the invariants there is a reference to give back.
        unsafe { bindings::__symbol_put(self.name.as_char_ptr()) };
    }
}

/// A reference to a module, which stays loaded meanwhile.
///
/// # Invariants
///
/// A reference to the module is owned.
pub(crate) struct ModuleReference(*mut bindings::module);

// SAFETY: Modules are reference-counted, from any thread.
unsafe impl Send for ModuleReference {}
// SAFETY: As above.
unsafe impl Sync for ModuleReference {}

impl Drop for ModuleReference {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::module_put(self.0) };
    }
}

/// What is used of KVM.
pub(crate) struct Kvm {
    file_is_kvm: Symbol,
    get_kvm_safe: Symbol,
    put_kvm: Symbol,
    enable_apicv: Symbol,
    nr_uret_msrs: Symbol,
    gfn_to_hva: Symbol,
}

// SAFETY: The symbols are functions that may be called from any thread in process context, and
// plain variables, only ever read here, with volatile accesses.
unsafe impl Send for Kvm {}
// SAFETY: As above.
unsafe impl Sync for Kvm {}

impl Kvm {
    /// ENODEV if `kvm.ko` is not loaded, or not one that this module knows.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            file_is_kvm: Symbol::new(c"file_is_kvm")?,
            get_kvm_safe: Symbol::new(c"kvm_get_kvm_safe")?,
            put_kvm: Symbol::new(c"kvm_put_kvm")?,
            enable_apicv: Symbol::new(c"enable_apicv")?,
            nr_uret_msrs: Symbol::new(c"kvm_nr_uret_msrs")?,
            gfn_to_hva: Symbol::new(c"gfn_to_hva")?,
        })
    }

    /// Whether kvm_intel or kvm_amd is loaded: either fills KVM's table of user-return MSRs when
    /// it loads, and empties it when it goes.
    pub(crate) fn vendor_module_loaded(&self) -> bool {
        // SAFETY: The symbol is `u32 kvm_nr_uret_msrs`, in a module that is pinned.
        unsafe { self.nr_uret_msrs.address.cast::<u32>().read_volatile() != 0 }
    }

    /// KVM uses APIC virtualisation (and so posted interrupts). Holds while a vendor module is
    /// loaded.
    pub(crate) fn apicv(&self) -> bool {
        // SAFETY: The symbol is `bool enable_apicv`, in a module that is pinned.
        unsafe { self.enable_apicv.address.cast::<u8>().read_volatile() != 0 }
    }

    /// Where the process of a vCPU's VM has the memory at a guest-physical address: EFAULT if it has
    /// none that the guest may write. For a vCPU whose exit is being handled: KVM then keeps the
    /// memory slots.
    pub(crate) fn user_address(&self, vcpu: &Vcpu<'_>, gpa: u64) -> Result<usize> {
        const USER_END: usize = 1 << 47;
        // SAFETY: The symbol is `unsigned long gfn_to_hva(struct kvm *, gfn_t)`.
        let gfn_to_hva = unsafe {
            core::mem::transmute::<
                NonNull<c_void>,
                unsafe extern "C" fn(*mut kvm_bindings::kvm, u64) -> usize,
            >(self.gfn_to_hva.address)
        };
        // SAFETY: The VM is valid, and `kvm->srcu` is held during KVM's exit handler, in whose place
        // we are.
        let address = unsafe { gfn_to_hva(vcpu.vm(), gpa >> PAGE_SHIFT) };
        // Its errors are kernel addresses.
        if address >= USER_END {
            return Err(EFAULT);
        }
        Ok(address)
    }

    fn file_is_kvm(&self, file: &File) -> bool {
        // SAFETY: The symbol is `bool file_is_kvm(struct file *)`.
        let file_is_kvm = unsafe {
            core::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn(*mut bindings::file) -> bool>(
                self.file_is_kvm.address,
            )
        };
        // SAFETY: `file` is a valid file.
        unsafe { file_is_kvm(file.as_ptr()) }
    }

    /// # Safety
    ///
    /// `kvm` must be valid.
    unsafe fn get_kvm_safe(&self, kvm: NonNull<kvm_bindings::kvm>) -> bool {
        // SAFETY: The symbol is `bool kvm_get_kvm_safe(struct kvm *)`.
        let get_kvm_safe = unsafe {
            core::mem::transmute::<
                NonNull<c_void>,
                unsafe extern "C" fn(*mut kvm_bindings::kvm) -> bool,
            >(self.get_kvm_safe.address)
        };
        // SAFETY: The caller's promise.
        unsafe { get_kvm_safe(kvm.as_ptr()) }
    }

    /// # Safety
    ///
    /// The caller must own a reference to `kvm`, and gives it up.
    unsafe fn put_kvm(&self, kvm: NonNull<kvm_bindings::kvm>) {
        // SAFETY: The symbol is `void kvm_put_kvm(struct kvm *)`.
        let put_kvm = unsafe {
            core::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn(*mut kvm_bindings::kvm)>(
                self.put_kvm.address,
            )
        };
        // SAFETY: The caller's promise.
        unsafe { put_kvm(kvm.as_ptr()) }
    }
}

/// Tells VMs apart. Says nothing about a VM that may have gone: addresses are used again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct VmId(usize);

/// Counters that KVM keeps per vCPU, summed over the vCPUs of a VM.
#[derive(Clone, Copy, Default)]
pub(crate) struct Exits {
    /// VM exits (`kvm_vcpu_stat.exits`).
    pub(crate) all: u64,
    /// Those caused by an interrupt of the host (`kvm_vcpu_stat.irq_exits`).
    pub(crate) interrupts: u64,
}

/// A reference to a VM.
///
/// Dropping the last one destroys the VM: process context, no locks held, and not from within an
/// MMU notifier.
///
/// # Invariants
///
/// `vm` is valid, and a reference to it is owned.
pub(crate) struct Vm {
    kvm: Arc<Kvm>,
    vm: NonNull<kvm_bindings::kvm>,
    /// Of its file's operations: kvm_intel, or kvm_amd.
    vendor_module: *mut bindings::module,
}

// SAFETY: `struct kvm` is reference-counted and may be used from any thread; the module's address is
// only handed on.
unsafe impl Send for Vm {}
// SAFETY: All methods may be called in parallel.
unsafe impl Sync for Vm {}

impl Vm {
    /// The VM whose file (as `KVM_CREATE_VM` returned it) this is.
    ///
    /// EMEDIUMTYPE if it is the file of something else; ESRCH if the VM is being destroyed.
    pub(crate) fn from_file(kvm: Arc<Kvm>, file: &File) -> Result<Self> {
        if !kvm.file_is_kvm(file) {
            return Err(EMEDIUMTYPE);
        }
        // SAFETY: The file is valid; its private data does not change once it is open.
        let private = unsafe { (*file.as_ptr()).private_data };
        let vm = NonNull::new(private.cast::<kvm_bindings::kvm>()).ok_or(ESRCH)?;
        // SAFETY: The private data of a KVM VM's file is its `struct kvm`, to which the file, alive
        // during this call, has a reference.
        if !unsafe { kvm.get_kvm_safe(vm) } {
            return Err(ESRCH);
        }
        // SAFETY: A file has operations for as long as it is open.
        let vendor_module = unsafe { (*(*file.as_ptr()).f_op).owner };
        // INVARIANT: The reference was just taken.
        Ok(Self {
            kvm,
            vm,
            vendor_module,
        })
    }

    /// A reference to the module that runs it. ESRCH if that is being unloaded.
    pub(crate) fn vendor_module(&self) -> Result<ModuleReference> {
        // SAFETY: A VM has a reference to the module, so that it exists.
        if !unsafe { bindings::try_module_get(self.vendor_module) } {
            return Err(ESRCH);
        }
        // INVARIANT: Just taken.
        Ok(ModuleReference(self.vendor_module))
    }

    pub(crate) fn id(&self) -> VmId {
        VmId(self.vm.as_ptr() as usize)
    }

    /// The address of its `struct kvm`.
    pub(crate) fn address(&self) -> usize {
        self.vm.as_ptr() as usize
    }

    /// The thread that created the VM, in the initial PID namespace.
    pub(crate) fn pid(&self) -> i32 {
        // SAFETY: By the invariants. Set before the VM's file exists, and never again.
        unsafe { (*self.vm.as_ptr()).userspace_pid }
    }

    /// The address space that the VM's memory is part of. ESRCH if it has gone.
    pub(crate) fn mm(&self) -> Result<ARef<MmWithUser>> {
        // SAFETY: By the invariants. `mm` never changes.
        let mm = unsafe { (*self.vm.as_ptr()).mm };
        // SAFETY: `struct kvm` has a reference (`mmgrab`) to its mm.
        let mm = unsafe { Mm::from_raw(mm.cast::<bindings::mm_struct>()) };
        mm.mmget_not_zero().ok_or(ESRCH)
    }

    /// The VM's exits so far.
    pub(crate) fn exits(&self) -> Exits {
        let vm = self.vm.as_ptr();
        // SAFETY: By the invariants; KVM accesses this `atomic_t` atomically too. The acquire
        // pairs with the barrier in KVM_CREATE_VCPU, which counts a vCPU after it has stored it.
        let online = unsafe { Atomic::from_ptr(&raw mut (*vm).online_vcpus.counter) }.load(Acquire);
        let online = usize::try_from(online).unwrap_or(0);

        let mut sum = Exits::default();
        for index in 0..online {
            // SAFETY: The array is part of the valid `struct kvm`.
            let vcpu = unsafe {
                bindings::xa_load(
                    (&raw mut (*vm).vcpu_array).cast::<bindings::xarray>(),
                    index,
                )
            };
            let vcpu = vcpu.cast::<kvm_bindings::kvm_vcpu>();
            if vcpu.is_null() {
                continue;
            }
            // SAFETY: An online vCPU is freed when its VM is destroyed, so not while `self` has
            // its reference. Its thread may be counting: a value that is one behind is fine.
            let (all, interrupts) = unsafe {
                (
                    (&raw const (*vcpu).stat.exits).read_volatile(),
                    (&raw const (*vcpu).stat.irq_exits).read_volatile(),
                )
            };
            sum.all = sum.all.wrapping_add(all);
            sum.interrupts = sum.interrupts.wrapping_add(interrupts);
        }
        sum
    }
}

impl Clone for Vm {
    fn clone(&self) -> Self {
        // SAFETY: By the invariants the VM is valid, and has a reference, so this succeeds.
        let _ = unsafe { self.kvm.get_kvm_safe(self.vm) };
        // INVARIANT: The reference was just taken.
        Self {
            kvm: self.kvm.clone(),
            vm: self.vm,
            vendor_module: self.vendor_module,
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: By the invariants a reference is owned.
        unsafe { self.kvm.put_kvm(self.vm) };
    }
}
