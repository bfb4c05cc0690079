//! Switches: each mend can be taken out, to see that the simulator finds what it is for.

/// What the tools do in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Before positions count, no standby listens any more to an old primary that its own copy did
    /// not fence.
    pub hold: bool,
    /// The other standbys are pointed to the new primary by the failover.
    pub follow: bool,
    /// A fenced host keeps a mark, and standby settings that make its server take no writes.
    pub fence_mark: bool,
    /// Of three or more hosts, only who sees more than half promotes.
    pub quorum: bool,
    /// Each pool is asked by itself, and one without a primary is made to look again.
    pub pool_search: bool,
    /// A promotion takes a timeline number that no host in reach has used.
    pub unique_timelines: bool,
    /// The story is kept.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hold: true,
            follow: true,
            fence_mark: true,
            quorum: true,
            pool_search: true,
            unique_timelines: true,
            trace: false,
        }
    }
}

impl Options {
    /// The tools without any of the mends.
    pub fn today() -> Self {
        Self {
            hold: false,
            follow: false,
            fence_mark: false,
            quorum: false,
            pool_search: false,
            unique_timelines: false,
            trace: false,
        }
    }

    /// The names of the switches.
    pub const NAMES: [&str; 6] = [
        "hold",
        "follow",
        "fence_mark",
        "quorum",
        "pool_search",
        "unique_timelines",
    ];

    /// Takes out the mend of this name; false: there is none.
    pub fn take_out(&mut self, name: &str) -> bool {
        let switch = match name {
            "hold" => &mut self.hold,
            "follow" => &mut self.follow,
            "fence_mark" => &mut self.fence_mark,
            "quorum" => &mut self.quorum,
            "pool_search" => &mut self.pool_search,
            "unique_timelines" => &mut self.unique_timelines,
            _ => return false,
        };
        *switch = false;
        true
    }
}
