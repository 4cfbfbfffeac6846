//! hugefolio
