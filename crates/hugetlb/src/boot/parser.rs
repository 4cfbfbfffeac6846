//! The parameters, one after the other.

use alloc_crate::borrow::ToOwned;
use alloc_crate::vec::Vec;
use core::num::NonZeroU32;

use page_alloc::CmaUse;
use units::{Bytes, HstateId, HugeSize, Order};

use super::arguments::Argument;
use super::cma::{CmaParameter, CmaPlan, Remark};
use super::counts;
use super::memparse::{Exactness, memparse};
use super::message::{BootCause, BootMessage, CmaProblem, CountProblem, CountTarget, Parameter, SizeProblem};
use super::platform::{Platform, RuntimeGigantic};
use super::{BootAllocation, BootConfig, BootHstate, HvoDefault, PoolRequest, RegisteredBy};

/// Whether a `hugepages=` may be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SizeParameter {
    /// None was seen, or the last one was accepted, or a count was dropped for the last refusal already.
    Accepted,
    /// The last one was refused: the next count is dropped.
    Refused,
}

/// What is known after the parameters read so far.
#[derive(Debug)]
pub(super) struct Parser<'p> {
    platform: &'p Platform,
    hstates: Vec<BootHstate>,
    /// The pool named last.
    selected: Option<usize>,
    size_parameter: SizeParameter,
    /// The count given before any size was named.
    implicit: PoolRequest,
    last_target: Option<CountTarget>,
    /// The pool that `default_hugepagesz=` chose.
    chosen_default: Option<usize>,
    early: Vec<HstateId>,
    cma: CmaParameter,
    cma_use: CmaUse,
    threads: Option<NonZeroU32>,
    hvo: Option<HvoDefault>,
    messages: Vec<BootMessage>,
}

impl<'p> Parser<'p> {
    pub(super) fn new(platform: &'p Platform) -> Self {
        Self {
            platform,
            hstates: Vec::new(),
            selected: None,
            size_parameter: SizeParameter::Accepted,
            implicit: PoolRequest::NONE,
            last_target: None,
            chosen_default: None,
            early: Vec::new(),
            cma: CmaParameter::default(),
            cma_use: CmaUse::First,
            threads: None,
            hvo: None,
            messages: Vec::new(),
        }
    }

    /// Takes in one word of the command line.
    pub(super) fn argument(&mut self, argument: &Argument) {
        let Some(parameter) = Parameter::named(&argument.name) else {
            return;
        };
        let value = argument.value.as_deref().unwrap_or_default();
        match parameter {
            Parameter::HugetlbFreeVmemmap => self.free_vmemmap(argument.value.as_deref()),
            _ if value.is_empty() => self.say(parameter, value, BootCause::NoValue),
            Parameter::Hugepages => self.hugepages(value),
            Parameter::Hugepagesz => self.hugepagesz(value),
            Parameter::DefaultHugepagesz => self.default_hugepagesz(value),
            Parameter::HugetlbCma => {
                let remarks = self.cma.read(value);
                self.say_all(remarks);
            }
            Parameter::HugetlbCmaOnly => self.cma_only(value),
            Parameter::HugepageAllocThreads => self.alloc_threads(value),
        }
    }

    fn hugepages(&mut self, value: &str) {
        let target = match self.selected {
            Some(index) => CountTarget::Size(self.hstates[index].size),
            None => CountTarget::Default,
        };
        let dropped = if self.size_parameter == SizeParameter::Refused {
            self.size_parameter = SizeParameter::Accepted;
            Some(CountProblem::AfterRefusedSize)
        } else if self.last_target == Some(target) {
            Some(CountProblem::SameTarget(target))
        } else {
            None
        };
        if let Some(problem) = dropped {
            return self.say(Parameter::Hugepages, value, problem);
        }
        match counts::read(value, target, self.platform) {
            Ok(counts) => {
                for remark in counts.remarks {
                    self.say(Parameter::Hugepages, value, remark);
                }
                self.count(counts.request, value);
                self.last_target = Some(target);
            }
            Err(problem) => {
                if problem != CountProblem::NodesUnsupported {
                    *self.target_request() = PoolRequest::NONE;
                }
                self.say(Parameter::Hugepages, value, problem);
            }
        }
    }

    fn target_request(&mut self) -> &mut PoolRequest {
        match self.selected {
            Some(index) => &mut self.hstates[index].request,
            None => &mut self.implicit,
        }
    }

    /// Gives `request` to the pool named last, or keeps it for the default pool.
    fn count(&mut self, request: PoolRequest, value: &str) {
        let old = core::mem::replace(self.target_request(), request);
        let Some(index) = self.selected else {
            return;
        };
        self.say_replaced(index, &old, value);
        self.allocate_early(index);
    }

    fn say_replaced(&mut self, index: usize, old: &PoolRequest, value: &str) {
        if !old.is_none() {
            let problem = CountProblem::CountReplaced { size: self.hstates[index].size, old: old.total() };
            self.say(Parameter::Hugepages, value, problem);
        }
    }

    /// Gigantic pages come from boot memory, which is gone later: they are allocated at once.
    fn allocate_early(&mut self, index: usize) {
        if self.platform.is_gigantic(self.hstates[index].order) {
            self.hstates[index].allocation = BootAllocation::AtParameter;
            if !self.early.contains(&hstate_id(index)) {
                self.early.push(hstate_id(index));
            }
        }
    }

    fn hugepagesz(&mut self, value: &str) {
        self.size_parameter = SizeParameter::Refused;
        let Some((size, order)) = self.size(Parameter::Hugepagesz, value) else {
            return;
        };
        match self.find(size) {
            // `default_hugepagesz=2M hugepagesz=2M hugepages=8` is how many write it.
            Some(index) if self.chosen_default == Some(index) && self.hstates[index].request.is_none() => {
                self.selected = Some(index);
            }
            Some(_) => return self.say(Parameter::Hugepagesz, value, SizeProblem::Twice(size)),
            None => self.selected = Some(self.register(size, order, RegisteredBy::CommandLine)),
        }
        self.size_parameter = SizeParameter::Accepted;
    }

    fn default_hugepagesz(&mut self, value: &str) {
        self.size_parameter = SizeParameter::Refused;
        if let Some(index) = self.chosen_default {
            let problem = SizeProblem::DefaultTwice(self.hstates[index].size);
            return self.say(Parameter::DefaultHugepagesz, value, problem);
        }
        let Some((size, order)) = self.size(Parameter::DefaultHugepagesz, value) else {
            return;
        };
        let index = self.register(size, order, RegisteredBy::CommandLine);
        self.selected = Some(index);
        self.chosen_default = Some(index);
        self.size_parameter = SizeParameter::Accepted;
        if !self.implicit.is_none() {
            self.use_implicit_count(index);
            self.allocate_early(index);
        }
    }

    /// Gives the count from before any size was named to the pool that turned out to be the default one.
    fn use_implicit_count(&mut self, index: usize) {
        let implicit = core::mem::replace(&mut self.implicit, PoolRequest::NONE);
        if implicit.is_none() {
            return;
        }
        let count = implicit.total();
        let old = core::mem::replace(&mut self.hstates[index].request, implicit);
        if !old.is_none() {
            let value = alloc_crate::format!("{}", count.get());
            self.say_replaced(index, &old, &value);
            let size = self.hstates[index].size;
            self.say(Parameter::Hugepages, &value, CountProblem::ImplicitCountUsed { size, count });
        }
    }

    fn size(&mut self, parameter: Parameter, value: &str) -> Option<(HugeSize, Order)> {
        let Some(number) = memparse(value) else {
            self.say(parameter, value, SizeProblem::NotASize);
            return None;
        };
        let bytes = Bytes::new(number.value);
        if number.exactness == Exactness::Wrapped {
            self.say(parameter, value, BootCause::Wrapped(bytes));
        }
        let found = HugeSize::from_bytes(bytes).and_then(|size| self.platform.order(size).map(|order| (size, order)));
        match found {
            None => self.say(parameter, value, SizeProblem::Unsupported(bytes)),
            Some(_) if !number.rest.is_empty() => {
                self.say(parameter, value, BootCause::TrailingText(number.rest.to_owned()));
            }
            Some(_) => {}
        }
        found
    }

    fn find(&self, size: HugeSize) -> Option<usize> {
        self.hstates.iter().position(|h| h.size == size)
    }

    /// The place of the pool of `size`, which is made if there is none.
    fn register(&mut self, size: HugeSize, order: Order, registered_by: RegisteredBy) -> usize {
        self.find(size).unwrap_or_else(|| {
            self.hstates.push(BootHstate {
                size,
                order,
                request: PoolRequest::NONE,
                registered_by,
                allocation: BootAllocation::AtInit,
                demote_to: None,
            });
            self.hstates.len() - 1
        })
    }

    /// A bare name means on.
    fn free_vmemmap(&mut self, value: Option<&str>) {
        let text = value.unwrap_or("on");
        let switch = match switch(text) {
            Some(true) => HvoDefault::On,
            Some(false) => HvoDefault::Off,
            None => return self.say(Parameter::HugetlbFreeVmemmap, text, BootCause::NotASwitch),
        };
        if self.hvo.replace(switch).is_some_and(|old| old != switch) {
            self.say(Parameter::HugetlbFreeVmemmap, text, BootCause::Replaces);
        }
    }

    fn cma_only(&mut self, value: &str) {
        match switch(value) {
            Some(only) => self.cma_use = if only { CmaUse::Only } else { CmaUse::First },
            None => self.say(Parameter::HugetlbCmaOnly, value, BootCause::NotASwitch),
        }
    }

    fn alloc_threads(&mut self, value: &str) {
        match value.parse().ok().and_then(NonZeroU32::new) {
            Some(threads) => self.threads = Some(threads),
            None => self.say(Parameter::HugepageAllocThreads, value, BootCause::NotThreads),
        }
    }

    /// Registers what the architecture has anyway and settles everything that depends on the whole command line.
    pub(super) fn finish(mut self) -> BootConfig {
        for size in self.platform.automatic_sizes() {
            if let Some(order) = self.platform.order(size) {
                self.register(size, order, RegisteredBy::Architecture);
            }
        }
        let pmd = self.platform.arch.pmd_size();
        let default = self.chosen_default.unwrap_or_else(|| {
            let index = self.find(pmd).expect("the architecture always has its PMD size");
            self.use_implicit_count(index);
            index
        });
        let cma = self.finish_cma();
        self.set_demote_orders(cma.is_some());
        BootConfig {
            hstates: self.hstates,
            default: hstate_id(default),
            early: self.early,
            cma_use: if cma.is_some() { self.cma_use } else { CmaUse::First },
            cma,
            threads: self.threads,
            hvo: self.hvo.unwrap_or_default(),
            messages: self.messages,
        }
    }

    /// Gigantic pages are not allocated at boot where memory is set aside for them.
    fn finish_cma(&mut self) -> Option<CmaPlan> {
        let cma = core::mem::take(&mut self.cma);
        let value = cma.value();
        let (plan, remarks) = cma.plan(self.platform);
        self.say_all(remarks);
        if plan.is_none() && self.cma_use == CmaUse::Only {
            self.say(Parameter::HugetlbCmaOnly, "on", CmaProblem::OnlyWithoutAreas);
        }
        plan.as_ref()?;
        // Where gigantic pages come from areas alone, those of boot do, too.
        if self.cma_use == CmaUse::Only {
            return plan;
        }
        let mut skipped = false;
        for hstate in &mut self.hstates {
            if self.platform.is_gigantic(hstate.order) {
                hstate.allocation = BootAllocation::SkippedForCma;
                skipped |= !hstate.request.is_none();
            }
        }
        if skipped {
            self.say(Parameter::HugetlbCma, &value, CmaProblem::SkipsBootAllocation);
        }
        plan
    }

    /// Demotion goes to the next smaller pool. A pool whose pages cannot be freed has no such target; nor, while
    /// `hugetlb_cma=` is in force, has a pool up to the PMD size.
    fn set_demote_orders(&mut self, cma: bool) {
        let pmd = self.platform.arch.pmd_size();
        let sizes: Vec<HugeSize> = self.hstates.iter().map(|h| h.size).collect();
        for hstate in &mut self.hstates {
            let fixed = self.platform.is_gigantic(hstate.order)
                && self.platform.runtime_gigantic == RuntimeGigantic::Unsupported;
            if fixed || (cma && hstate.size <= pmd) {
                continue;
            }
            hstate.demote_to = sizes.iter().copied().filter(|&size| size < hstate.size).max();
        }
    }

    fn say(&mut self, parameter: Parameter, value: &str, cause: impl Into<BootCause>) {
        self.messages.push(BootMessage { parameter, value: value.to_owned(), cause: cause.into() });
    }

    fn say_all(&mut self, remarks: Vec<Remark>) {
        for (value, cause) in remarks {
            self.say(Parameter::HugetlbCma, &value, cause);
        }
    }
}

/// `on` and `off`, in the spellings that every boolean parameter has.
fn switch(text: &str) -> Option<bool> {
    let mut letters = text.chars().map(|c| c.to_ascii_lowercase());
    match (letters.next(), letters.next()) {
        (Some('y' | 't' | '1'), _) | (Some('o'), Some('n')) => Some(true),
        (Some('n' | 'f' | '0'), _) | (Some('o'), Some('f')) => Some(false),
        _ => None,
    }
}

/// A place in the order of registration; there are never more pools than sizes of one architecture.
pub(super) fn hstate_id(index: usize) -> HstateId {
    HstateId::new(u8::try_from(index).expect("an architecture has a handful of huge page sizes"))
}
