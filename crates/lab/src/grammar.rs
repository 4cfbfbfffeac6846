//! The page that describes the scenario language, made from the tables that the readers use.

use std::fmt::Write as _;

use units::Ledger;

use crate::input::{BYTES_LIMIT, LINE_LIMIT, LINES_LIMIT};
use crate::op::{ArgumentInfo, Place, Presence, VERBS, Verb};
use crate::scenario::{
    BOOT_PARAMETERS, CGROUP_FILES, EVENT_WORDS, FSTAT_FIELDS, GUEST_FIELDS, GUEST_PAGE_FIELDS, HEADER_FORMS,
    MEMORY_FILES, MEMORY_FORMS, PIECE_FIELDS, SMAPS_FIELDS, STATFS_FIELDS, TABLES_FIELDS, ZONE_FIELDS, ZONE_FORMS,
};
use crate::target::{ArchName, Extras, StepResult};

/// A scenario that shows most of the language; the page opens with it.
pub const EXAMPLE: &str = "\
title \"A child cannot take a page that its parent has reserved\"
machine node=1G hugepagesz=2M hugepages=3

a0 spawn
a0 mmap A 6M private,anon
a0 touch A p0 write = 5  # one page in use, two reserved
expect free_hugepages = 2
expect resv_hugepages = 2
a0 fork a1
a1 touch A p1 write = 9 -> SIGBUS
expect refused-by pool
a1 touch A p0
expect rd = 5
a0 touch A p1..3 write
expect a0 pagemap A = baa
echo 4 > /proc/sys/vm/nr_hugepages
expect free_hugepages = 1
";

/// One line that shows how a verb is written.
pub fn usage(verb: &Verb) -> String {
    let mut line = if verb.by_actor { format!("aN {}", verb.name) } else { verb.name.to_owned() };
    for argument in verb.arguments {
        let shown = match argument.place {
            Place::Positional => argument.name.to_uppercase(),
            Place::Keyed => format!("{}=...", argument.name),
            Place::Word => argument.name.to_owned(),
            Place::AfterEquals => format!("= {}", argument.name.to_uppercase()),
        };
        match argument.presence {
            Presence::Required => line.push_str(&format!(" {shown}")),
            Presence::Optional | Presence::Defaulted => line.push_str(&format!(" [{shown}]")),
        }
    }
    line
}

/// The text of a documentation comment on one line.
fn prose(doc: &str) -> String {
    doc.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn argument_row(argument: &ArgumentInfo) -> String {
    let keys = argument.keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    format!("| `{}` | {keys} | {} It is {}. |\n", argument.name, prose(argument.doc), argument.expects)
}

fn verb_section(page: &mut String, verb: &Verb) -> std::fmt::Result {
    write!(page, "\n### {}\n\n{}\n\n    {}\n", verb.name, prose(verb.doc), usage(verb))?;
    for file in verb.files {
        writeln!(page, "    echo VALUE > {file}")?;
    }
    if !verb.arguments.is_empty() {
        page.push_str("\n| argument | JSON | meaning |\n|---|---|---|\n");
        verb.arguments.iter().for_each(|argument| page.push_str(&argument_row(argument)));
    }
    Ok(())
}

/// The whole page, in Markdown.
pub fn page() -> String {
    let mut page = String::new();
    write_page(&mut page).expect("writing to a string cannot fail");
    page
}

fn write_page(page: &mut String) -> std::fmt::Result {
    let indented: String = EXAMPLE.lines().map(|line| format!("    {line}\n")).collect();
    let lines = |forms: &[(&str, &str)]| forms.iter().map(|(_, form)| format!("    {form}\n")).collect::<String>();
    let headers = lines(&HEADER_FORMS);
    let memory = lines(&MEMORY_FORMS);
    let listed = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let results: Vec<&str> = StepResult::plain_words().collect();
    write!(
        page,
        "# The scenario language\n\n\
         *Made by `hugefolio grammar`; a test keeps it true. Change the tables in `crates/lab`, not this page.*\n\n\
         A scenario is a machine, operations with their results, and what must hold after them.\n\n{indented}\n\
         ## Lines\n\n\
         A line is an operation, an expectation, a header line or blank. `#` at the beginning of a word begins a comment. \
         Words are separated by blanks; a word in double quotes may hold blanks, with `\\\"`, `\\\\`, `\\n`, `\\t` and \
         `\\u{{7}}` as escapes. `hugefolio fmt` prints the canonical form.\n\n\
         ## Header\n\n\
         Before the first operation, each at most once:\n\n{headers}\n\
         `machine` gives the architecture (`arch=`, one of {}; the first if left out), the memory of each node (`node=`, \
         node 0 first; `node=1G,cpus=0` has no processors and `node=0` no memory), their distances where not 20 (`distances=0-1:21,0-2:17`), the interface of control groups (`cgroup=`, `v2` or `v1`; the first if left out), what becomes of shared tails that nobody reads (`tails=`, `counted` or `kept`; the first if left out), what `MADV_COLLAPSE` does (`collapse=`, `released`, `first` or `second` as it was proposed; the first if left out), how many references a page can have (`references=`; 2147483647 if left out) and the kernel's boot parameters: {}. Without it the machine is x86-64 and has one node of 24 GiB and pools of 2 MiB (the default size) and 1 GiB pages. Without `name` a \
         scenario has the name of its file.\n\n",
        listed(&ArchName::ALL.map(|(word, _)| word)),
        listed(&BOOT_PARAMETERS),
    )?;
    write!(
        page,
        "### Memory\n\n\
         A scenario may describe memory of its own, as it stands and without history. It is then a page allocator beside the machine, on which \
         the operations on pages work; without these lines they work on the machine's own memory.\n\n{memory}\n\
         `zone` stands once for each zone, all others as often as there is something to say; whatever is written with `=` may be left out. \
         A zone of which nothing more is said is free, in blocks as large as can be and `Movable`; `block` gives pageblocks \
         another type, also `CMA`, `HighAtomic` and `Isolate`. With `allocated`, or with any of `free`, `used`, `movable` and `pcp`, what no line names \
         is in use: `free` gives blocks to a list in the order in which they stand, `used` and `movable` are blocks with owners who cannot or can move \
         them, and `pcp` blocks that a processor keeps. A range `8..64` stands for all blocks in it. `marks` are min, low, high and \
         promo, `lists` the batch, the least and the most pages of a processor's lists. A `private` node belongs to a driver; `caps` says what others \
         may do there. `cpus` gives the node of each processor.\n\n",
    )?;
    write!(
        page,
        "## Operations\n\n    [actor] verb argument* [= value] [-> RESULT]\n    echo VALUE > FILE [-> RESULT]\n\n\
         A process is `a0` to `a15`; `spawn` and `fork` start it. Sizes are bytes with an optional `K`, `M`, `G` or `T`; \
         a byte range is `0..2M`; page 3 of a mapping is `p3`, its first four pages are `p0..4`. Arguments written \
         `name=value` may stand in any order.\n\n\
         A line without arrow must succeed. After `->` stands {}, the name of an error such as `ENOMEM`, or `any`.\n\n\
         A knob is the write itself. The files below are known as operations of their own; any other file of the machine \
         can be written too. A number is written bare; text that looks like a number stands in double quotes.\n",
        listed(&results),
    )?;
    for verb in VERBS {
        verb_section(page, verb)?;
    }
    write_expectations(page)?;
    write!(
        page,
        "\n## JSON lines\n\n\
         A script may also be one flat JSON object a line (`.jsonl`): first `{{\"script\": NAME, \"desc\": TEXT}}`, then \
         operations as `{{\"op\": VERB, \"p\": PROCESS, KEY: VALUE, ...}}` with the keys of the tables above. Sizes are \
         numbers of bytes. `hugefolio convert` turns one form into the other; expectations have no place in JSON, and a \
         line from JSON has `-> any`.\n\n\
         ## Limits\n\n\
         A line has at most {} KiB, a file at most {} MiB and {LINES_LIMIT} lines.\n",
        LINE_LIMIT >> 10,
        BYTES_LIMIT >> 20,
    )
}

fn write_expectations(page: &mut String) -> std::fmt::Result {
    let listed = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    write!(
        page,
        "\n## Expectations\n\n    expect [actor] QUERY OP VALUE\n    expect refused-by LEDGER\n\n\
         OP is one of `=`, `!=`, `<`, `<=`, `>`, `>=`; text is compared with the first two.\n\n\
         | query | value |\n|---|---|\n\
         | `free_hugepages [SIZE] [node=N]`, and `nr_`, `resv_`, `surplus_hugepages` | the pool's counter in sysfs; of the \
         default size if none is named |\n\
         | `HugePages_Free`, `HugePages_Total`, `HugePages_Rsvd`, `HugePages_Surp` | the counter in /proc/meminfo |\n\
         | `GROUP/hugetlb.2MB.FILE` | a control group's counter; FILE is one of {} |\n\
         | `GROUP/memory.FILE` | what the memory controller says of a control group, where it accounts huge pages; FILE is one of {} |\n\
         | `statfs MOUNT FIELD` | one of {} |\n\
         | `vmstat NAME` | the counter of that name in /proc/vmstat |\n\
         | `shared_tails` | how many pages are shared tails of descriptors |\n\
         | `/sys/FILE` | the text of any file of the machine |\n\
         | `aN HugetlbPages` | what the process has mapped, in kB |\n\
         | `aN pagemap MAP` | a letter a page: `.` absent, `a` anonymous and exclusive, `b` anonymous and shared, `f` \
         file and exclusive, `g` file and shared, `w` write-protected by userfaultfd, `m` marker |\n\
         | `aN smaps MAP FIELD` | one of {} |\n\
         | `aN fstat FILE FIELD` | one of {} |\n\
         | `aN gmem FILE FIELD` | of a file of guest memory: {}; of a base page, `aN gmem FILE FIELD PAGE`: {} |
         | `aN piece MAP OFFSET FIELD` | of the entry or hole at an address, and of the page around it: {} |\n\
         | `tables NAME FIELD` | of page tables by themselves: {} |\n\
         | `zone NODE:KIND FIELD` | {}; {} |\n\
         | `event WORD` | how often that happened in the last operation: {} |\n\
         | {} | what the last operation answered |\n\n\
         The ledgers are {}.\n",
        listed(&CGROUP_FILES),
        listed(&MEMORY_FILES),
        listed(&STATFS_FIELDS),
        listed(&SMAPS_FIELDS),
        listed(&FSTAT_FIELDS),
        words(&GUEST_FIELDS),
        words(&GUEST_PAGE_FIELDS),
        words(&PIECE_FIELDS.map(|(word, what, _)| (word, what))),
        words(&TABLES_FIELDS.map(|(word, what, _)| (word, what))),
        ZONE_FIELDS.iter().map(|(word, what)| format!("`{word}`:{what}")).collect::<Vec<_>>().join(", "),
        listed(&ZONE_FORMS.map(|(_, form)| form)),
        listed(&EVENT_WORDS),
        listed(Extras::NAMES),
        listed(&Ledger::ALL.map(Ledger::name)),
    )
}

fn words(all: &[(&str, &str)]) -> String {
    all.iter().map(|(word, what)| format!("`{word}`: {what}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn the_page_in_docs_is_this_page() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scenario-language.md");
        let stored = std::fs::read_to_string(docs).unwrap_or_default();
        assert!(
            stored == page(),
            "docs/scenario-language.md is out of date; write it with `cargo run -- grammar > docs/scenario-language.md`"
        );
    }

    #[test]
    fn the_example_is_a_canonical_scenario() {
        let scenario = Scenario::parse("example", EXAMPLE).unwrap_or_else(|problems| panic!("{}", problems[0]));
        assert_eq!(scenario.to_string(), EXAMPLE);
        scenario.check(std::path::Path::new("example")).unwrap();
    }

    #[test]
    fn the_example_holds() {
        let scenario = Scenario::parse("example", EXAMPLE).unwrap_or_else(|problems| panic!("{}", problems[0]));
        let file = std::path::Path::new("example");
        let outcome = crate::run::run(&scenario, file, &mut crate::instance::Instance::new(), &mut |_| {}).unwrap();
        assert_eq!(outcome.failures, []);
    }
}
