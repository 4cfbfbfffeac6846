//! charge
#![no_std]
