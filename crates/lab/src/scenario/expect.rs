//! Expectations: `expect [actor] query OP value` and `expect refused-by LEDGER`.

use std::cmp::Ordering;
use std::fmt;

use units::Ledger;

use super::error::LineError;
use super::lex::{At, Token};
use super::query::{Query, Unit, query};
use crate::op::{Actor, Size, Value, Verbatim, nearest};

/// A value that a query has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// A number.
    Number(i64),
    /// Text.
    Text(String),
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Known::Number(n) => write!(f, "{n}"),
            Known::Text(text) => f.write_str(text),
        }
    }
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison(&'static str);

const COMPARISONS: [&str; 6] = ["=", "!=", "<", "<=", ">", ">="];

impl Comparison {
    /// Equality.
    pub const EQUAL: Comparison = Comparison("=");

    fn from_text(text: &str) -> Option<Self> {
        COMPARISONS.iter().find(|known| **known == text).map(|known| Self(known))
    }

    /// Whether `known` compares so with `value`.
    pub fn holds(self, known: &Known, value: &Known) -> bool {
        let order = match (known, value) {
            (Known::Number(a), Known::Number(b)) => a.cmp(b),
            (a, b) => a.to_string().cmp(&b.to_string()),
        };
        match self.0 {
            "=" => order == Ordering::Equal,
            "!=" => order != Ordering::Equal,
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            _ => order != Ordering::Less,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What must hold after an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// A query has a value.
    Compare {
        /// The query.
        query: Query,
        /// How it is compared.
        comparison: Comparison,
        /// With what.
        value: Known,
    },
    /// The last operation was refused by this ledger.
    RefusedBy(Ledger),
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expectation::RefusedBy(ledger) => write!(f, "expect refused-by {ledger}"),
            Expectation::Compare { query, comparison, value } => {
                write!(f, "expect {query} {} ", comparison.0)?;
                match (value, query.unit()) {
                    (Known::Number(n), Unit::Bytes) => write!(f, "{}", Size::bytes(*n)),
                    (Known::Number(n), Unit::Kilobytes) => write!(f, "{n} kB"),
                    (Known::Number(n), _) => write!(f, "{n}"),
                    (Known::Text(text), _) => f.write_str(&Verbatim(text.clone()).to_text()),
                }
            }
        }
    }
}

impl Expectation {
    /// The process that is asked.
    pub fn actor(&self) -> Option<Actor> {
        match self {
            Expectation::Compare { query, .. } => query.actor(),
            Expectation::RefusedBy(_) => None,
        }
    }

    /// Reads the words after `expect`; `end` is the column after the line.
    pub(crate) fn parse(tokens: &[Token<'_>], end: usize) -> Result<Self, At<LineError>> {
        if let [first, rest @ ..] = tokens
            && first.text == "refused-by"
        {
            let [word] = rest else {
                return Err((end, LineError::QueryForm("expect refused-by LEDGER")));
            };
            return ledger(word.text).map(Expectation::RefusedBy).map_err(|error| (word.column, error));
        }
        let operator = tokens.iter().position(|token| Comparison::from_text(token.text).is_some());
        let operator = operator.ok_or((end, LineError::NoComparison))?;
        let query = query(&tokens[..operator], tokens[operator].column)?;
        let comparison = Comparison::from_text(tokens[operator].text).unwrap_or(Comparison::EQUAL);
        let value = value(query.unit(), &tokens[operator + 1..], end)?;
        if matches!(value, Known::Text(_)) && !matches!(comparison.0, "=" | "!=") {
            return Err((tokens[operator].column, LineError::TextOrder(comparison.0)));
        }
        Ok(Expectation::Compare { query, comparison, value })
    }
}

fn ledger(word: &str) -> Result<Ledger, LineError> {
    let names = || Ledger::ALL.iter().map(|ledger| ledger.name());
    Ledger::ALL.iter().find(|ledger| ledger.name() == word).copied().ok_or_else(|| LineError::UnknownLedger {
        word: word.to_owned(),
        nearest: nearest(word, names()).map(str::to_owned),
    })
}

fn value(unit: Unit, tokens: &[Token<'_>], end: usize) -> Result<Known, At<LineError>> {
    let expects = match unit {
        Unit::Count => "a number",
        Unit::Bytes => "a size in bytes, such as 2M",
        Unit::Kilobytes => "a number of kilobytes, such as 2048 kB",
        Unit::Text => "one word, or text between double quotes",
    };
    let bad = |token: &Token<'_>| (token.column, LineError::BadExpectedValue { value: token.text.to_owned(), expects });
    let word = match tokens {
        [word] => word,
        [word, kb] if unit == Unit::Kilobytes && kb.text == "kB" => word,
        [_, extra, ..] => return Err(bad(extra)),
        [] => {
            return Err((end, LineError::BadExpectedValue { value: String::new(), expects }));
        }
    };
    if unit == Unit::Text {
        return Verbatim::from_text(word.text).map(|text| Known::Text(text.0)).map_err(|_| bad(word));
    }
    <Size as Value>::from_text(word.text).map(|size| Known::Number(size.signed())).map_err(|_| bad(word))
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn printed(line: &str) -> String {
        let text = format!("a0 spawn\n{line}\n");
        match Scenario::parse("x", &text) {
            Ok(scenario) => scenario.lines[1].to_string(),
            Err(problems) => problems[0].to_string(),
        }
    }

    #[test]
    fn canonical_expectations_print_as_they_are_written() {
        for line in [
            "expect free_hugepages = 3",
            "expect resv_hugepages 1G = 0",
            "expect nr_hugepages 2M node=1 >= 4",
            "expect nr_hugepages 64K = 2",
            "expect nr_hugepages log:21 = 0",
            "expect HugePages_Rsvd = 1",
            "expect g0/g1/hugetlb.2MB.rsvd.current = 4M",
            "expect g0/memory.stat hugetlb = 4M",
            "expect g0/g1/memory.events.local max = 18",
            "expect g0/hugetlb.1GB.events max = 2",
            "expect g0/hugetlb.2MB.events.local max != 0",
            "expect statfs M0 f_bfree = 12",
            "expect statfs M0 f_bsize = 2M",
            "expect /sys/kernel/mm/hugepages/hugepages-2048kB/demote_size = 64kB",
            "expect a0 HugetlbPages = 4096 kB",
            "expect a0 pagemap A = aab.",
            "expect a0 smaps A Private_Hugetlb = 2048 kB",
            "expect a0 smaps A vmas = 2",
            "expect a0 fstat F size = 8M",
            "expect rd = 5,6",
            "expect done < 4",
            "expect zone 0:Normal free >= 4",
            "expect zone 1:DMA32 list 3 Movable = 8,24",
            "expect zone 0:Normal page 77 = used:77:0",
            "expect event extfrag = 1",
            "expect vmstat nr_memmap_boot_pages = 4088",
            "expect shared_tails = 1",
            "expect zone = 0:Normal",
            "expect refused-by surplus-cap",
        ] {
            assert_eq!(printed(line), line);
        }
    }

    #[test]
    fn other_ways_to_write_a_value_print_canonically() {
        assert_eq!(printed("expect  free_hugepages   =  0002"), "expect free_hugepages = 2");
        assert_eq!(printed("expect a0 HugetlbPages = 4K"), "expect a0 HugetlbPages = 4096 kB");
        assert_eq!(printed("expect g0/hugetlb.2MB.current = 2097152"), "expect g0/hugetlb.2MB.current = 2M");
    }

    #[test]
    fn a_wrong_expectation_says_where_and_what_to_write() {
        for (line, message) in [
            ("expect free_hugepage = 3", "x:2:8: `free_hugepage` is not a query; did you mean `free_hugepages`?"),
            ("expect free_hugepages=3", "x:2:24: the expectation compares nothing"),
            ("expect free_hugepages = three", "x:2:25: `three` is not a number"),
            ("expect a0 pagemap A < aa", "x:2:21: `<` compares numbers"),
            ("expect pagemap A = aa", "x:2:8: this is asked of a process"),
            ("expect a0 free_hugepages = 3", "x:2:11: this is asked of the machine"),
            ("expect statfs M0 bfree = 3", "x:2:18: `bfree` is not a query; did you mean `f_bfree`?"),
            ("expect zone 0:Normal fre = 3", "x:2:22: `fre` is not a query; did you mean `free`?"),
            ("expect zone 0:Norml free = 3", "x:2:13: `0:Norml` is not a zone as NODE:KIND"),
            ("expect event extfrg = 3", "x:2:14: `extfrg` is not a query; did you mean `extfrag`?"),
            (
                "expect vmstat nr_memap_pages = 3",
                "x:2:15: `nr_memap_pages` is not a query; did you mean `nr_memmap_pages`?",
            ),
            ("expect vmstat = 3", "x:2:15: this query is written"),
            ("expect shared_tail = 3", "x:2:8: `shared_tail` is not a query; did you mean `shared_tails`?"),
            ("expect refused-by pol", "x:2:19: `pol` is not a ledger; did you mean `pool`?"),
            ("expect g0/hugetlb.2MB.usage = 3", "x:2:8: this query is written"),
        ] {
            let printed = printed(line);
            assert!(printed.starts_with(message), "{printed}");
        }
    }
}
