// SPDX-License-Identifier: GPL-2.0

//! The gate of exitless calls: the page of code that a client's vCPU executes on its way into a
//! server view and back, once as the gate view (E) has it and once as the server view (V) has it.
//!
//! Pure logic, without the kernel crate: `rustc --test` on this file runs its tests. The listings,
//! and why every byte is what it is: Documentation/gate.rst. `selftests/gate` disassembles both.
//!
//! In E, a client that jumps to any byte of the page must not get more than at [`E_START`]. So the
//! offsets of the data pages, and some ways to say zero, are chosen for the bytes they encode to.

/// Bytes of each page here.
pub(crate) const PAGE_SIZE: usize = 4096;

/// Guest-linear address of the region that the views map with one 1 GiB leaf
/// (`WORMHOLE_GATE_REGION`).
pub(crate) const REGION: u64 = 0x6f5a_4000_0000;
/// The page of code: its offset in the region.
pub(crate) const PAGE: u64 = 0x1234_5000;
/// The EPTP list, in E only, readable and writable. The offset is part of the code in E.
pub(crate) const LIST: u64 = 0x190b_3000;
/// The page with [`SLOT_RSP`] and its like, in E only, readable and writable. The offset is part of
/// the code in E.
pub(crate) const SLOT: u64 = 0x183c_2000;
/// The carrier page, in V only, read-only.
pub(crate) const CARRIER: u64 = 0x1234_b000;

/// E: where a call starts.
pub(crate) const E_START: u64 = 0x1da;
/// V: where a call arrives, after the VMFUNC in E.
pub(crate) const LANDING: u64 = 0x223;
/// V: the instruction after the call of the server's function.
pub(crate) const CALL_RETURN: u64 = 0x28f;
/// V: its only VMFUNC.
pub(crate) const V_VMFUNC: u64 = 0x2fd;
/// E: where a call arrives on its way back, after [`V_VMFUNC`].
pub(crate) const E_RETURN: u64 = 0x300;
/// E: from here on [`SLOT_CALLS`] has counted the call.
pub(crate) const E_COUNTED: u64 = 0x336;
/// Client: the code that ends with a VMFUNC just before [`E_START`] (`WORMHOLE_GATE_ENTER`).
pub(crate) const ENTER: u64 = 0x1d0;
/// Client: where a call returns to (`WORMHOLE_GATE_HOME`).
pub(crate) const HOME: u64 = 0x33d;
/// Client: where the host puts it after a call that it stopped (`WORMHOLE_GATE_PAD`).
pub(crate) const PAD: u64 = 0x380;

/// E's VMFUNC into V.
pub(crate) const E_VMFUNC_SERVER: u64 = LANDING - VMFUNC.len() as u64;
/// E's VMFUNC home.
pub(crate) const E_VMFUNC_HOME: u64 = HOME - VMFUNC.len() as u64;

// The slot page, by offset. If it were taken for a page-table page, these would be entries of the
// upper half, and bit 0 their present bit: it is 0 in all of them.
/// The client's RSP during a call, without bit 0.
pub(crate) const SLOT_RSP: u64 = 0x830;
/// The client's FS base during a call, see [`base_to_slot`].
pub(crate) const SLOT_FS_BASE: u64 = 0x840;
/// The client's GS base during a call, see [`base_to_slot`].
pub(crate) const SLOT_GS_BASE: u64 = 0x850;
/// [`CALL`] for each call that came home.
pub(crate) const SLOT_CALLS: u64 = 0x860;

/// What a call adds to [`SLOT_CALLS`]. As the last byte of an instruction it is a REX prefix if it
/// is taken for the first of one.
pub(crate) const CALL: u8 = 0x40;

/// The view in the EPTP list that is the client's own.
pub(crate) const VIEW_CLIENT: u32 = 0;
/// The view in the EPTP list that is E.
pub(crate) const VIEW_GATE: u32 = 1;
/// The view in the EPTP list that is V.
pub(crate) const VIEW_SERVER: u32 = 2;
/// The bit of an EPTP that is set while its view is closed. It is reserved (vol. 3, 25.6.11), so
/// VMFUNC exits instead of going there (vol. 3, 26.5.6.3).
pub(crate) const INVALID_BIT: u32 = 11;

/// Carrier page: RSP before the call of the server's function.
pub(crate) const CARRIER_STACK: u64 = 0;
/// Carrier page: FS base during the call.
pub(crate) const CARRIER_FS_BASE: u64 = 8;
/// Carrier page: address of the server's function.
pub(crate) const CARRIER_ENTRY: u64 = 16;
/// Carrier page: what XRSTOR reads, legacy area and header (vol. 1, 13.4).
pub(crate) const CARRIER_XSAVE: u64 = 0x40;

/// The state components that XRSTOR initializes: all but PKRU (vol. 1, 13.1).
pub(crate) const XRSTOR_MASK: u64 = !(1 << 9);

const VMFUNC: [u8; 3] = [0x0f, 0x01, 0xd4];
const INT3: u8 = 0xcc;
/// MXCSR as after reset (vol. 1, 11.6.4).
const MXCSR_INIT: u32 = 0x1f80;
/// RFLAGS with nothing set but bit 1, which is always 1.
const RFLAGS_CLEAR: u32 = 2;
/// Selector of the bits of RFLAGS that are the I/O privilege level.
const RFLAGS_IOPL: u32 = 3 << 12;

/// A word in memory that code refers to: its offset in the region.
#[derive(Clone, Copy)]
struct Word(u64);

const LIST_SERVER: Word = Word(LIST + VIEW_SERVER as u64 * 8);
const SAVED_RSP: Word = Word(SLOT + SLOT_RSP);
const SAVED_FS_BASE: Word = Word(SLOT + SLOT_FS_BASE);
const SAVED_GS_BASE: Word = Word(SLOT + SLOT_GS_BASE);
const CALLS: Word = Word(SLOT + SLOT_CALLS);

/// A 64-bit general-purpose register, by its number in an encoding.
#[derive(Clone, Copy)]
struct Gpr(u8);

const RAX: Gpr = Gpr(0);
const RCX: Gpr = Gpr(1);
const RDX: Gpr = Gpr(2);
const RBX: Gpr = Gpr(3);
const RSP: Gpr = Gpr(4);
const RBP: Gpr = Gpr(5);
const RSI: Gpr = Gpr(6);
const RDI: Gpr = Gpr(7);
const R8: Gpr = Gpr(8);
const R9: Gpr = Gpr(9);
const R10: Gpr = Gpr(10);
const R11: Gpr = Gpr(11);
const R12: Gpr = Gpr(12);
const R13: Gpr = Gpr(13);
const R14: Gpr = Gpr(14);
const R15: Gpr = Gpr(15);

impl Gpr {
    const fn low(self) -> u8 {
        self.0 & 7
    }

    const fn high(self) -> u8 {
        self.0 >> 3
    }
}

/// The code page while it is written: one method an instruction, INT3 where there is none.
struct Code {
    bytes: [u8; PAGE_SIZE],
    position: usize,
}

impl Code {
    const fn new() -> Self {
        Self {
            bytes: [INT3; PAGE_SIZE],
            position: 0,
        }
    }

    /// The next instruction is at `offset`, after INT3s.
    const fn skip_to(&mut self, offset: u64) {
        assert!(self.position <= offset as usize);
        self.position = offset as usize;
    }

    /// The next instruction is at `offset` already.
    const fn expect(&self, offset: u64) {
        assert!(self.position == offset as usize);
    }

    const fn emit(&mut self, bytes: &[u8]) {
        let mut i = 0;
        while i < bytes.len() {
            self.bytes[self.position] = bytes[i];
            self.position += 1;
            i += 1;
        }
    }

    const fn emit_u32(&mut self, value: u32) {
        self.emit(&value.to_le_bytes());
    }

    /// The displacement of a RIP-relative operand, with `immediate` more bytes after it.
    const fn emit_relative(&mut self, word: Word, immediate: u64) {
        let next = PAGE + self.position as u64 + 4 + immediate;
        let distance = word.0 as i64 - next as i64;
        assert!(distance == distance as i32 as i64);
        self.emit_u32(distance as u32);
    }

    /// A jump's 8-bit displacement.
    const fn emit_jump(&mut self, target: u64) {
        let distance = target as i64 - (self.position as i64 + 1);
        assert!(distance == distance as i8 as i64);
        self.emit(&[distance as u8]);
    }

    /// `mov [word], register`
    const fn store(&mut self, word: Word, register: Gpr) {
        self.emit(&[
            0x48 | (register.high() << 2),
            0x89,
            0x05 | (register.low() << 3),
        ]);
        self.emit_relative(word, 0);
    }

    /// `mov register, [word]`
    const fn load(&mut self, register: Gpr, word: Word) {
        self.emit(&[
            0x48 | (register.high() << 2),
            0x8b,
            0x05 | (register.low() << 3),
        ]);
        self.emit_relative(word, 0);
    }

    /// `btr qword [word], bit`. The CPU takes `bit` modulo 64.
    const fn clear_bit(&mut self, word: Word, bit: u8) {
        self.emit(&[0x48, 0x0f, 0xba, 0x35]);
        self.emit_relative(word, 1);
        self.emit(&[bit]);
    }

    /// `bts qword [word], bit`. The CPU takes `bit` modulo 64.
    const fn set_bit(&mut self, word: Word, bit: u8) {
        self.emit(&[0x48, 0x0f, 0xba, 0x2d]);
        self.emit_relative(word, 1);
        self.emit(&[bit]);
    }

    /// `shl qword [word], 1`
    const fn double(&mut self, word: Word) {
        self.emit(&[0x48, 0xd1, 0x25]);
        self.emit_relative(word, 0);
    }

    /// `sar register, 1`: the opposite of [`Self::double`].
    const fn halve(&mut self, register: Gpr) {
        self.emit(&[0x48 | register.high(), 0xd1, 0xf8 | register.low()]);
    }

    /// `add qword [word], value`
    const fn add(&mut self, word: Word, value: u8) {
        assert!(value < 0x80);
        self.emit(&[0x48, 0x83, 0x05]);
        self.emit_relative(word, 1);
        self.emit(&[value]);
    }

    /// `mov to, from`
    const fn copy(&mut self, to: Gpr, from: Gpr) {
        let rex = 0x48 | (from.high() << 2) | to.high();
        self.emit(&[rex, 0x89, 0xc0 | (from.low() << 3) | to.low()]);
    }

    /// `mov register, value` of the register's lower 32 bits; the upper become 0.
    const fn set(&mut self, register: Gpr, value: u32) {
        assert!(register.high() == 0);
        self.emit(&[0xb8 | register.low()]);
        self.emit_u32(value);
    }

    /// `xor register, register`, of 32 bits where the encoding is shorter so.
    const fn zero(&mut self, register: Gpr) {
        if register.high() != 0 {
            self.emit(&[0x45]);
        }
        self.emit(&[0x31, 0xc0 | (register.low() << 3) | register.low()]);
    }

    /// `lea ecx, [rax + value]`
    const fn set_ecx_from_rax(&mut self, value: u32) {
        assert!(value < 0x80);
        self.emit(&[0x8d, 0x48, value as u8]);
    }

    /// `clc`: a byte that makes a register operand of what stands before it.
    const fn clc(&mut self) {
        self.emit(&[0xf8]);
    }

    const fn vmfunc(&mut self) {
        self.emit(&VMFUNC);
    }

    const fn ud2(&mut self) {
        self.emit(&[0x0f, 0x0b]);
    }

    /// `mov ecx, cs`
    const fn read_cs_to_ecx(&mut self) {
        self.emit(&[0x8c, 0xc9]);
    }

    const fn not_ecx(&mut self) {
        self.emit(&[0xf7, 0xd1]);
    }

    /// `test cl, mask`
    const fn test_cl(&mut self, mask: u8) {
        self.emit(&[0xf6, 0xc1, mask]);
    }

    /// `test dword [rsp], mask`
    const fn test_top(&mut self, mask: u32) {
        self.emit(&[0xf7, 0x04, 0x24]);
        self.emit_u32(mask);
    }

    /// `mov qword [rsp], value`
    const fn set_top(&mut self, value: u32) {
        assert!(value >> 31 == 0);
        self.emit(&[0x48, 0xc7, 0x04, 0x24]);
        self.emit_u32(value);
    }

    const fn jnz(&mut self, target: u64) {
        self.emit(&[0x75]);
        self.emit_jump(target);
    }

    const fn jmp(&mut self, target: u64) {
        self.emit(&[0xeb]);
        self.emit_jump(target);
    }

    const fn pushfq(&mut self) {
        self.emit(&[0x9c]);
    }

    const fn popfq(&mut self) {
        self.emit(&[0x9d]);
    }

    const fn rdfsbase(&mut self, register: Gpr) {
        self.base(0xc0, register);
    }

    const fn rdgsbase(&mut self, register: Gpr) {
        self.base(0xc8, register);
    }

    const fn wrfsbase(&mut self, register: Gpr) {
        self.base(0xd0, register);
    }

    const fn wrgsbase(&mut self, register: Gpr) {
        self.base(0xd8, register);
    }

    const fn base(&mut self, what: u8, register: Gpr) {
        let rex = 0x48 | register.high();
        self.emit(&[0xf3, rex, 0x0f, 0xae, what | register.low()]);
    }

    /// `call [word]`
    const fn call(&mut self, word: Word) {
        self.emit(&[0xff, 0x15]);
        self.emit_relative(word, 0);
    }

    /// Initializes all of [`XRSTOR_MASK`], through EAX and EDX: `xrstor64 [word]`
    const fn initialize_extended_state(&mut self, word: Word) {
        self.set(RAX, XRSTOR_MASK as u32);
        self.set(RDX, (XRSTOR_MASK >> 32) as u32);
        self.emit(&[0x48, 0x0f, 0xae, 0x2d]);
        self.emit_relative(word, 0);
    }
}

/// The code page in E.
pub(crate) const fn gate_image() -> [u8; PAGE_SIZE] {
    let mut code = Code::new();

    code.skip_to(E_START);
    code.store(SAVED_RSP, RSP);
    code.clear_bit(SAVED_RSP, 64);
    // The registers are chosen for what the last byte of these two is with those after it: no
    // instruction. The byte before it is SCASB.
    code.rdfsbase(R14);
    code.store(SAVED_FS_BASE, R14);
    code.double(SAVED_FS_BASE);
    code.rdgsbase(R12);
    code.store(SAVED_GS_BASE, R12);
    code.double(SAVED_GS_BASE);
    code.clear_bit(LIST_SERVER, 64 + INVALID_BIT as u8);
    code.zero(RAX);
    code.clc();
    code.set_ecx_from_rax(VIEW_SERVER);
    code.clc();
    code.expect(E_VMFUNC_SERVER);
    code.vmfunc();
    code.expect(LANDING);

    // EAX is 0: the VMFUNC that led here had function 0.
    code.skip_to(E_RETURN);
    code.set_bit(LIST_SERVER, 64 + INVALID_BIT as u8);
    code.load(RSP, SAVED_RSP);
    // The registers again.
    code.load(R14, SAVED_FS_BASE);
    code.halve(R14);
    code.wrfsbase(R14);
    code.load(R9, SAVED_GS_BASE);
    code.halve(R9);
    code.wrgsbase(R9);
    code.add(CALLS, CALL);
    code.expect(E_COUNTED);
    code.set_ecx_from_rax(VIEW_CLIENT);
    code.clc();
    code.expect(E_VMFUNC_HOME);
    code.vmfunc();
    code.expect(HOME);

    code.bytes
}

/// The code page in V.
pub(crate) const fn server_image() -> [u8; PAGE_SIZE] {
    const TRAP: u64 = CALL_RETURN + 2;
    const SCRUB: u64 = 0x2c1;
    const XSAVE: Word = Word(CARRIER + CARRIER_XSAVE);

    let mut code = Code::new();

    // Nothing of the server's is touched before it is sure that this is CPL 3.
    code.skip_to(LANDING);
    code.read_cs_to_ecx();
    code.not_ecx();
    code.test_cl(3);
    code.jnz(TRAP);

    code.load(RSP, Word(CARRIER + CARRIER_STACK));
    code.pushfq();
    code.test_top(RFLAGS_IOPL);
    code.jnz(TRAP);
    code.set_top(RFLAGS_CLEAR);
    code.popfq();
    code.load(RAX, Word(CARRIER + CARRIER_FS_BASE));
    code.wrfsbase(RAX);
    code.zero(RAX);
    code.wrgsbase(RAX);
    // RDX is the third argument.
    code.copy(R11, RDX);
    code.initialize_extended_state(XSAVE);
    code.copy(RDX, R11);
    code.copy(RCX, R10);
    // What is no argument is none of the server's business.
    code.zero(RAX);
    code.zero(RBX);
    code.zero(RBP);
    code.zero(R11);
    code.zero(R12);
    code.zero(R13);
    code.zero(R14);
    code.zero(R15);
    code.call(Word(CARRIER + CARRIER_ENTRY));
    code.expect(CALL_RETURN);
    code.jmp(SCRUB);
    code.expect(TRAP);
    code.ud2();

    code.skip_to(SCRUB);
    code.copy(RDI, RAX);
    code.zero(RSI);
    code.zero(RBX);
    code.zero(RBP);
    code.zero(R8);
    code.zero(R9);
    code.zero(R10);
    code.zero(R11);
    code.zero(R12);
    code.zero(R13);
    code.zero(R14);
    code.zero(R15);
    code.initialize_extended_state(XSAVE);
    code.zero(RDX);
    code.set(RCX, VIEW_GATE);
    code.zero(RAX);
    code.expect(V_VMFUNC);
    code.vmfunc();
    code.expect(E_RETURN);

    code.bytes
}

// What the images assert holds at compile time.
const _: () = {
    let _ = gate_image();
    let _ = server_image();
};

// With PAE, or from a page-table page of another level, the region's 1 GiB leaf is one of 4 KiB or
// 2 MiB: no page may be there.
const _: () = {
    let pages = [PAGE, LIST, SLOT, CARRIER];
    let mut i = 0;
    while i < pages.len() {
        assert!(pages[i] >= 2 << 20 && pages[i] < 1 << 30 && pages[i] % PAGE_SIZE as u64 == 0);
        i += 1;
    }
    // XRSTOR wants its area 64-byte aligned.
    assert!(CARRIER_XSAVE % 64 == 0);
};

/// A base of the client's as the slot page has it: doubled, so that its bit 0 is nowhere's present
/// bit. The upper 17 bits of an address are alike, so nothing is lost.
pub(crate) const fn base_to_slot(base: u64) -> u64 {
    base << 1
}

/// The opposite. A client can have put there what is no address: 0.
pub(crate) const fn base_from_slot(word: u64) -> u64 {
    let base = word as i64 >> 1;
    if base << 16 >> 16 == base {
        base as u64
    } else {
        0
    }
}

/// Fills in the carrier page.
pub(crate) fn carrier_page(stack: u64, fs_base: u64, entry: u64, page: &mut [u8; PAGE_SIZE]) {
    fn put(page: &mut [u8; PAGE_SIZE], offset: u64, bytes: &[u8]) {
        page[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Offset of MXCSR in the legacy area (vol. 1, 10.5.1).
    const MXCSR: u64 = 24;

    page.fill(0);
    put(page, CARRIER_STACK, &stack.to_le_bytes());
    put(page, CARRIER_FS_BASE, &fs_base.to_le_bytes());
    put(page, CARRIER_ENTRY, &entry.to_le_bytes());
    // XSTATE_BV is 0, so XRSTOR initializes; but MXCSR it loads (vol. 1, 13.8.1).
    put(page, CARRIER_XSAVE + MXCSR, &MXCSR_INIT.to_le_bytes());
}

/// The way through E on which a vCPU was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// From the client to V: nothing has happened yet.
    BeforeServer,
    /// From V to the client: the result is in RDI. The call may be counted already.
    AfterServer { counted: bool },
}

/// The way that the byte at `offset` of E's page is on. A client can also jump there by itself.
pub(crate) const fn part(offset: u64) -> Part {
    if offset < E_RETURN {
        Part::BeforeServer
    } else {
        Part::AfterServer {
            counted: offset >= E_COUNTED,
        }
    }
}

/// Whether `page`, whose neighbours end with `before` and start with `after`, has a byte of a
/// VMFUNC in it. Two bytes of each neighbour are enough.
pub(crate) fn contains_vmfunc(before: &[u8], page: &[u8; PAGE_SIZE], after: &[u8]) -> bool {
    // What is across a border is in the last two bytes there and the first two here.
    let across = |before: &[u8], after: &[u8]| {
        let [a, b] = [before.iter().nth_back(1), before.last()];
        let border = [a, b, after.first(), after.get(1)];
        // 0, where there is no neighbour, is in no VMFUNC.
        has_vmfunc(&border.map(|byte| byte.copied().unwrap_or(0)))
    };

    across(before, page) || across(page, after) || words_have_vmfunc(page)
}

fn has_vmfunc(bytes: &[u8]) -> bool {
    bytes.windows(VMFUNC.len()).any(|bytes| bytes == VMFUNC)
}

/// By 8 bytes at a time, most of which have no byte that ends a VMFUNC: a server registers tens of
/// megabytes of libraries.
fn words_have_vmfunc(page: &[u8; PAGE_SIZE]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    let [.., last] = VMFUNC;
    page.chunks_exact(8).enumerate().any(|(number, word)| {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        // 0 where it is the byte; then the subtraction sets bit 7, which was clear.
        let differs = word ^ (ONES * u64::from(last));
        if differs.wrapping_sub(ONES) & !differs & (ONES << 7) == 0 {
            return false;
        }
        // With the bytes before it, where the VMFUNC may begin.
        let end = number * 8 + 8;
        let start = (number * 8).saturating_sub(VMFUNC.len() - 1);
        page.get(start..end).is_some_and(has_vmfunc)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmfuncs(image: &[u8]) -> Vec<u64> {
        let found = |(i, bytes): (usize, &[u8])| (bytes == VMFUNC).then_some(i as u64);
        image
            .windows(VMFUNC.len())
            .enumerate()
            .filter_map(found)
            .collect()
    }

    #[test]
    fn vmfuncs_are_where_the_views_meet() {
        assert_eq!(vmfuncs(&gate_image()), [E_VMFUNC_SERVER, E_VMFUNC_HOME]);
        assert_eq!(vmfuncs(&server_image()), [V_VMFUNC]);
    }

    #[test]
    fn there_is_no_code_elsewhere() {
        let code = |image: [u8; PAGE_SIZE], ranges: &[core::ops::Range<u64>]| {
            for (i, byte) in image.into_iter().enumerate() {
                let inside = ranges.iter().any(|range| range.contains(&(i as u64)));
                assert!(inside || byte == INT3, "{i:#x}");
            }
        };

        code(gate_image(), &[E_START..LANDING, E_RETURN..HOME]);
        code(server_image(), core::slice::from_ref(&(LANDING..E_RETURN)));
    }

    #[test]
    fn carrier_page_has_the_fields_and_nothing_else() {
        let mut page = [0xff; PAGE_SIZE];
        carrier_page(0x1111, 0x2222, 0x3333, &mut page);

        let word = |offset: u64| {
            u64::from_le_bytes(page[offset as usize..][..8].try_into().expect("8 bytes"))
        };
        let fields: Vec<_> = (0..PAGE_SIZE as u64)
            .step_by(8)
            .map(|offset| (offset, word(offset)))
            .filter(|(_, value)| *value != 0)
            .collect();

        assert_eq!(
            fields,
            [(0, 0x1111), (8, 0x2222), (16, 0x3333), (0x58, 0x1f80)]
        );
    }

    #[test]
    fn part_of_the_way() {
        for offset in [0, E_START, E_VMFUNC_SERVER, LANDING, E_RETURN - 1] {
            assert_eq!(part(offset), Part::BeforeServer);
        }
        for (offset, counted) in [
            (E_RETURN, false),
            (E_COUNTED - 1, false),
            (E_COUNTED, true),
            (E_VMFUNC_HOME, true),
            (HOME, true),
            (0xfff, true),
        ] {
            assert_eq!(part(offset), Part::AfterServer { counted });
        }
    }

    #[test]
    fn bases_come_back_from_the_slot() {
        for base in [
            0,
            1,
            0x7f12_3456_7741,
            0x7fff_ffff_ffff,
            0xffff_8000_0000_0000,
            u64::MAX,
        ] {
            let word = base_to_slot(base);
            assert_eq!((word & 1, base_from_slot(word)), (0, base));
        }
    }

    #[test]
    fn what_is_no_address_does_not() {
        for base in [
            0x8000_0000_0000,
            0xffff_7fff_ffff_ffff,
            1 << 48,
            1 << 62,
            3 << 62,
        ] {
            assert_eq!(base_from_slot(base_to_slot(base)), 0, "{base:#x}");
        }
    }

    #[test]
    fn words_of_the_slot_are_in_its_upper_half() {
        let words = [SLOT_RSP, SLOT_FS_BASE, SLOT_GS_BASE, SLOT_CALLS];
        assert!(words
            .iter()
            .all(|word| word % 8 == 0 && (0x800..0x1000).contains(word)));
        assert_eq!(CALL & 1, 0);
    }

    #[test]
    fn vmfunc_is_found_anywhere_in_a_page() {
        for offset in 0..=PAGE_SIZE - VMFUNC.len() {
            let mut page = [0; PAGE_SIZE];
            page[offset..][..VMFUNC.len()].copy_from_slice(&VMFUNC);
            assert!(contains_vmfunc(&[], &page, &[]), "{offset:#x}");
        }
    }

    #[test]
    fn vmfunc_is_found_across_the_borders() {
        let page = |at: usize, bytes: &[u8]| {
            let mut page = [0; PAGE_SIZE];
            page[at..][..bytes.len()].copy_from_slice(bytes);
            page
        };

        assert!(contains_vmfunc(&[0x0f, 0x01], &page(0, &[0xd4]), &[0, 0]));
        assert!(contains_vmfunc(
            &[0, 0x0f],
            &page(0, &[0x01, 0xd4]),
            &[0, 0]
        ));
        assert!(contains_vmfunc(&[0x0f], &page(0, &[0x01, 0xd4]), &[]));
        assert!(contains_vmfunc(
            &[0, 0],
            &page(0xffe, &[0x0f, 0x01]),
            &[0xd4, 0]
        ));
        assert!(contains_vmfunc(&[], &page(0xfff, &[0x0f]), &[0x01, 0xd4]));
        assert!(contains_vmfunc(&[9, 0x0f, 0x01], &page(0, &[0xd4]), &[]));
    }

    #[test]
    fn what_is_no_vmfunc_is_not_found() {
        let mut page = [0; PAGE_SIZE];
        page[0] = 0xd4;
        page[0xfff] = 0x0f;

        assert!(!contains_vmfunc(&[], &page, &[]));
        assert!(!contains_vmfunc(&[0x01, 0x0f], &page, &[0xd4, 0x01]));
        assert!(!contains_vmfunc(&[0x0f], &page, &[0x01]));
        assert!(!contains_vmfunc(
            &VMFUNC,
            &[0; PAGE_SIZE],
            &[0, 0, 0x0f, 0x01, 0xd4]
        ));
    }

    #[test]
    fn words_are_searched_as_bytes_are() {
        let mut random = 1u64;
        for _ in 0..2000 {
            let mut page = [0; PAGE_SIZE];
            for byte in page.iter_mut() {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                // Mostly bytes of VMFUNC's, and their neighbours.
                let near = [0x0f, 0x01, 0xd4, 0xd3, 0xd5, 0x54, 0, 0xff];
                *byte = near[(random >> 61) as usize];
                // One in a page or so is enough.
                if *byte == 0x01 && (random >> 40) & 0xff != 0 {
                    *byte = 0;
                }
            }
            assert_eq!(words_have_vmfunc(&page), has_vmfunc(&page));
        }
    }
}
