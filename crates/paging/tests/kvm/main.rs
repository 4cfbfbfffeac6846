//! The hardware agrees: tables built by this room in a guest's memory, and a processor that reads, writes and executes through them.
//!
//! Every table has a hundred pages of 4 KiB, 2 MiB and 1 GiB, and holes. The guest comes to each of them, changes are made while it is stopped
//! (pages divided, joined, protected, taken away, their traces wiped), and it comes again, having forgotten what is owed and nothing else. What it
//! read, where it faulted and why, and the accessed and dirty bits are compared with a list of pages.
//!
//! `KVM_TABLES` says how many tables, where a thousand are too many or too few.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod checked;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod guest;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod ram;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tables;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[test]
fn kvm_agrees_about_every_table() {
    println!("skipped: this is no x86-64 with Linux");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn kvm_agrees_about_every_table() {
    let guest = kvm_ioctls::Kvm::new().and_then(|kvm| guest::Guest::new(&kvm));
    match guest {
        Ok(guest) => checked::agree(guest),
        Err(why) => println!("skipped: /dev/kvm gives no machine: {why}"),
    }
}
