//! WAL as a tree of branches. The server and the rules see timeline *numbers*; the branch is the
//! truth: two promotions from one timeline give two branches that may have the same number.

use failover_rules::facts::history::History;
use failover_rules::facts::lsn::Lsn;

/// A position on a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The branch.
    pub branch: usize,
    /// The position.
    pub lsn: u64,
}

#[derive(Clone, Debug)]
struct Branch {
    /// Where it comes from: the last position that both have.
    parent: Option<At>,
    timeline: u32,
    /// The host whose primary writes it.
    owner: usize,
    /// A person began it by mistake.
    mistaken: bool,
}

/// All branches that ever were.
#[derive(Clone, Debug)]
pub struct Wal {
    branches: Vec<Branch>,
}

impl Wal {
    /// The first timeline, written by the primary of `owner`.
    pub fn new(owner: usize) -> Self {
        let first = Branch {
            parent: None,
            timeline: 1,
            owner,
            mistaken: false,
        };
        Self {
            branches: vec![first],
        }
    }

    /// Begins a branch at `at`.
    pub fn fork(&mut self, at: At, timeline: u32, owner: usize) -> usize {
        self.branches.push(Branch {
            parent: Some(at),
            timeline,
            owner,
            mistaken: false,
        });
        self.branches.len() - 1
    }

    /// The number of a branch's timeline.
    pub fn timeline(&self, branch: usize) -> u32 {
        self.branches[branch].timeline
    }

    /// A person has begun this branch by mistake.
    pub fn is_mistake(&mut self, branch: usize) {
        self.branches[branch].mistaken = true;
    }

    /// Whether a branch, or one that it comes from, was begun by mistake.
    pub fn was_mistake(&self, branch: usize) -> bool {
        let it = &self.branches[branch];
        it.mistaken || it.parent.is_some_and(|it| self.was_mistake(it.branch))
    }

    /// Where a branch begins.
    pub fn begin(&self, branch: usize) -> u64 {
        self.branches[branch].parent.map_or(0, |at| at.lsn)
    }

    /// The branch by which whoever is at `at` came through a timeline.
    pub fn begin_of(&self, at: At, timeline: u32) -> Option<usize> {
        let mut branch = at.branch;
        while self.timeline(branch) != timeline {
            branch = self.branches[branch].parent?.branch;
        }
        Some(branch)
    }

    /// Who writes a branch.
    pub fn owner(&self, branch: usize) -> usize {
        self.branches[branch].owner
    }

    /// Whether whoever is at `at` has `row`.
    pub fn contains(&self, at: At, row: At) -> bool {
        let mut here = at;
        loop {
            if here.branch == row.branch {
                return row.lsn <= here.lsn;
            }
            match self.branches[here.branch].parent {
                Some(parent) => here = parent,
                None => return false,
            }
        }
    }

    /// The history as the server writes it, by numbers.
    pub fn history(&self, branch: usize) -> Option<History> {
        let mut lines = Vec::new();
        let mut here = &self.branches[branch];
        let timeline = here.timeline;
        while let Some(at) = here.parent {
            let parent = &self.branches[at.branch];
            if parent.timeline != here.timeline {
                let (high, low) = (at.lsn >> 32, at.lsn & 0xffff_ffff);
                lines.push(format!("{}\t{high:X}/{low:X}\n", parent.timeline));
            }
            here = parent;
        }
        if lines.is_empty() {
            return Some(History::first(timeline));
        }
        lines.reverse();
        History::parse(timeline, &lines.concat()).ok()
    }
}

/// As the rules have it.
pub fn lsn(at: At) -> Lsn {
    Lsn(at.lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_branches_of_one_number_are_two() {
        let at = |branch, lsn| At { branch, lsn };
        let mut wal = Wal::new(0);
        let one = wal.fork(at(0, 100), 2, 1);
        let two = wal.fork(at(0, 100), 2, 2);
        assert!(wal.contains(at(one, 200), at(0, 100)));
        assert!(!wal.contains(at(one, 200), at(0, 101)));
        assert!(!wal.contains(at(one, 200), at(two, 110)));
        assert_eq!(wal.history(one), wal.history(two));
        assert_eq!(wal.history(one).unwrap().timeline(), 2);
    }
}
