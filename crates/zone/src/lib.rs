//! zone
#![no_std]
