//! Mappings of the host.

use core::ops::Range;

use units::{Access, GmemId, PageIndex, RangeMap, Scope};

use crate::file::{View, ViewId};
use crate::{Env, folios, life};

/// Why a file is not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The file is gone.
    #[error("no such file")]
    NoFile,
    /// It was made without leave to map it.
    #[error("the file was not made to be mapped")]
    NotMappable,
    /// No pages of the file.
    #[error("{0} to {1} are no pages of the file")]
    Outside(PageIndex, PageIndex),
    /// No such mapping.
    #[error("the file has no such mapping")]
    NoView,
}

/// Maps pages of a file for the host. None is there until it is touched.
///
/// # Errors
/// The file may not be mapped, or not there.
#[doc(alias = "kvm_gmem_mmap")]
pub fn map_host<P: Env>(p: &mut P, id: GmemId, range: Range<PageIndex>) -> Result<ViewId, ViewError> {
    let made = p.with_gmem(id, |file| {
        if !file.mappable {
            return Err(ViewError::NotMappable);
        }
        let pages = range.start.get()..range.end.get();
        if pages.is_empty() || pages.end > file.pages.get() {
            return Err(ViewError::Outside(range.start, range.end));
        }
        let view = ViewId(file.next_view);
        file.next_view += 1;
        file.views.insert(view, View { pages, mapped: RangeMap::new() });
        Ok(view)
    });
    made.unwrap_or(Err(ViewError::NoFile))
}

/// Ends a mapping. It keeps the file alive, so that may be the end of that, too.
///
/// # Errors
/// There is none.
pub fn unmap_host<P: Env>(p: &mut P, id: GmemId, view: ViewId) -> Result<(), ViewError> {
    p.scope(Scope::Gmem(id, Access::Write), |p| {
        let gone = p.with_gmem(id, |file| file.views.remove(&view)).ok_or(ViewError::NoFile)?;
        for (run, ()) in gone.ok_or(ViewError::NoView)?.mapped.iter() {
            folios::drop_mappings(p, id, &run);
        }
        Ok(())
    })?;
    life::end_if_unused(p, id);
    Ok(())
}
