//! hugetlb
#![no_std]
