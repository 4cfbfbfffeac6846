//! Control groups: where the task is, and what the groups from there upwards allow.

use charge::GroupVersion;
use units::{Bytes, HugeCount, HugeSize};

use super::files::{HostError, HostFiles, HostProblem, Page, error, names_in};
use super::host::{GroupCount, HostGroup, group_size};
use super::mounts::{MountLine, below};
use crate::text::number;

const OWN_GROUPS: &str = "/proc/self/cgroup";
const USUAL_MOUNT: &str = "/sys/fs/cgroup";

/// A group in a hierarchy that can account huge pages.
pub(super) struct Seat {
    version: GroupVersion,
    /// Where the hierarchy is mounted.
    mount: String,
    /// The group below that; empty for the top.
    path: String,
}

impl Seat {
    /// Where the group's files are.
    pub(super) fn folder(&self) -> String {
        format!("{}{}", self.mount, self.path)
    }
}

/// Where the task is, or will be if `asked` says so; nothing where no hierarchy can be seen.
pub(super) fn seat(
    files: &mut dyn HostFiles,
    table: &[MountLine],
    asked: Option<&str>,
) -> Result<Option<Seat>, HostError> {
    let Some((version, root, mount)) = hierarchy(files, table)? else {
        return asked.map_or(Ok(None), |asked| Err(error(asked, NO_GROUP)));
    };
    let Some(asked) = asked else {
        let own = own_group(files, version)?;
        let Some((page, line, own)) = own else { return Ok(None) };
        // A hierarchy may be mounted from a group on downwards.
        let path = below(&own, &root).filter(|path| !path.split('/').any(|part| part == ".."));
        let path =
            path.ok_or_else(|| page.bad(line, &own, "a group below the mounted one (name one with --cgroup)"))?;
        return Ok(Some(Seat { version, mount, path: path.trim_end_matches('/').to_owned() }));
    };
    let path = below(asked, &mount).unwrap_or(asked).trim_end_matches('/');
    if path.split('/').any(|part| part == "..") || !(path.is_empty() || path.starts_with('/')) {
        return Err(error(asked, HostProblem::BadPath));
    }
    let seat = Seat { version, mount, path: path.to_owned() };
    let folder = seat.folder();
    if names_in(files, &folder)?.is_none() {
        return Err(error(&folder, NO_GROUP));
    }
    Ok(Some(seat))
}

const NO_GROUP: HostProblem =
    HostProblem::NoFile("a control group is named by its path below the root group, as in /a/b");

/// The hierarchy that accounts huge pages: the old one with this controller if there is such, or else the unified one.
fn hierarchy(
    files: &mut dyn HostFiles,
    table: &[MountLine],
) -> Result<Option<(GroupVersion, String, String)>, HostError> {
    let old = table.iter().find(|line| line.kind == "cgroup" && line.options.split(',').any(|word| word == "hugetlb"));
    let unified = table.iter().find(|line| line.kind == "cgroup2");
    let found = old.map(|line| (GroupVersion::V1, line)).or(unified.map(|line| (GroupVersion::V2, line)));
    if let Some((version, line)) = found {
        return Ok(Some((version, line.root.clone(), line.dir.trim_end_matches('/').to_owned())));
    }
    let usual =
        names_in(files, USUAL_MOUNT)?.is_some_and(|names| names.iter().any(|name| name == "cgroup.controllers"));
    Ok((table.is_empty() && usual).then(|| (GroupVersion::V2, "/".to_owned(), USUAL_MOUNT.to_owned())))
}

/// The task's own group, with the line that says so.
fn own_group(files: &mut dyn HostFiles, version: GroupVersion) -> Result<Option<(Page, usize, String)>, HostError> {
    let Some(page) = Page::find(files, OWN_GROUPS)? else { return Ok(None) };
    let mut own = None;
    for (n, line) in page.lines() {
        let mut words = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (words.next(), words.next(), words.next()) else {
            return Err(page.bad(n, line, "`N:CONTROLLERS:/PATH`"));
        };
        let fits = match version {
            GroupVersion::V1 => controllers.split(',').any(|word| word == "hugetlb"),
            GroupVersion::V2 => id == "0" && controllers.is_empty(),
        };
        if fits {
            own = Some((n, path.to_owned()));
        }
    }
    Ok(own.map(|(n, path)| (page, n, path)))
}

/// The accounted groups from the task's own upwards. A group for which the controller is not switched on has no files about
/// huge pages; its tasks are charged to the next one above that has.
pub(super) fn groups(
    files: &mut dyn HostFiles,
    seat: Option<&Seat>,
    sizes: &[HugeSize],
) -> Result<Vec<HostGroup>, HostError> {
    let Some(seat) = seat else { return Ok(Vec::new()) };
    let mut groups = Vec::new();
    let mut folder = seat.folder();
    loop {
        let names = names_in(files, &folder)?.unwrap_or_default();
        if names.iter().any(|name| name.starts_with("hugetlb.")) {
            groups.push(group(files, &folder, seat.version, sizes, &names)?);
        }
        match folder.rfind('/') {
            Some(end) if end >= seat.mount.len() => folder.truncate(end),
            _ => return Ok(groups),
        }
    }
}

fn group(
    files: &mut dyn HostFiles,
    folder: &str,
    version: GroupVersion,
    sizes: &[HugeSize],
    names: &[String],
) -> Result<HostGroup, HostError> {
    let (limit, charged) = match version {
        GroupVersion::V1 => ("limit_in_bytes", "usage_in_bytes"),
        GroupVersion::V2 => ("max", "current"),
    };
    let mut counts = Vec::new();
    for &size in sizes {
        let prefix = format!("hugetlb.{}.", group_size(size));
        let file = |name: &str| format!("{folder}/{prefix}{name}");
        let mut count = GroupCount {
            usage: pages(files, &file(charged), size)?,
            usage_limit: pages(files, &file(limit), size)?,
            ..GroupCount::default()
        };
        // Old kernels count no reservations.
        if names.iter().any(|name| name.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with("rsvd."))) {
            count.rsvd = pages(files, &file(&format!("rsvd.{charged}")), size)?;
            count.rsvd_limit = pages(files, &file(&format!("rsvd.{limit}")), size)?;
        }
        counts.push((size, count));
    }
    Ok(HostGroup { folder: folder.to_owned(), version, counts })
}

/// Bytes, or `max`.
fn pages(files: &mut dyn HostFiles, path: &str, size: HugeSize) -> Result<HugeCount, HostError> {
    let page = Page::need(files, path, "a group with the controller has it for every pool")?;
    let expected = "`max` or a number of bytes below 2^64";
    let line = page.only_line(expected)?;
    if line == "max" {
        return Ok(HugeCount::MAX);
    }
    number(line).map(|n| size.count_floor(Bytes::new(n))).ok_or_else(|| page.bad(1, line, expected))
}
