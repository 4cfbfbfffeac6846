//! sync
#![no_std]
