//! filemap
#![no_std]
