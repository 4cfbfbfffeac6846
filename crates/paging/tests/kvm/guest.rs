//! A processor in long mode that works off a list of accesses.

use std::rc::Rc;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use paging::arch::X86_64;
use paging::{Grain, Leaf, LeafFlags, PageTables};
use units::{Bytes, Pfn, Vaddr};

use crate::ram::Ram;
use crate::tables::GuestTables;

/// The guest's memory: what runs in it, its tables, then what is mapped.
pub(crate) const TABLES: u64 = 2 << 20;
pub(crate) const DATA: u64 = 1 << 30;
pub(crate) const END: u64 = 5 << 30;

/// Where what runs is mapped, out of the way of everything else.
const HERE: u64 = 0xffff_8000_0000_0000;
const CODE: u64 = 0x1000;
const GDT: u64 = 0x2000;
const IDT: u64 = 0x3000;
const STACK: u64 = 0x8000;
const LIST: u64 = 0x1_0000;
/// What a list can hold.
pub(crate) const LIST_MAX: usize = 40_000;

const FAULT: u64 = 0x60;

/// The loop: `rsi` is the next of `rcx` accesses, `r15` the stack to return to.
const PROGRAM: [u8; 0x77] = [
    0x48, 0x85, 0xc9, //             00: test rcx, rcx
    0x74, 0x4d, //                       je 52
    0x48, 0x8b, 0x06, //                 mov rax, [rsi]
    0x48, 0x8b, 0x7e, 0x08, //           mov rdi, [rsi+8]
    0x48, 0x83, 0xf8, 0x01, //           cmp rax, 1
    0x74, 0x1b, //                       je 2d
    0x48, 0x83, 0xf8, 0x02, //           cmp rax, 2
    0x74, 0x1e, //                       je 36
    0x48, 0x83, 0xf8, 0x03, //           cmp rax, 3
    0x74, 0x1c, //                       je 3a
    0x48, 0x83, 0xf8, 0x04, //           cmp rax, 4
    0x74, 0x1b, //                       je 3f
    0x48, 0x8b, 0x07, //                 mov rax, [rdi]
    0x48, 0x89, 0x46, 0x10, //           mov [rsi+16], rax
    0xeb, 0x18, //                       jmp 45
    0x48, 0x8b, 0x46, 0x10, //       2d: mov rax, [rsi+16]
    0x48, 0x89, 0x07, //                 mov [rdi], rax
    0xeb, 0x0f, //                       jmp 45
    0xff, 0xd7, //                   36: call rdi
    0xeb, 0x0b, //                       jmp 45
    0x0f, 0x01, 0x3f, //             3a: invlpg [rdi]
    0xeb, 0x06, //                       jmp 45
    0x0f, 0x20, 0xd8, //             3f: mov rax, cr3
    0x0f, 0x22, 0xd8, //                 mov cr3, rax
    0x4c, 0x89, 0xfc, //             45: mov rsp, r15
    0x48, 0x83, 0xc6, 0x28, //           add rsi, 40
    0x48, 0x83, 0xe9, 0x01, //           sub rcx, 1
    0xeb, 0xae, //                       jmp 00
    0xf4, //                         52: hlt
    0xeb, 0xfd, //                       jmp 52
    0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00, // nop
    // A page fault: what the processor says of it, and on with the next access.
    0x48, 0x8b, 0x04, 0x24, //       60: mov rax, [rsp]
    0x48, 0x0d, 0x00, 0x00, 0x00, 0x40, // or rax, 0x4000_0000
    0x48, 0x89, 0x46, 0x18, //           mov [rsi+24], rax
    0x0f, 0x20, 0xd0, //                 mov rax, cr2
    0x48, 0x89, 0x46, 0x20, //           mov [rsi+32], rax
    0xeb, 0xce, //                       jmp 45
];

/// One thing that the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write(u64),
    /// A call of the code that is there.
    Execute,
    /// Forget what is remembered of the page.
    Forget,
    /// Forget everything.
    ForgetAll,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What was read or written.
    Value(u64),
    /// A page fault, with the processor's reason and address.
    Fault { reason: u64, addr: u64 },
}

pub(crate) struct Guest {
    // In the order in which they must go.
    vcpu: VcpuFd,
    _vm: VmFd,
    pub(crate) ram: Rc<Ram>,
    sregs: kvm_sregs,
}

impl Guest {
    pub(crate) fn new(kvm: &Kvm) -> Result<Self, kvm_ioctls::Error> {
        let vm = kvm.create_vm()?;
        let ram = Rc::new(Ram::new(usize::try_from(END).expect("64 bits")).expect("address space can be had"));
        ram.register(&vm)?;
        let vcpu = vm.create_vcpu(0)?;
        let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        // Pages of 1 GiB are asked for also where they are not offered: who walks tables by himself can have them.
        let features = cpuid.as_mut_slice().iter_mut().filter(|entry| entry.function == 0x8000_0001);
        features.for_each(|entry| entry.edx |= 1 << 26);
        vcpu.set_cpuid2(&cpuid)?;
        let sregs = long_mode(vcpu.get_sregs()?);
        let guest = Self { vcpu, _vm: vm, ram, sregs };
        guest.install();
        Ok(guest)
    }

    /// Program, segments and the gate of page faults.
    fn install(&self) {
        for (n, bytes) in (0..).zip(PROGRAM.chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.ram.store(CODE + 8 * n, u64::from_le_bytes(word));
        }
        self.ram.store(GDT + 8, 0x00af_9b00_0000_ffff);
        self.ram.store(GDT + 16, 0x00cf_9300_0000_ffff);
        let handler = HERE + CODE + FAULT;
        let gate = handler & 0xffff | 8 << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
        self.ram.store(IDT + 14 * 16, gate);
        self.ram.store(IDT + 14 * 16 + 8, handler >> 32);
    }

    /// Maps what runs into new tables, and lets the processor use them. From now on it remembers what it is not told to forget.
    pub(crate) fn start(&mut self, mem: &mut GuestTables, tables: &PageTables<X86_64>) {
        let grain = Grain::new::<X86_64>(Bytes::mib(2)).expect("2 MiB are a page");
        let leaf = Leaf::new(Pfn::new(0), LeafFlags::WRITE);
        tables.map(mem, Vaddr::new(HERE), grain, leaf).expect("new tables are empty");
        self.sregs.cr3 = tables.root().pfn().get() << 12;
        self.vcpu.set_sregs(&self.sregs).expect("the processor can be in long mode");
    }

    /// Does it all, one after the other.
    pub(crate) fn run(&mut self, list: &[(u64, Access)]) -> Vec<Answer> {
        assert!(list.len() <= LIST_MAX, "the list has its place");
        for (n, &(addr, access)) in (0..).zip(list) {
            let (code, value) = match access {
                Access::Read => (0, 0),
                Access::Write(value) => (1, value),
                Access::Execute => (2, 0),
                Access::Forget => (3, 0),
                Access::ForgetAll => (4, 0),
            };
            for (at, word) in (0..).zip([code, addr, value, 0, 0]) {
                self.ram.store(LIST + 40 * n + 8 * at, word);
            }
        }
        let regs = kvm_regs {
            rip: HERE + CODE,
            rsp: HERE + STACK,
            r15: HERE + STACK,
            rsi: HERE + LIST,
            rcx: list.len() as u64,
            rflags: 2,
            ..kvm_regs::default()
        };
        self.vcpu.set_regs(&regs).expect("registers can be set");
        match self.vcpu.run() {
            Ok(VcpuExit::Hlt) => {}
            other => {
                let other = format!("{other:?}");
                let (regs, sregs) = (self.vcpu.get_regs(), self.vcpu.get_sregs());
                panic!(
                    "{other}, at {regs:x?}, {:x?}",
                    sregs.map(|sregs| (sregs.cr2, sregs.cr3, sregs.cr4, sregs.efer))
                );
            }
        }
        let answer = |n: u64| {
            let at = |word: u64| self.ram.load(LIST + 40 * n + 8 * word);
            match at(3) {
                0 => Answer::Value(at(2)),
                fault => Answer::Fault { reason: fault & 0x3fff_ffff, addr: at(4) },
            }
        };
        (0..list.len() as u64).map(answer).collect()
    }
}

fn long_mode(mut sregs: kvm_sregs) -> kvm_sregs {
    // Paging, write protection for the kernel too, protected mode; physical address extension; long mode and the bit that forbids to execute.
    (sregs.cr0, sregs.cr4, sregs.efer) = (0x8001_0031, 0x20, 0xd00);
    let code = kvm_segment {
        limit: 0xffff_ffff,
        selector: 8,
        type_: 11,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let data = kvm_segment { selector: 16, type_: 3, l: 0, db: 1, ..code };
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.gdt = kvm_dtable { base: HERE + GDT, limit: 23, ..kvm_dtable::default() };
    sregs.idt = kvm_dtable { base: HERE + IDT, limit: 15 * 16 - 1, ..kvm_dtable::default() };
    sregs
}
