//! Boot parameters: every rule by example, and no text that panics.

use hugetlb::boot::{
    Arch, BootAllocation, BootCause, BootConfig, CmaArea, CmaOutcome, CmaProblem, CmaRequest, CountProblem,
    CountTarget, HvoDefault, NodeForm, Parameter, Platform, PoolRequest, RegisteredBy, Severity, SizeProblem,
};
use proptest::prelude::*;
use units::{Bytes, HstateId, HugeCount, HugeSize, NodeId, Nodemask, Order, PageShift};

fn x86(nodes: u8) -> Platform {
    Platform::new(Arch::X86_64, Nodemask::first(nodes))
}

fn parse(cmdline: &str) -> BootConfig {
    BootConfig::parse(cmdline, &x86(4))
}

fn total(count: u64) -> PoolRequest {
    PoolRequest::Total(HugeCount::new(count))
}

fn per_node(counts: &[(u8, u64)]) -> PoolRequest {
    PoolRequest::PerNode(counts.iter().map(|&(n, c)| (NodeId::new(n), HugeCount::new(c))).collect())
}

/// `size:count` of every pool in the order of registration, the default one marked.
fn pools(config: &BootConfig) -> String {
    let name = |(index, h): (usize, &hugetlb::boot::BootHstate)| {
        let mark = if config.default_id().index() == index { "*" } else { "" };
        format!("{}{mark}:{}", h.size, h.request.total().get())
    };
    config.hstates().iter().enumerate().map(name).collect::<Vec<_>>().join(" ")
}

fn causes(config: &BootConfig) -> Vec<BootCause> {
    config.messages().iter().map(|m| m.cause.clone()).collect()
}

const M2: CountTarget = CountTarget::Size(HugeSize::M2);

#[test]
fn a_bare_command_line_registers_what_the_architecture_has() {
    let config = parse("quiet console=ttyS0");
    assert_eq!(pools(&config), "1G:0 2M*:0");
    assert!(config.messages().is_empty());
    assert!(config.hstates().iter().all(|h| h.registered_by == RegisteredBy::Architecture));
    assert_eq!(config.allocation_order().count(), 0);
    assert_eq!(config.default_hstate().size, HugeSize::M2);
    assert_eq!(config.hvo(), HvoDefault::Off);
    assert_eq!(config.cma(), None);
}

#[test]
fn size_tables() {
    let all = |platform: Platform| {
        let config = BootConfig::parse("", &platform);
        let list = config.hstates().iter().map(|h| {
            let gigantic = if platform.is_gigantic(h.order) { "!" } else { "" };
            format!("{}/{}{gigantic}", h.size, h.order.get())
        });
        format!("{} default {}", list.collect::<Vec<_>>().join(" "), config.default_hstate().size)
    };
    let arm64 = |base| Platform::new(Arch::Arm64(base), Nodemask::first(1));
    assert_eq!(all(x86(1)), "1G/18! 2M/9 default 2M");
    assert_eq!(all(x86(1).without_gigabyte_pages()), "2M/9 default 2M");
    assert_eq!(all(x86(1).without_runtime_gigantic()), "2M/9 default 2M");
    assert_eq!(all(arm64(PageShift::K4)), "1G/18! 32M/13! 2M/9 64K/4 default 2M");
    assert_eq!(all(arm64(PageShift::K16)), "1G/16! 32M/11 2M/7 default 32M");
    assert_eq!(all(arm64(PageShift::K64)), "16G/18! 512M/13 2M/5 default 512M");
    assert_eq!(all(arm64(PageShift::K4).without_gigabyte_pages()), all(arm64(PageShift::K4)));
    assert_eq!(all(arm64(PageShift::K4).without_runtime_gigantic()), all(arm64(PageShift::K4)));
    assert_eq!(Arch::X86_64.base_page(), PageShift::K4);
    assert_eq!(Arch::Arm64(PageShift::K64).largest_buddy_order(), Order::new(13));
}

#[test]
fn gigabyte_pages_without_run_time_support_exist_where_they_are_named() {
    let platform = x86(1).without_runtime_gigantic();
    let config = BootConfig::parse("hugepagesz=1G hugepages=2", &platform);
    assert_eq!(pools(&config), "1G:2 2M*:0");
    assert_eq!(config.hstate(HugeSize::G1).expect("named").registered_by, RegisteredBy::CommandLine);
    let config = BootConfig::parse("hugepagesz=1G hugepages=2", &x86(1).without_gigabyte_pages());
    assert_eq!(pools(&config), "2M*:0");
    assert_eq!(
        causes(&config),
        [SizeProblem::Unsupported(Bytes::gib(1)).into(), CountProblem::AfterRefusedSize.into()]
    );
}

/// Command lines with the pools that they give and how many messages.
const EXAMPLES: &[(&str, &str, usize)] = &[
    // A count before any size goes to the default pool.
    ("hugepages=8", "1G:0 2M*:8", 0),
    ("hugepages=8 hugepagesz=1G hugepages=2", "1G:2 2M*:8", 0),
    ("hugepagesz=1G hugepages=2", "1G:2 2M*:0", 0),
    ("hugepagesz=2M hugepages=3 hugepagesz=1G hugepages=2", "2M*:3 1G:2", 0),
    ("hugepagesz=2M hugepages=0:1,1:3", "2M*:4 1G:0", 0),
    // Two counts in a row for one pool.
    ("hugepages=1 hugepages=2", "1G:0 2M*:1", 1),
    ("hugepagesz=2M hugepages=1 hugepages=2", "2M*:1 1G:0", 1),
    // A refused size drops one count and no more.
    ("hugepagesz=3M hugepages=4 hugepages=5", "1G:0 2M*:5", 2),
    ("hugepagesz=3M hugepages=4 hugepagesz=1G hugepages=5", "1G:5 2M*:0", 2),
    ("hugepagesz=1G hugepages=1 hugepagesz=3M hugepages=4 hugepages=5", "1G:1 2M*:0", 3),
    // A size named twice; only the default one may be named again, and only while it has no count.
    ("hugepagesz=2M hugepages=1 hugepagesz=2M hugepages=2", "2M*:1 1G:0", 2),
    ("default_hugepagesz=2M hugepagesz=2M hugepages=8", "2M*:8 1G:0", 0),
    ("default_hugepagesz=2M hugepages=8 hugepagesz=2M hugepages=9", "2M*:8 1G:0", 2),
    ("hugepagesz=2M default_hugepagesz=2M hugepagesz=2M hugepages=8", "2M*:8 1G:0", 0),
    // The default size takes the count that was given before.
    ("default_hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=8", "1G*:2 2M:8", 0),
    ("hugepages=2 default_hugepagesz=1G", "1G*:2 2M:0", 0),
    ("hugepages=0:1,2:1 default_hugepagesz=1G", "1G*:2 2M:0", 0),
    ("hugepages=2 default_hugepagesz=1G hugepages=3", "1G*:3 2M:0", 1),
    ("hugepages=2 hugepagesz=1G hugepages=7 default_hugepagesz=1G", "1G*:2 2M:0", 2),
    ("default_hugepagesz=1G default_hugepagesz=2M hugepages=3 hugepages=4", "1G*:4 2M:0", 2),
    ("default_hugepagesz=3M hugepages=3 hugepages=4", "1G:0 2M*:4", 2),
    ("default_hugepagesz=3M default_hugepagesz=1G hugepages=4", "1G*:4 2M:0", 1),
    // Without a chosen default, the count given first beats an explicit one of the same size.
    ("hugepages=8 hugepagesz=2M hugepages=3", "2M*:8 1G:0", 2),
    ("hugepages=0 hugepagesz=2M hugepages=3", "2M*:3 1G:0", 0),
    // Naming the default size selects it.
    ("hugepagesz=2M hugepages=1 hugepagesz=1G hugepages=2 default_hugepagesz=2M hugepages=7", "2M*:7 1G:2", 1),
    // Counts that cannot be read.
    ("hugepages=", "1G:0 2M*:0", 1),
    ("hugepages", "1G:0 2M*:0", 1),
    ("hugepages=x hugepages=4", "1G:0 2M*:4", 1),
    ("hugepages=-1", "1G:0 2M*:0", 1),
    ("hugepages=+1", "1G:0 2M*:0", 1),
    ("hugepages=18446744073709551616", "1G:0 2M*:0", 1),
    ("hugepages=18446744073709551615", "1G:0 2M*:18446744073709551615", 0),
    ("hugepages=8M", "1G:0 2M*:8", 1),
    ("hugepages=0x8", "1G:0 2M*:0", 1),
    // Counts per node.
    ("hugepages=0:2,", "1G:0 2M*:2", 1),
    ("hugepages=0:2,0:3", "1G:0 2M*:3", 1),
    ("hugepages=0:2;1:3", "1G:0 2M*:2", 1),
    ("hugepages=0:2,9:1", "1G:0 2M*:0", 1),
    ("hugepages=0:2,64:1", "1G:0 2M*:0", 1),
    ("hugepages=0:2,1:", "1G:0 2M*:0", 1),
    ("hugepages=0:2,5", "1G:0 2M*:0", 1),
    ("hugepages=:2", "1G:0 2M*:0", 1),
    ("hugepagesz=1G hugepages=0:1,9:3 hugepages=4", "1G:4 2M*:0", 1),
    // Sizes as the kernel reads them.
    ("hugepagesz=2048kB hugepages=1", "2M*:1 1G:0", 1),
    ("hugepagesz=0x200000 hugepages=1", "2M*:1 1G:0", 0),
    ("hugepagesz=huge hugepages=1", "1G:0 2M*:0", 2),
    ("hugepagesz=18446744073711648768 hugepages=1", "2M*:1 1G:0", 1),
    // Words of other subsystems, dashes, quotes and the end of the list.
    ("hugepagesx=1 xhugepages=2 transparent_hugepage=never", "1G:0 2M*:0", 0),
    ("default-hugepagesz=\"1G\" \"hugepages=3\"", "1G*:3 2M:0", 0),
    ("hugepages=1 -- hugepagesz=1G hugepages=2", "1G:0 2M*:1", 0),
    ("hugetlb_cma_only=on hugepage_alloc_threads=4", "1G:0 2M*:0", 1),
];

#[test]
fn counts_and_sizes_by_example() {
    for &(cmdline, want, messages) in EXAMPLES {
        let config = parse(cmdline);
        let said: Vec<String> = config.messages().iter().map(ToString::to_string).collect();
        assert_eq!(pools(&config), want, "{cmdline}: {said:?}");
        assert_eq!(said.len(), messages, "{cmdline}: {said:?}");
    }
}

#[test]
fn counts_per_node_are_kept_apart_and_a_plain_count_overwrites_them() {
    assert_eq!(parse("hugepages=0:1,3:2").default_hstate().request, per_node(&[(0, 1), (3, 2)]));
    assert_eq!(parse("hugepages=0:1 default_hugepagesz=1G").default_hstate().request, per_node(&[(0, 1)]));
    let config = parse("hugepages=0:1,1:1 default_hugepagesz=1G hugepages=5");
    assert_eq!(config.default_hstate().request, total(5));
    let platform = Platform { node_form: NodeForm::Unsupported, ..x86(4) };
    let config = BootConfig::parse("hugepagesz=2M hugepages=0:4", &platform);
    assert_eq!(config.default_hstate().request, PoolRequest::NONE);
    assert_eq!(causes(&config), [CountProblem::NodesUnsupported.into()]);
    let huge = parse("hugepages=0:18446744073709551615,1:18446744073709551615");
    assert_eq!(huge.default_hstate().request.total(), HugeCount::MAX);
}

#[test]
fn an_invalid_count_clears_what_its_pool_had() {
    let config = parse("default_hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=0:1,7:1 hugepages=x");
    assert_eq!(pools(&config), "1G*:2 2M:0");
    let config = parse("hugepages=3 default_hugepagesz=2M hugepages=0:1,7:1");
    assert_eq!(pools(&config), "2M*:0 1G:0");
    let online = Nodemask::first(4);
    assert_eq!(causes(&config), [CountProblem::NoSuchNode { node: 7, online, target: M2 }.into()]);
}

#[test]
fn messages_name_the_parameter_the_reason_and_the_mend() {
    let config = parse("hugepagesz=3M hugepages=4 hugepagesz=2M hugepages=1 hugepages=2");
    let said: Vec<String> = config.messages().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "hugepagesz=3M: refused: there are no huge pages of 3145728 B",
            "hugepages=4: ignored: the size parameter before it was refused",
            "hugepages=2: ignored: the 2M pool got its count already; name another size in between",
        ]
    );
    let severities: Vec<Severity> = config.messages().iter().map(hugetlb::boot::BootMessage::severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning, Severity::Warning]);
    assert_eq!(config.messages()[2].cause, CountProblem::SameTarget(M2).into());
    let config = parse("hugepages=8 hugepagesz=2M hugepages=3");
    let (size, count) = (HugeSize::M2, HugeCount::new(8));
    assert_eq!(
        causes(&config),
        [
            CountProblem::CountReplaced { size, old: HugeCount::new(3) }.into(),
            CountProblem::ImplicitCountUsed { size, count }.into(),
        ]
    );
}

#[test]
fn gigantic_pages_are_allocated_when_their_count_is_seen() {
    let order = |cmdline: &str| {
        let config = parse(cmdline);
        let list = config.allocation_order().map(|(id, h)| {
            assert_eq!(&config.hstates()[id.index()], h);
            format!("{}:{}", h.size, h.request.total().get())
        });
        list.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(order("hugepagesz=2M hugepages=4 hugepagesz=1G hugepages=2"), "1G:2 2M:4");
    assert_eq!(order("hugepages=2 default_hugepagesz=1G"), "1G:2");
    assert_eq!(order("hugepagesz=1G hugepages=0"), "");
    let platform = Platform::new(Arch::Arm64(PageShift::K4), Nodemask::first(1));
    let config =
        BootConfig::parse("hugepagesz=32M hugepages=1 hugepagesz=64K hugepages=3 hugepagesz=1G hugepages=2", &platform);
    let ids: Vec<HstateId> = config.allocation_order().map(|(id, _)| id).collect();
    assert_eq!(ids, [0, 2, 1].map(HstateId::new));
    assert_eq!(pools(&config), "32M:1 64K:3 1G:2 2M*:0");
    // A machine with a small buddy allocator: its default size is gigantic, but the count is known only at the end.
    let toy = Platform { largest_buddy_order: Order::new(4), ..x86(1) };
    let config = BootConfig::parse("hugepages=2", &toy);
    assert_eq!(config.default_hstate().allocation, BootAllocation::AtInit);
    assert_eq!(config.allocation_order().count(), 1);
}

#[test]
fn demotion_goes_to_the_next_smaller_pool() {
    let demote = |cmdline: &str, platform: Platform| {
        let config = BootConfig::parse(cmdline, &platform);
        let list = config.hstates().iter().filter_map(|h| Some(format!("{}>{}", h.size, h.demote_to?)));
        list.collect::<Vec<_>>().join(" ")
    };
    let arm64 = |base| Platform::new(Arch::Arm64(base), Nodemask::first(1));
    assert_eq!(demote("", x86(1)), "1G>2M");
    assert_eq!(demote("", arm64(PageShift::K4)), "1G>32M 32M>2M 2M>64K");
    assert_eq!(demote("", arm64(PageShift::K64)), "16G>512M 512M>2M");
    assert_eq!(demote("hugepagesz=1G", x86(1).without_runtime_gigantic()), "");
    assert_eq!(demote("", arm64(PageShift::K4).without_runtime_gigantic()), "2M>64K");
    assert_eq!(demote("hugetlb_cma=1G", x86(1)), "1G>2M");
    assert_eq!(demote("hugetlb_cma=1G", arm64(PageShift::K4)), "1G>32M 32M>2M");
    assert_eq!(demote("hugetlb_cma=1M", arm64(PageShift::K4)), "1G>32M 32M>2M 2M>64K");
}

fn areas(config: &BootConfig, nodes: u8, refusing: &[u8]) -> Vec<(u8, u64)> {
    let plan = config.cma().expect("memory is set aside");
    let refuse = |area: CmaArea| {
        if refusing.contains(&area.node.get()) { CmaOutcome::Refused } else { CmaOutcome::Reserved }
    };
    let areas = plan.reserve(Nodemask::first(nodes), |_| Bytes::gib(8), refuse);
    areas.into_iter().map(|a| (a.node.get(), a.size.get() >> 30)).collect()
}

#[test]
fn memory_is_set_aside_node_by_node() {
    let config = parse("hugetlb_cma=3G");
    assert_eq!(config.cma().expect("asked for").request(), &CmaRequest::Spread(Bytes::gib(3)));
    assert_eq!(areas(&config, 4, &[]), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(areas(&config, 4, &[1]), [(0, 1), (2, 1), (3, 1)]);
    assert_eq!(areas(&config, 2, &[]), [(0, 2), (1, 1)]);
    assert_eq!(areas(&config, 1, &[]), [(0, 3)]);
    assert_eq!(areas(&config, 1, &[0]), []);
    assert_eq!(areas(&parse("hugetlb_cma=5G"), 4, &[]), [(0, 2), (1, 2), (2, 1)]);
    assert_eq!(areas(&parse("hugetlb_cma=1500M"), 1, &[]), [(0, 2)]);

    let config = parse("hugetlb_cma=0:1G,2:2500M");
    assert_eq!(areas(&config, 4, &[]), [(0, 1), (2, 3)]);
    assert_eq!(areas(&config, 4, &[0]), [(2, 3)]);
    assert!(config.messages().is_empty());
}

#[test]
fn memory_that_cannot_be_set_aside_is_dropped_with_a_message() {
    let unit = HugeSize::G1;
    let dropped = |cmdline: &str| {
        let config = parse(cmdline);
        assert_eq!(config.cma(), None, "{cmdline}");
        causes(&config)
    };
    assert_eq!(dropped("hugetlb_cma=1M"), [CmaProblem::TooSmall { asked: Bytes::mib(1), unit }.into()]);
    assert_eq!(dropped("hugetlb_cma=0"), [CmaProblem::TooSmall { asked: Bytes::ZERO, unit }.into()]);
    assert_eq!(dropped("hugetlb_cma=lots"), [CmaProblem::NotASize.into()]);
    assert_eq!(dropped("hugetlb_cma=0:"), [CmaProblem::NotASize.into()]);
    assert_eq!(dropped("hugetlb_cma="), [BootCause::NoValue]);
    assert_eq!(dropped("hugetlb_cma=0:1G,2G"), [CmaProblem::PlainAfterNode.into()]);
    assert_eq!(
        dropped("hugetlb_cma=0:1M,9:1G"),
        [
            CmaProblem::NodeTooSmall { node: NodeId::new(0), asked: Bytes::mib(1), unit }.into(),
            CmaProblem::NoSuchNode { node: 9, online: Nodemask::first(4) }.into(),
        ]
    );
    assert_eq!(
        dropped("hugetlb_cma=16E"),
        [BootCause::Wrapped(Bytes::ZERO), CmaProblem::TooSmall { asked: Bytes::ZERO, unit }.into(),]
    );
    let without = BootConfig::parse("hugetlb_cma=4G", &x86(1).without_gigabyte_pages());
    assert_eq!(causes(&without), [CmaProblem::Unsupported(unit).into()]);

    let kept = parse("hugetlb_cma=0:1G,1:512M,1:2G,7:1G,2:1Gx");
    assert_eq!(areas(&kept, 4, &[]), [(0, 1), (1, 2), (2, 1)]);
    assert_eq!(kept.messages().len(), 3, "{:?}", kept.messages());
    assert_eq!(areas(&parse("hugetlb_cma=0:1G hugetlb_cma=2G"), 1, &[]), [(0, 2)]);
}

#[test]
fn memory_set_aside_stops_gigantic_pages_at_boot() {
    let config = parse("hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=3 hugetlb_cma=4G");
    assert_eq!(config.hstates()[0].allocation, BootAllocation::SkippedForCma);
    assert_eq!(config.hstates()[0].request, total(2));
    let ids: Vec<HstateId> = config.allocation_order().map(|(id, _)| id).collect();
    assert_eq!(ids, [HstateId::new(1)]);
    assert_eq!(causes(&config), [CmaProblem::SkipsBootAllocation.into()]);
    assert_eq!(config.messages()[0].parameter, Parameter::HugetlbCma);
}

#[test]
fn the_hvo_switch() {
    let hvo = |cmdline: &str| {
        let config = parse(cmdline);
        (config.hvo(), config.messages().len())
    };
    assert_eq!(hvo("hugetlb_free_vmemmap=on"), (HvoDefault::On, 0));
    assert_eq!(hvo("hugetlb-free-vmemmap=off"), (HvoDefault::Off, 0));
    assert_eq!(hvo("hugetlb_free_vmemmap"), (HvoDefault::On, 0));
    assert_eq!(hvo("hugetlb_free_vmemmap=1"), (HvoDefault::On, 0));
    assert_eq!(hvo("hugetlb_free_vmemmap=on hugetlb_free_vmemmap=off"), (HvoDefault::Off, 1));
    assert_eq!(hvo("hugetlb_free_vmemmap=on hugetlb_free_vmemmap=on"), (HvoDefault::On, 0));
    assert_eq!(hvo("hugetlb_free_vmemmap=maybe"), (HvoDefault::Off, 1));
    assert_eq!(hvo("hugetlb_free_vmemmap="), (HvoDefault::Off, 1));
}

/// Pieces that command lines about huge pages are made of, so that chance meets the interesting ones.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "hugepages=",
        "hugepagesz=",
        "default_hugepagesz=",
        "hugetlb_cma=",
        "hugetlb_free_vmemmap=",
        " ",
        "0:",
        "1:",
        ",",
        "2M",
        "1G",
        "64K",
        "3M",
        "7",
        "0x",
        "99999999999999999999",
        "E",
        "%",
        "\"",
        "--",
        "on",
        "-",
        "\u{fc}",
        "\0",
    ];
    prop_oneof![
        8 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

fn platform() -> impl Strategy<Value = Platform> {
    let arch = prop::sample::select(vec![
        Arch::X86_64,
        Arch::Arm64(PageShift::K4),
        Arch::Arm64(PageShift::K16),
        Arch::Arm64(PageShift::K64),
    ]);
    (arch, any::<u64>(), 0..4_u8, 0..=20_u8).prop_map(|(arch, nodes, kind, order)| {
        let online = (0..64).filter(|n| nodes >> n & 1 == 1).map(NodeId::new).collect();
        let platform = Platform::new(arch, online);
        match kind {
            0 => platform.without_gigabyte_pages(),
            1 => platform.without_runtime_gigantic(),
            2 => Platform { largest_buddy_order: Order::new(order), ..platform },
            _ => platform,
        }
    })
}

proptest! {
    #[test]
    fn no_text_panics(pieces in prop::collection::vec(piece(), 0..40), platform in platform()) {
        let cmdline = pieces.concat();
        let config = BootConfig::parse(&cmdline, &platform);
        // What is promised of every configuration.
        let mut sizes: Vec<_> = config.hstates().iter().map(|h| h.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        prop_assert_eq!(sizes.len(), config.hstates().len());
        prop_assert!(sizes.contains(&platform.arch.pmd_size()));
        prop_assert!(config.default_id().index() < config.hstates().len());
        for hstate in config.hstates() {
            prop_assert_eq!(platform.order(hstate.size), Some(hstate.order));
            prop_assert!(hstate.demote_to.is_none_or(|to| to < hstate.size && sizes.contains(&to)));
            if let PoolRequest::PerNode(nodes) = &hstate.request {
                prop_assert!(nodes.keys().all(|&n| platform.online.contains(n)));
            }
        }
        let asked = config.hstates().iter().filter(|h| !h.request.is_none() && h.allocation != BootAllocation::SkippedForCma);
        prop_assert_eq!(config.allocation_order().count(), asked.count());
        for message in config.messages() {
            prop_assert!(!message.to_string().is_empty());
        }
        if let Some(plan) = config.cma() {
            let unit = plan.unit().bytes();
            for area in plan.reserve(platform.online, |_| Bytes::gib(8), |_| CmaOutcome::Reserved) {
                prop_assert!(platform.online.contains(area.node) && area.size.is_multiple_of(unit) && !area.size.is_zero());
            }
        }
    }

    #[test]
    fn text_that_is_no_count_is_not_lost_silently(value in "[!-~]{0,6}[!-~&&[^0-9:,\"]][!-~]{0,6}") {
        let config = parse(&format!("hugepages=\"{value}\""));
        prop_assert!(!config.messages().is_empty(), "{:?}", value);
    }
}
