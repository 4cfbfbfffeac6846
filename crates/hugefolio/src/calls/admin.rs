//! What the administrator does: pools, mounts, control groups and files of the kernel.

use charge::{CreateError, EnterError, GroupView, Limit, MemoryView, NoGroup, RemoveError};
use hugetlbfs::{Credentials, MountError, MountOptions, StatFs, UmountError, UmountMode, UnlinkError};
use units::{Bytes, CgroupId, HugeCount, HugeSize, MountId, Pid};

use super::{
    CallError, CgroupCounter, CgroupLimitError, DemoteCallError, Env, KnobError, MountCallError, NoSuchSize, PoolView,
    ResizeCallError, TruncateByNameError, Writer, cgroup, file, knob, mount, pool,
};
use crate::ResizeNodes;

/// What the administrator of a machine does. Sizes are in bytes, counts in huge pages.
pub trait Admin: Env + Sized {
    /// `unlink` of a file of a mount, by the superuser.
    ///
    /// # Errors
    /// No such mount or file.
    fn unlink(&mut self, mount: MountId, name: &str) -> Result<(), UnlinkError> {
        hugetlbfs::unlink(self, &Credentials::root(), mount, name)
    }

    /// Mounts a hugetlbfs.
    ///
    /// # Errors
    /// Limits that contradict each other, or the ledger that refused the minimum.
    fn mount(&mut self, options: &MountOptions) -> Result<MountId, MountError> {
        mount::mount(self, options)
    }

    /// Mounts a hugetlbfs by the text of its options, as `mount -t hugetlbfs -o OPTIONS` does.
    ///
    /// # Errors
    /// An option that a mount does not take, or what [`Admin::mount`] refuses.
    fn mount_with(&mut self, options: &str) -> Result<MountId, MountCallError> {
        mount::mount_by_text(self, options)
    }

    /// Unmounts a hugetlbfs.
    ///
    /// # Errors
    /// Not mounted, or in use.
    fn umount(&mut self, mount: MountId, mode: UmountMode) -> Result<(), UmountError> {
        hugetlbfs::umount(self, mount, mode)
    }

    /// `statfs`.
    fn statfs(&mut self, mount: MountId) -> Option<StatFs> {
        hugetlbfs::statfs(self, mount)
    }

    /// `truncate` of a file of a mount, by name and by the superuser.
    ///
    /// # Errors
    /// No such file, or a size that it cannot have.
    fn truncate(&mut self, mount: MountId, name: &str, size: Bytes) -> Result<(), TruncateByNameError> {
        file::truncate_by(self, &Credentials::root(), mount, name, size)
    }

    /// Makes a control group at a path such as `g0/c0`, without limits. It has the controller if its parent hands it on; the
    /// root does.
    ///
    /// # Errors
    /// No parent, or a name that is taken or cannot be.
    fn create_cgroup(&mut self, path: &str) -> Result<CgroupId, CreateError> {
        cgroup::create(self, path)
    }

    /// Removes a control group. Pages in use are then charged to its parent alone; what was reserved stays on the ancestors until
    /// the reservation goes.
    ///
    /// # Errors
    /// It has processes or children. Charges are no obstacle.
    fn remove_cgroup(&mut self, cgroup: CgroupId) -> Result<(), RemoveError> {
        cgroup::remove(self, cgroup)
    }

    /// The control group at a path; nothing stands for the root.
    ///
    /// # Errors
    /// There is none.
    fn cgroup(&mut self, path: &str) -> Result<Option<CgroupId>, NoGroup> {
        self.with_charges(|c| c.look_up(path))
    }

    /// Limits what a control group and all below it may use or reserve of one page size.
    ///
    /// # Errors
    /// More is charged already; the old limit stays.
    fn set_cgroup_limit(
        &mut self,
        cgroup: CgroupId,
        size: HugeSize,
        counter: CgroupCounter,
        limit: Limit,
    ) -> Result<(), CgroupLimitError> {
        cgroup::set_limit(self, cgroup, size, counter, limit)
    }

    /// What a control group shows of one page size; nothing for one without the controller.
    fn cgroup_view(&mut self, cgroup: CgroupId, size: HugeSize) -> Option<GroupView> {
        cgroup::view(self, cgroup, size)
    }

    /// Limits what a control group and all below it may have of memory, in whole base pages; nothing is no limit. Only huge pages count. What
    /// is charged beyond a new limit stays, and nobody is killed for it.
    ///
    /// # Errors
    /// There is no such group with the memory controller, which only machines have that account huge pages there.
    fn set_memory_limit(&mut self, cgroup: CgroupId, limit: Option<Bytes>) -> Result<(), NoGroup> {
        cgroup::set_memory_limit(self, cgroup, limit)
    }

    /// What a control group shows of its memory; nothing for one without the memory controller.
    fn memory_view(&mut self, cgroup: CgroupId) -> Option<MemoryView> {
        cgroup::memory_view(self, cgroup)
    }

    /// Moves a process into a control group, or into the root. What it is charged for stays where it is.
    ///
    /// # Errors
    /// The group can hold no process.
    fn attach(&mut self, pid: Pid, cgroup: Option<CgroupId>) -> Result<(), CallError<EnterError>> {
        cgroup::attach(self, pid, cgroup)
    }

    /// Reads a file of `/proc` or `/sys`: the HugeTLB part of `/proc/meminfo`, a node's `meminfo`, the files of the pools, those of the
    /// control groups under `/sys/fs/cgroup`, and about ordinary pages `/proc/buddyinfo`, `/proc/pagetypeinfo`, `/proc/zoneinfo`,
    /// `/proc/vmstat`, the indices of `/sys/kernel/debug/extfrag` and the knobs of marks and lists in `/proc/sys/vm`.
    ///
    /// # Errors
    /// No such file, or one that this machine does not have.
    fn read_file(&mut self, path: &str) -> Result<String, KnobError> {
        knob::read(self, path)
    }

    /// Writes a file of `/proc/sys/vm` (`compact_memory` too) or `/sys/kernel/mm/hugepages`, of a node or of a control group; returns how much of the
    /// text it took. A pool that falls short is no error: read back.
    ///
    /// # Errors
    /// No such file, or text that it does not take.
    fn write_file(&mut self, path: &str, text: &str) -> Result<Bytes, KnobError> {
        knob::write(self, path, text.as_bytes(), &Writer::default())
    }

    /// As [`Admin::write_file`], by a writer with a policy.
    ///
    /// # Errors
    /// No such file, or text that it does not take.
    fn write_file_as(&mut self, writer: &Writer, path: &str, text: &str) -> Result<Bytes, KnobError> {
        knob::write(self, path, text.as_bytes(), writer)
    }

    /// Does all that had to be put off where nobody may wait, as the kernel's workers do sooner or later.
    #[doc(alias = "flush_free_hpage_work")]
    fn quiesce(&mut self) {
        hugetlb::quiesce(self);
    }

    /// The counters of a pool.
    ///
    /// # Errors
    /// No pool of that size.
    fn pool(&mut self, size: HugeSize) -> Result<PoolView, NoSuchSize> {
        pool::view(self, size)
    }

    /// Writes `nr_hugepages`: how many persistent pages the pool, or one node's part of it, is to have. Falling short is no
    /// error.
    ///
    /// # Errors
    /// No pool of that size, or no such node.
    fn set_nr_hugepages(
        &mut self,
        size: HugeSize,
        count: HugeCount,
        nodes: ResizeNodes,
    ) -> Result<(), ResizeCallError> {
        let hstate = pool::hstate(self, Some(size))?;
        Ok(hugetlb::set_max(self, hstate.id, count, nodes)?)
    }

    /// Writes `demote`: splits up to `count` free pages that nobody has reserved, of the pool or of one node. Finding fewer is no
    /// error.
    ///
    /// # Errors
    /// No pool of that size, no smaller pool, or no such node.
    fn demote(&mut self, size: HugeSize, count: HugeCount, nodes: ResizeNodes) -> Result<(), DemoteCallError> {
        let hstate = pool::hstate(self, Some(size))?;
        Ok(hugetlb::demote(self, hstate.id, count, nodes)?)
    }

    /// Writes `demote_size`: the size into which pages are split from now on.
    ///
    /// # Errors
    /// No pool of that size, or a size that its pages cannot be demoted to.
    fn set_demote_size(&mut self, size: HugeSize, to: HugeSize) -> Result<(), DemoteCallError> {
        let hstate = pool::hstate(self, Some(size))?;
        let target = self.with_hstates(|all| all.by_size(to)).map(|h| h.id);
        Ok(hugetlb::set_demote_size(self, hstate.id, to, target)?)
    }

    /// Writes `nr_overcommit_hugepages`: how many surplus pages there may be.
    ///
    /// # Errors
    /// No pool of that size, or a size that is never surplus.
    fn set_nr_overcommit(&mut self, size: HugeSize, limit: HugeCount) -> Result<(), ResizeCallError> {
        let hstate = pool::hstate(self, Some(size))?;
        Ok(hugetlb::set_overcommit(self, hstate.id, limit)?)
    }
}

impl<P: Env> Admin for P {}
