//! The names of files in a data directory: PostgreSQL's, which the programs think they work with,
//! and V8R3's, which are on the disk.

/// PostgreSQL's name, and V8R3's.
const NAMES: [(&str, &str); 27] = [
    ("PG_VERSION", "SYS_VERSION"),
    ("postgresql.conf", "kingbase.conf"),
    ("postgresql.auto.conf", "kingbase.auto.conf"),
    ("postgresql.auto.conf.tmp", "kingbase.auto.conf.tmp"),
    ("pg_hba.conf", "sys_hba.conf"),
    ("pg_ident.conf", "sys_ident.conf"),
    ("postmaster.pid", "kingbase.pid"),
    ("postmaster.opts", "kingbase.opts"),
    ("pg_control", "sys_control"),
    ("pg_filenode.map", "sys_filenode.map"),
    ("pg_internal.init", "sys_internal.init"),
    ("pg_wal", "sys_xlog"),
    ("pg_xact", "sys_clog"),
    ("pg_commit_ts", "sys_commit_ts"),
    ("pg_dynshmem", "sys_dynshmem"),
    ("pg_logical", "sys_logical"),
    ("pg_multixact", "sys_multixact"),
    ("pg_notify", "sys_notify"),
    ("pg_replslot", "sys_replslot"),
    ("pg_serial", "sys_serial"),
    ("pg_snapshots", "sys_snapshots"),
    ("pg_stat", "sys_stat"),
    ("pg_stat_tmp", "sys_stat_tmp"),
    ("pg_subtrans", "sys_subtrans"),
    ("pg_tblspc", "sys_tblspc"),
    ("pg_twophase", "sys_twophase"),
    // What makes a server start as a standby.
    (STANDBY_SIGNAL, RECOVERY_CONF),
];

/// PostgreSQL's mark of a standby, an empty file.
pub const STANDBY_SIGNAL: &str = "standby.signal";
/// V8R3's, with the standby's settings in it.
pub const RECOVERY_CONF: &str = "recovery.conf";
/// What a promotion makes of it.
pub const RECOVERY_DONE: &str = "recovery.done";

/// V8R3's name for one part of a path, if it has another.
pub fn on_disk(name: &[u8]) -> Option<&'static str> {
    let mut names = NAMES.iter();
    names
        .find(|(theirs, _)| theirs.as_bytes() == name)
        .map(|(_, ours)| *ours)
}

/// PostgreSQL's name for an entry of a directory, if it has another.
pub fn in_program(name: &[u8]) -> Option<&'static str> {
    let mut names = NAMES.iter();
    names
        .find(|(_, ours)| ours.as_bytes() == name)
        .map(|(theirs, _)| *theirs)
}

/// Writes `path` with V8R3's names into `room`, followed by NUL; false if it is too long.
pub fn translate(path: &[u8], room: &mut [u8]) -> bool {
    let mut at = 0;
    let mut put = |bytes: &[u8]| -> bool {
        let Some(place) = room.get_mut(at..at + bytes.len()) else {
            return false;
        };
        place.copy_from_slice(bytes);
        at += bytes.len();
        true
    };
    for (index, part) in path.split(|byte| *byte == b'/').enumerate() {
        let part = on_disk(part).map_or(part, str::as_bytes);
        if (index > 0 && !put(b"/")) || !put(part) {
            return false;
        }
    }
    put(&[0])
}

/// A command of the shell with V8R3's names in the place of PostgreSQL's: `%p` is one of those.
pub fn in_command(command: &[u8]) -> Vec<u8> {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    let mut translated = Vec::new();
    for part in command.chunk_by(|one, next| is_of_name(one) == is_of_name(next)) {
        translated.extend(on_disk(part).map_or(part, str::as_bytes));
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_names_on_the_disk() {
        let command = |text: &str| String::from_utf8(in_command(text.as_bytes())).unwrap();
        assert_eq!(
            command("cp \"pg_wal/0001\" '/pg_walk/0001' && echo ä"),
            "cp \"sys_xlog/0001\" '/pg_walk/0001' && echo ä"
        );
        assert_eq!(command("pg_wal"), "sys_xlog");
        assert_eq!(command(""), "");
    }

    fn translated(path: &str) -> String {
        let mut room = [0xff; 64];
        assert!(translate(path.as_bytes(), &mut room));
        let end = room.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(room[..end].to_vec()).unwrap()
    }

    #[test]
    fn only_whole_parts_of_a_path_are_translated() {
        assert_eq!(translated("pg_wal/0001"), "sys_xlog/0001");
        assert_eq!(translated("/d/global/pg_control"), "/d/global/sys_control");
        assert_eq!(translated("./pg_hba.conf.sample"), "./pg_hba.conf.sample");
        assert_eq!(translated("standby.signal"), "recovery.conf");
        assert_eq!(translated("//base/"), "//base/");
        assert!(!translate(b"postmaster.pid", &mut [0; 12]));
    }

    #[test]
    fn the_names_lead_there_and_back() {
        for (theirs, ours) in NAMES {
            assert_eq!(in_program(ours.as_bytes()), Some(theirs));
            assert_eq!(on_disk(theirs.as_bytes()), Some(ours));
            assert_eq!(on_disk(ours.as_bytes()), None);
        }
    }
}
