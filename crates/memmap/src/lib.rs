//! memmap
#![no_std]
