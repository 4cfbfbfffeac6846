//! hugetlbfs
#![no_std]
