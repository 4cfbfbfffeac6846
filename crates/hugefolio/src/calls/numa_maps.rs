//! Where the pages of a process lie, area by area.

use std::collections::BTreeMap;

use hugetlbfs::InodeKind;
use mm::Vma;
use units::{HugeCount, InodeId, NodeId, Pid};

use super::Env;
use crate::text::NumaMapsLine;

const ONE: HugeCount = HugeCount::new(1);

/// The lines of a process's areas, in order; nothing for one that is gone.
#[doc(alias = "numa_maps")]
pub(super) fn lines<P: Env>(p: &mut P, pid: Pid) -> Option<Vec<NumaMapsLine>> {
    let (mm, own) = p.with_process(pid, |process| (process.mm, process.origin.policy))?;
    let areas: Vec<Vma> = p.with_vmas(mm, |vmas| vmas.iter().copied().collect())?;
    let mut lines = Vec::new();
    for vma in areas {
        let policy = vma.policy.and_then(|slot| p.with_vmas(mm, |vmas| vmas.policy(slot).copied()).flatten());
        let entries = p.with_table(mm, |table| table.over(vma.range).collect::<Vec<_>>()).unwrap_or_default();
        let mut line = NumaMapsLine {
            start: vma.range.start,
            policy: policy.unwrap_or(own),
            file: file_name(p, vma.inode),
            pages: HugeCount::ZERO,
            anonymous: HugeCount::ZERO,
            dirty: HugeCount::ZERO,
            most_mappings: 0,
            nodes: Vec::new(),
            page: vma.size.bytes(),
        };
        let mut nodes: BTreeMap<NodeId, HugeCount> = BTreeMap::new();
        for (_, entry) in entries {
            let Some(folio) = hugetlb::folio_at(p, entry.pfn) else { continue };
            let (anonymous, mapcount) = p.with_memmap(entry.pfn, |map| {
                map.get(entry.pfn).map_or((false, 0), |f| (f.is_anonymous(), f.mapcount()))
            });
            line.pages += ONE;
            // What is in a file counts as written always.
            let written = entry.dirty || !anonymous;
            line.anonymous += if anonymous { ONE } else { HugeCount::ZERO };
            line.dirty += if written { ONE } else { HugeCount::ZERO };
            line.most_mappings = line.most_mappings.max(mapcount);
            *nodes.entry(folio.node).or_insert(HugeCount::ZERO) += ONE;
        }
        let in_pieces =
            p.with_table(mm, |table| table.pieces_over(vma.range).map(|(_, all)| all.pfn()).collect::<Vec<_>>());
        for pfn in in_pieces.unwrap_or_default() {
            let Some(folio) = hugetlb::folio_at(p, pfn) else { continue };
            (line.pages, line.dirty) = (line.pages + ONE, line.dirty + ONE);
            line.most_mappings =
                line.most_mappings.max(p.with_memmap(pfn, |map| map.get(pfn).map_or(0, |f| f.mapcount())));
            *nodes.entry(folio.node).or_insert(HugeCount::ZERO) += ONE;
        }
        line.nodes = nodes.into_iter().collect();
        lines.push(line);
    }
    Some(lines)
}

/// The name of a file as a process whose root is the mount would find it.
fn file_name<P: Env>(p: &mut P, inode: InodeId) -> String {
    match p.with_inode(inode, |inode| inode.kind) {
        Some(InodeKind::OnMount(mount)) => {
            let named = |m: &mut hugetlbfs::Mount| {
                m.names().find(|&(_, file)| file == inode).map(|(name, _)| format!("/{name}"))
            };
            p.with_mount(mount, named).flatten().unwrap_or_else(|| "/ (deleted)".to_owned())
        }
        Some(InodeKind::Memfd) => "/memfd: (deleted)".to_owned(),
        Some(InodeKind::Segment) => "/SYSV00000000 (deleted)".to_owned(),
        Some(InodeKind::Anonymous) | None => "/anon_hugepage (deleted)".to_owned(),
    }
}
