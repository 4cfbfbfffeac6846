//! lab

