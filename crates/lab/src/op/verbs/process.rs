//! Processes.

use crate::op::amount::{ExitCode, UserId};
use crate::op::name::{Actor, CgroupName};
use crate::op::table::verbs;

verbs! {
    about Process

    /// Starts an empty process. A control group that refuses it leaves none behind.
    Spawn = "spawn" by actor {
        /// The group it starts in.
        cg: Option<CgroupName> ["cg"];
        /// Its user; any but 0 has no capabilities.
        uid: Option<UserId> ["uid"];
        /// Its group of users.
        gid: Option<UserId> ["gid"];
    }

    /// Kills a process.
    Kill = "kill" by actor {}

    /// Does nothing; the counters are read all the same.
    Nop = "nop" {}

    /// Copies a process.
    Fork = "fork" by actor {
        /// The new process.
        child: Actor ["c"];
    }

    /// Ends a process.
    Exit = "exit" by actor {
        /// Its exit status.
        code: Option<ExitCode> ["code"];
    }
}
