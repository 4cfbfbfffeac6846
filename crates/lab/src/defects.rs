//! The known accounting defects of the recorded kernel, each with its trigger and its exact difference.

use hugefolio::Event;

use crate::conform::{DefectWatch, Observable};
use crate::instance::Instance;

impl Observable for Instance {
    /// What the machine did in the last operation.
    type Observation = Vec<Event>;

    fn observe(&mut self) -> Self::Observation {
        self.events().to_vec()
    }
}

/// A watcher for every known defect.
pub fn watches() -> Vec<Box<dyn DefectWatch<<Instance as Observable>::Observation>>> {
    Vec::new()
}
