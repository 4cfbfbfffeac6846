//! hugefolio

