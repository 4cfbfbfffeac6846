//! What came of a conformance run.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Comparison, DefectId};
use crate::target::Difference;

/// How a script went. Steps are counted from 0, as the recordings do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every step and the end are equal.
    Equal,
    /// A known defect of the recorded kernel shows at a step.
    Stopped {
        /// The step.
        step: usize,
        /// Its operation.
        op: String,
        /// The defect.
        defect: DefectId,
    },
    /// A step differs.
    Different {
        /// The step.
        step: usize,
        /// Its operation.
        op: String,
        /// Every field that differs.
        differences: Vec<Difference>,
    },
}

/// One script's part of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptReport {
    /// Its name.
    pub script: String,
    /// Its operations.
    pub steps: usize,
    /// Those of them that ran on neither side, because the kernel's refused to run them.
    pub held_back: usize,
    /// How it went.
    pub verdict: Verdict,
}

impl ScriptReport {
    /// The report of a script that has so many operations.
    pub fn of(script: String, steps: usize, compared: &Comparison) -> Self {
        Self { script, steps, held_back: compared.held_back, verdict: compared.verdict.clone() }
    }

    /// The steps before the one that ended the comparison.
    fn equal(&self) -> usize {
        match self.verdict {
            Verdict::Equal => self.steps - self.held_back,
            Verdict::Stopped { step, .. } | Verdict::Different { step, .. } => step,
        }
    }

    /// One flat object for programs.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::json!({ "script": self.script, "steps": self.steps, "equal": self.equal() });
        if self.held_back > 0 {
            object["held_back"] = self.held_back.into();
        }
        match &self.verdict {
            Verdict::Equal => object["verdict"] = "equal".into(),
            Verdict::Stopped { step, op, defect } => {
                object["verdict"] = "not judged".into();
                object["step"] = (*step).into();
                object["op"] = op.as_str().into();
                object["defect"] = defect.0.into();
            }
            Verdict::Different { step, op, differences } => {
                object["verdict"] = "different".into();
                object["step"] = (*step).into();
                object["op"] = op.as_str().into();
                object["differences"] = serde_json::json!(differences);
            }
        }
        object
    }
}

/// The counts of a report: `steps = equal + not_judged + different`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Scripts run.
    pub scripts: usize,
    /// Their operations.
    pub steps: usize,
    /// Steps compared and equal.
    pub equal: usize,
    /// Steps at and after a known defect.
    pub not_judged: usize,
    /// Steps at and after a difference.
    pub different: usize,
}

/// A whole conformance run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The scripts in order.
    pub scripts: Vec<ScriptReport>,
}

impl Report {
    /// The counts.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { scripts: self.scripts.len(), ..Totals::default() };
        for script in &self.scripts {
            let rest = script.steps - script.equal();
            totals.steps += script.steps;
            totals.equal += script.equal();
            match script.verdict {
                Verdict::Equal | Verdict::Stopped { .. } => totals.not_judged += rest,
                Verdict::Different { .. } => {
                    totals.not_judged += script.held_back;
                    totals.different += rest - script.held_back;
                }
            }
        }
        totals
    }

    /// For each defect that stopped a script: how many scripts, and how many steps were not judged.
    pub fn not_judged(&self) -> BTreeMap<DefectId, (usize, usize)> {
        let mut by_defect = BTreeMap::new();
        for script in &self.scripts {
            if let Verdict::Stopped { defect, .. } = script.verdict {
                let (scripts, steps) = by_defect.entry(defect).or_insert((0, 0));
                *scripts += 1;
                *steps += script.steps - script.equal() - script.held_back;
            }
        }
        by_defect
    }

    /// Whether nothing differs and at most 5 % of the steps are not judged.
    pub fn passed(&self) -> bool {
        let totals = self.totals();
        totals.different == 0 && totals.not_judged * 20 <= totals.steps
    }
}

impl fmt::Display for Report {
    /// The differing steps, then what was not judged, then the counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for script in &self.scripts {
            if let Verdict::Different { step, op, differences } = &script.verdict {
                writeln!(f, "{} step {step}: {op}", script.script)?;
                differences.iter().try_for_each(|difference| writeln!(f, "  {difference}"))?;
            }
        }
        let mut not_judged: Vec<String> = self
            .not_judged()
            .iter()
            .map(|(defect, (scripts, steps))| format!("{defect} {steps} steps in {scripts} scripts"))
            .collect();
        let held_back: usize = self.scripts.iter().map(|script| script.held_back).sum();
        if held_back > 0 {
            not_judged.push(format!("{held_back} steps that the kernel's side does not run"));
        }
        let not_judged = if not_judged.is_empty() { "none".to_owned() } else { not_judged.join(", ") };
        let Totals { scripts, steps, equal, not_judged: u, different } = self.totals();
        writeln!(f, "not judged: {not_judged}")?;
        writeln!(f, "conform: {scripts} scripts, {steps} steps: {equal} equal, {u} not judged, {different} different")
    }
}
