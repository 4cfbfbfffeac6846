//! hugetlb
#![no_std]

extern crate alloc as alloc_crate;

pub mod boot;
