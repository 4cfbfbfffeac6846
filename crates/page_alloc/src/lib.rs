//! page_alloc
#![no_std]
