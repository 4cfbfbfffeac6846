//! units
#![no_std]
