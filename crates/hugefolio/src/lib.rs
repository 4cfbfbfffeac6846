//! hugefolio

pub mod text;
