//! Pools and what else is written to files.

use crate::op::amount::{Node, Verbatim, Written};
use crate::op::name::Actor;
use crate::op::table::verbs;
use crate::op::word::SizeName;

verbs! {
    about Knob

    /// Sets the number of persistent huge pages of a pool, of all nodes or of one.
    SetNr = "set_nr" {
        /// The new number of huge pages.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
        /// The node whose pages alone change.
        node: Option<Node> ["node"];
    } writes
        "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/nr_hugepages",
        "/sys/devices/system/node/node{node}/hugepages/hugepages-{size:kB}kB/nr_hugepages"

    /// Sets the number of persistent huge pages of the default size.
    SysctlNr = "sysctl_nr" {
        /// The new number of huge pages.
        value: Written ["n", "raw"];
    } writes "/proc/sys/vm/nr_hugepages"

    /// Sets how many surplus pages a pool may have.
    SetOvercommit = "set_overcommit" {
        /// The new limit of surplus pages.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/nr_overcommit_hugepages"

    /// Splits free huge pages of a pool into pages of its demote size.
    Demote = "demote" {
        /// How many pages to split.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/demote"

    /// Chooses the size into which pages of a pool are split.
    DemoteSize = "demote_size" {
        /// The smaller size, such as 2048kB.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/demote_size"

    /// Switches vmemmap optimisation of new huge pages on (1) or off (0).
    SetHvo = "set_hvo" {
        /// 1 or 0.
        value: Written ["n", "raw"];
    } writes "/proc/sys/vm/hugetlb_optimize_vmemmap"

    /// Does what was put off in interrupts, as the kernel's workers do sooner or later.
    Quiesce = "quiesce" {}

    /// Writes any other file of /proc or /sys that the machine has.
    Write = "write" {
        /// The file.
        path: Verbatim ["path"];
        /// What is written.
        value: Written ["n", "raw"];
        /// The process that writes, whose memory policy some files heed; else the superuser.
        by: Option<Actor> ["by"];
    }
}
