//! Switches: each mend can be taken out, to see that the simulator finds what it is for.

use failover_rules::recovery::Row;

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
    /// After the fence the old primary's host counts for the majority of one side only.
    pub own_side: bool,
    /// Each pool is asked by itself, and one without a primary is made to look again.
    pub pool_search: bool,
    /// A promotion takes a timeline number that no host in reach has used.
    pub unique_timelines: bool,
    /// Row: a standby whose history has left the primary's is not pointed to it first.
    pub left_first: bool,
    /// Row: a primary that this node's history has replaced is not followed.
    pub replaced: bool,
    /// Row: of two primaries the timelines prove which is right.
    pub rival: bool,
    /// Row: the mark of a rewind over a running primary is for a person.
    pub mark_over_primary: bool,
    /// Row: a standby that is down is started also without a primary.
    pub start_standby: bool,
    /// Row: a failover that came to nothing is run again.
    pub fail_over: bool,
    /// Row: a node that the pool has as its primary, and is none, is detached.
    pub not_primary: bool,
    /// Row: what a failover holds is not pointed back to the old primary.
    pub held: bool,
    /// Row: what a failover has told of is newer than the pool's primary.
    pub told: bool,
    /// Row: of two primaries that nobody has decided between, none is recovered from the other by itself.
    pub undecided: bool,
    /// Timelines of one number are told apart by their WAL.
    pub parted: bool,
    /// Nobody is promoted who follows what another failover has promoted meanwhile.
    pub as_seen: bool,
    /// What another failover has had follow its new primary is not held.
    pub taken: bool,
    /// What keeps a standby from being promoted is known before the old primary is touched.
    pub known_before: bool,
    /// A fence ends before its coordinator does, who looks once more at one that has begun.
    pub ends_first: bool,
    /// Row: nobody joins the pool's primary while a newer one runs beside it.
    pub newer: bool,
    /// What was held goes back to whom another failover had had it follow.
    pub gives_back: bool,
    /// A fence that fails leaves the mark of one before it.
    pub keeps_mark: bool,
    /// A fenced host is the old primary, whatever its server is by now.
    pub fenced_old: bool,
    /// What is being recovered while a failover holds the standbys is not started as one of the old primary.
    pub leaves_word: bool,
    /// A primary that serves its clients is not stopped while all others are being recovered.
    pub coming: bool,
    /// A standby that could not be held counts as listening, whatever it was when it was looked at.
    pub asked_since: bool,
    /// Standbys have obstacles: no mend, but a part of what happens.
    pub obstacles: bool,
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
            own_side: true,
            pool_search: true,
            unique_timelines: true,
            left_first: true,
            replaced: true,
            rival: true,
            mark_over_primary: true,
            start_standby: true,
            fail_over: true,
            not_primary: true,
            held: true,
            told: true,
            undecided: true,
            parted: true,
            as_seen: true,
            taken: true,
            known_before: true,
            ends_first: true,
            newer: true,
            gives_back: true,
            keeps_mark: true,
            fenced_old: true,
            leaves_word: true,
            coming: true,
            asked_since: true,
            obstacles: true,
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
            own_side: false,
            pool_search: false,
            unique_timelines: false,
            left_first: false,
            replaced: false,
            rival: false,
            mark_over_primary: false,
            start_standby: false,
            fail_over: false,
            not_primary: false,
            held: false,
            told: false,
            undecided: false,
            parted: false,
            as_seen: false,
            taken: false,
            known_before: false,
            ends_first: false,
            newer: false,
            gives_back: false,
            keeps_mark: false,
            fenced_old: false,
            leaves_word: false,
            coming: false,
            asked_since: false,
            obstacles: false,
            trace: false,
        }
    }

    /// The names of the switches.
    pub const NAMES: [&str; 29] = [
        "hold",
        "follow",
        "fence_mark",
        "quorum",
        "own_side",
        "pool_search",
        "unique_timelines",
        "left_first",
        "replaced",
        "rival",
        "mark_over_primary",
        "start_standby",
        "fail_over",
        "not_primary",
        "held",
        "told",
        "undecided",
        "parted",
        "as_seen",
        "taken",
        "known_before",
        "ends_first",
        "newer",
        "gives_back",
        "keeps_mark",
        "fenced_old",
        "leaves_word",
        "coming",
        "asked_since",
    ];

    /// The rows that are taken out.
    pub fn out(&self) -> Vec<Row> {
        let rows = [
            (self.left_first, Row::LeftFirst),
            (self.replaced, Row::Replaced),
            (self.rival, Row::Rival),
            (self.mark_over_primary, Row::MarkOverPrimary),
            (self.start_standby, Row::StartStandby),
            (self.fail_over, Row::FailOver),
            (self.not_primary, Row::NotPrimary),
            (self.held, Row::Held),
            (self.pool_search, Row::OtherPools),
            (self.told, Row::Told),
            (self.undecided, Row::Undecided),
            (self.newer, Row::Newer),
        ];
        let out = rows.into_iter().filter(|it| !it.0);
        out.map(|it| it.1).collect()
    }

    /// Takes out the mend of this name; false: there is none.
    pub fn take_out(&mut self, name: &str) -> bool {
        let switch = match name {
            "hold" => &mut self.hold,
            "follow" => &mut self.follow,
            "fence_mark" => &mut self.fence_mark,
            "quorum" => &mut self.quorum,
            "own_side" => &mut self.own_side,
            "pool_search" => &mut self.pool_search,
            "unique_timelines" => &mut self.unique_timelines,
            "left_first" => &mut self.left_first,
            "replaced" => &mut self.replaced,
            "rival" => &mut self.rival,
            "mark_over_primary" => &mut self.mark_over_primary,
            "start_standby" => &mut self.start_standby,
            "fail_over" => &mut self.fail_over,
            "not_primary" => &mut self.not_primary,
            "held" => &mut self.held,
            "told" => &mut self.told,
            "undecided" => &mut self.undecided,
            "parted" => &mut self.parted,
            "as_seen" => &mut self.as_seen,
            "taken" => &mut self.taken,
            "known_before" => &mut self.known_before,
            "ends_first" => &mut self.ends_first,
            "newer" => &mut self.newer,
            "gives_back" => &mut self.gives_back,
            "keeps_mark" => &mut self.keeps_mark,
            "fenced_old" => &mut self.fenced_old,
            "leaves_word" => &mut self.leaves_word,
            "coming" => &mut self.coming,
            "asked_since" => &mut self.asked_since,
            _ => return false,
        };
        *switch = false;
        true
    }
}
