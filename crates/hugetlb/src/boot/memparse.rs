//! Sizes as the kernel reads them from users.

/// Whether the digits and the suffix fitted into 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// They did.
    Exact,
    /// They did not: the value is what is left modulo 2^64, as the kernel takes it.
    Wrapped,
}

/// A number with its suffix applied, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suffixed<'a> {
    /// The value; for sizes, in bytes.
    pub value: u64,
    /// Did the value fit?
    pub exactness: Exactness,
    /// The text behind the number and its suffix.
    pub rest: &'a str,
}

/// Reads digits and at most one suffix `K M G T P E` of either case, a power of 1024.
///
/// `0x` introduces hexadecimal digits and a leading `0` octal ones. The kernel does not refuse a value beyond 64 bits but
/// wraps it, and ignores what follows the suffix (so that `2048kB` is a size); [`Suffixed`] tells about both. Nothing is
/// returned where the text does not start with a digit, which the kernel takes for 0.
#[must_use]
pub fn memparse(text: &str) -> Option<Suffixed<'_>> {
    let (radix, digits) = radix(text);
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let mut value = 0_u64;
    let mut exactness = Exactness::Exact;
    for digit in digits[..end].chars().filter_map(|c| c.to_digit(radix)) {
        let (product, too_big) = value.overflowing_mul(u64::from(radix));
        let (sum, carried) = product.overflowing_add(u64::from(digit));
        value = sum;
        if too_big || carried {
            exactness = Exactness::Wrapped;
        }
    }
    let shift = digits[end..].chars().next().map_or(0, suffix_shift);
    if shift > 0 && value.leading_zeros() < shift {
        exactness = Exactness::Wrapped;
    }
    Some(Suffixed { value: value << shift, exactness, rest: &digits[end + usize::from(shift > 0)..] })
}

fn radix(text: &str) -> (u32, &str) {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
        && hex.starts_with(|c: char| c.is_ascii_hexdigit())
    {
        return (16, hex);
    }
    if text.starts_with('0') { (8, text) } else { (10, text) }
}

fn suffix_shift(suffix: char) -> u32 {
    match suffix.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        'P' => 50,
        'E' => 60,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_suffixes_and_what_follows() {
        let exact = |value, rest| Some(Suffixed { value, exactness: Exactness::Exact, rest });
        let wrapped = |value, rest| Some(Suffixed { value, exactness: Exactness::Wrapped, rest });
        let cases = [
            ("0", exact(0, "")),
            ("2M", exact(2 << 20, "")),
            ("2m", exact(2 << 20, "")),
            ("2048kB", exact(2 << 20, "B")),
            ("1G,1:2G", exact(1 << 30, ",1:2G")),
            ("0x200000", exact(2 << 20, "")),
            ("0x2E", exact(0x2e, "")), // hexadecimal digits are taken before a suffix is looked for
            ("0x", exact(0, "x")),
            ("010", exact(8, "")),
            ("08", exact(0, "8")),
            ("15E", exact(15 << 60, "")),
            ("16E", wrapped(0, "")),
            ("99999999999999999999", wrapped(7_766_279_631_452_241_919, "")),
            ("18446744073709551615", exact(u64::MAX, "")),
            ("7\u{e9}", exact(7, "\u{e9}")),
            ("", None),
            ("M", None),
            ("-1", None),
            ("+1", None),
            (" 1", None),
        ];
        for (text, want) in cases {
            assert_eq!(memparse(text), want, "{text:?}");
        }
    }
}
