//! On real directories, for both flavors.

use super::*;
use crate::flavor::{KINGBASE, POSTGRES};

const PRIMARY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 102));

/// A data directory and `KB_ETC_PATH`, gone with it.
struct Site {
    root: PathBuf,
    config: Config,
    layout: Layout,
    owner: SystemUser,
}

impl Site {
    fn new(names: &'static Flavor, test: &str) -> Self {
        let run = crate::clock::run_name();
        let root = std::env::temp_dir().join(format!("standby-{test}-{}-{run}", names.server));
        for dir in ["data", "etc"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let lines = "KB_LOCALHOST_IP=192.168.1.101\nKB_ALL_IP=(192.168.1.101 192.168.1.102)\n\
                     NODE_NAME=node101\nALL_NODE_NAME=(node101 node102)\nKB_GATEWAY_IP=192.168.1.1\n\
                     KB_POOL_VIP=192.168.1.201\nPCP_USER=pcp\nPCP_PASS=MTIzNDU2\nKB_USER=repl\n\
                     KB_PASS=aXQncyBhIHNlY3JldA==\nKB_DATANAME=TEST\nKB_PATH=/r3/bin\n\
                     CLUSTER_BIN_PATH=/r3/bin\nFAILOVER_LOG_DIR=/r3/f.log\nRECOVERY_LOG_DIR=/r3/r.log";
        let dirs = format!("KB_ETC_PATH={0}/etc\nKB_DATA_PATH={0}/data", root.display());
        let text = format!("{lines}\n{dirs}\n");
        Self {
            config: Config::parse(Path::new("HAmodule.conf"), text.as_bytes()).unwrap(),
            layout: Layout::plain(names, &root.join("data")),
            owner: SystemUser::current().unwrap(),
            root,
        }
    }

    fn files(&self) -> StandbyFiles<'_> {
        let data = &self.config.kb_data_path;
        StandbyFiles::new(&self.layout, &self.config, data, &self.owner)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.root.join(file), text).unwrap();
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.root.join(file)).ok()
    }

    /// Points to the primary: what was changed; the second time nothing ever is.
    fn point(&self) -> Pointed {
        let pointed = self.files().point_to(PRIMARY).unwrap();
        assert_eq!(self.files().point_to(PRIMARY).unwrap(), Pointed::AlreadySo);
        assert_eq!(
            self.files().follows().as_deref(),
            Some(PRIMARY.to_string().as_str())
        );
        pointed
    }

    /// The file names in the data directory.
    fn data(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("data")).unwrap();
        let name = |it: io::Result<fs::DirEntry>| it.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    fn mode(&self, file: &str) -> u32 {
        fs::metadata(self.root.join(file)).unwrap().mode() & 0o777
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn of_a_conninfo_only_the_host_changes() {
    // The old primary's address, the new one's: elsewhere they stay.
    for (before, after) in [
        (
            "user=repl password=192.168.1.103 host=192.168.1.103 port=54321",
            "user=repl password=192.168.1.103 host=192.168.1.102 port=54321",
        ),
        (
            "host=192.168.1.103 application_name=at-192.168.1.103 options=''-c x=192.168.1.103''",
            "host=192.168.1.102 application_name=at-192.168.1.103 options=''-c x=192.168.1.103''",
        ),
        (
            "host=db3 hostaddr=192.168.1.103 sslmode=verify-ca",
            "host=192.168.1.102 hostaddr=192.168.1.102 sslmode=verify-ca",
        ),
        (
            "postgresql://repl:192.168.1.103@192.168.1.103:54321/db?application_name=n",
            "postgresql://repl:192.168.1.103@192.168.1.102:54321/db?application_name=n",
        ),
        ("user=repl", "host=192.168.1.102 user=repl"),
    ] {
        let around = |conninfo: &str| {
            format!(
                "# by hand, 192.168.1.103\nprimary_conninfo = '{conninfo}'  # was 192.168.1.103\n"
            )
        };
        let site = Site::new(&KINGBASE, "host");
        let rest = "standby_mode=on\nrecovery_target_timeline='latest'\nprimary_slot_name=mine\n";
        site.write("data/recovery.conf", &(around(before) + rest));
        assert_eq!(site.point(), Pointed::Changed);
        assert_eq!(site.read("data/recovery.conf"), Some(around(after) + rest));
        assert_eq!(site.data(), ["recovery.conf"]);

        let site = Site::new(&POSTGRES, "host");
        let rest = "primary_slot_name = 'mine'\n";
        site.write("data/postgresql.auto.conf", &(around(before) + rest));
        site.write("data/standby.signal", "");
        assert_eq!(site.point(), Pointed::Changed);
        let auto = site.read("data/postgresql.auto.conf");
        assert_eq!(auto, Some(around(after) + rest));
        assert_eq!(site.data(), ["postgresql.auto.conf", "standby.signal"]);
    }
}

#[test]
fn kingbase_makes_its_file_from_the_template() {
    let site = Site::new(&KINGBASE, "template");
    assert_eq!(site.files().follows(), None);
    let template = "standby_mode='on'\nprimary_conninfo='host=192.168.1.101 user=repl'\n\
                    recovery_target_timeline = 'latest' # follow\nprimary_slot_name='slot_node101'\n\
                    restore_command='cp /archive/192.168.1.101/%f %p'\n";
    site.write("etc/recovery.done", template);
    assert_eq!(site.point(), Pointed::Changed);
    let expected = template.replace("host=192.168.1.101", "host=192.168.1.102");
    assert_eq!(site.read("data/recovery.conf"), Some(expected));
    assert_eq!(site.read("etc/recovery.done").as_deref(), Some(template));
    assert_eq!(site.mode("data/recovery.conf"), 0o600);

    // Its own file wins over the template, mode and all.
    site.write(
        "data/recovery.conf",
        "primary_conninfo='host=db9 user=own'\n",
    );
    let own = site.root.join("data/recovery.conf");
    fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(site.files().follows().as_deref(), Some("db9"));
    assert_eq!(site.point(), Pointed::Changed);
    let text = site.read("data/recovery.conf").unwrap();
    assert_eq!(
        text,
        "primary_conninfo='host=192.168.1.102 user=own'\nstandby_mode = 'on'\n\
         recovery_target_timeline = 'latest'\nprimary_slot_name = 'slot_node101'\n"
    );
    assert_eq!(site.mode("data/recovery.conf"), 0o640);
}

#[test]
fn kingbase_without_a_template_logs_in_as_the_tools_do() {
    let site = Site::new(&KINGBASE, "login");
    assert_eq!(site.point(), Pointed::Changed);
    let text = site.read("data/recovery.conf").unwrap();
    let conninfo = settings::value(&text, CONNINFO).unwrap();
    for (keyword, value) in [
        ("host", "192.168.1.102"),
        ("port", "54321"),
        ("user", "repl"),
        ("password", "aXQncyBhIHNlY3JldA=="),
        ("dbname", "TEST"),
        ("application_name", "node101"),
    ] {
        let found = conninfo::get(&conninfo, keyword).unwrap();
        assert_eq!(found.as_deref(), Some(value), "{keyword}");
    }
    for (name, value) in [
        ("standby_mode", "on"),
        ("recovery_target_timeline", "latest"),
        (SLOT, "slot_node101"),
    ] {
        assert_eq!(settings::value(&text, name).as_deref(), Some(value));
    }
    assert_eq!(site.mode("data/recovery.conf"), 0o600);
}

#[test]
fn postgres_has_a_mark_and_its_settings_among_the_others() {
    // A node that was never a standby.
    let site = Site::new(&POSTGRES, "login");
    site.write("data/postgresql.conf", "port = 54321\n");
    assert_eq!(site.files().follows(), None);
    assert_eq!(site.point(), Pointed::Changed);
    let auto = site.read("data/postgresql.auto.conf").unwrap();
    assert!(auto.contains("password="), "{auto}");
    assert_eq!(
        settings::value(&auto, SLOT).as_deref(),
        Some("slot_node101")
    );
    assert_eq!(site.mode("data/postgresql.auto.conf"), 0o600);
    assert_eq!(site.read("data/standby.signal").as_deref(), Some(""));

    // A promotion takes the mark away, and leaves the settings.
    fs::remove_file(site.root.join("data/standby.signal")).unwrap();
    assert_eq!(site.files().follows(), None);
    assert_eq!(site.point(), Pointed::Changed);
    assert_eq!(site.read("data/postgresql.auto.conf"), Some(auto));

    // What an operator wrote into postgresql.conf is where the login comes from, and stays there.
    let site = Site::new(&POSTGRES, "conf");
    let conf = "primary_conninfo = 'host=192.168.1.103 user=own passfile=/p'\nport = 54321\n";
    site.write("data/postgresql.conf", conf);
    site.write("data/standby.signal", "");
    assert_eq!(site.files().follows().as_deref(), Some("192.168.1.103"));
    assert_eq!(site.point(), Pointed::Changed);
    assert_eq!(site.read("data/postgresql.conf").as_deref(), Some(conf));
    assert_eq!(
        site.read("data/postgresql.auto.conf").as_deref(),
        Some(
            "primary_conninfo = 'host=192.168.1.102 user=own passfile=/p'\n\
             primary_slot_name = 'slot_node101'\n"
        )
    );

    // The template serves this flavor, too.
    let site = Site::new(&POSTGRES, "template");
    site.write(
        "etc/recovery.done",
        "primary_conninfo='user=own host=db9'\n",
    );
    assert_eq!(site.point(), Pointed::Changed);
    let auto = site.read("data/postgresql.auto.conf").unwrap();
    assert_eq!(
        settings::value(&auto, CONNINFO).as_deref(),
        Some("user=own host=192.168.1.102")
    );
}

#[test]
fn a_copy_gets_settings_of_its_own() {
    let theirs = "primary_conninfo = 'host=192.168.1.101 application_name=node102'\n\
                  primary_slot_name = 'slot_node102'\n";
    for place in ["data/postgresql.conf", "data/postgresql.auto.conf"] {
        let site = Site::new(&POSTGRES, "copy");
        site.write(place, theirs);
        site.files().forget_others().unwrap();
        assert_eq!(site.point(), Pointed::Changed);
        let auto = site.read("data/postgresql.auto.conf").unwrap();
        let conninfo = settings::value(&auto, CONNINFO).unwrap();
        let name = conninfo::get(&conninfo, "application_name").unwrap();
        assert_eq!(name.as_deref(), Some("node101"));
        assert_eq!(
            settings::value(&auto, SLOT).as_deref(),
            Some("slot_node101")
        );
    }
}

#[test]
fn settings_in_one_place_only_are_not_doubled() {
    let site = Site::new(&POSTGRES, "right");
    let conf = "primary_conninfo = 'host=192.168.1.102'\nprimary_slot_name = 'mine'\n";
    site.write("data/postgresql.conf", conf);
    site.write("data/standby.signal", "");
    assert_eq!(site.point(), Pointed::AlreadySo);
    assert_eq!(site.data(), ["postgresql.conf", "standby.signal"]);
}

#[test]
fn the_mark_comes_last_and_a_wrong_conninfo_leaves_everything() {
    for (names, file) in [
        (&KINGBASE, "data/recovery.conf"),
        (&POSTGRES, "data/postgresql.auto.conf"),
    ] {
        let site = Site::new(names, "wrong");
        let text = "primary_conninfo = 'host'\n";
        site.write(file, text);
        let before = site.data();
        let error = format!("{:#}", site.files().point_to(PRIMARY).unwrap_err());
        assert!(error.contains("primary_conninfo"), "{error}");
        assert_eq!(
            (site.read(file).as_deref(), site.data()),
            (Some(text), before)
        );
    }
    // Killed between the settings and the mark: no standby yet, and the next run makes it one.
    let site = Site::new(&POSTGRES, "killed");
    site.point();
    fs::remove_file(site.files().mark()).unwrap();
    site.write("data/.standby.signal.new", "");
    assert_eq!(site.point(), Pointed::Changed);
    assert_eq!(site.data(), ["postgresql.auto.conf", "standby.signal"]);
}

#[test]
fn the_mark_is_put_aside_and_back() {
    for names in [&KINGBASE, &POSTGRES] {
        let site = Site::new(names, "aside");
        let (mark, text) = (format!("data/{}", names.standby_file), "# 192.168.1.103\n");
        let aside = [format!("{}.aside", names.standby_file)];
        let one = [names.standby_file.to_owned()];

        // Without any there is nothing to put.
        for _ in 0..2 {
            site.files().put_aside().unwrap();
            site.files().put_back().unwrap();
            assert!(site.data().is_empty());
        }
        site.write(&mark, text);
        for _ in 0..2 {
            site.files().put_aside().unwrap();
            assert_eq!(site.data(), aside);
            assert_eq!(site.files().follows(), None);
        }
        for _ in 0..2 {
            site.files().put_back().unwrap();
            assert_eq!(site.data(), one);
        }
        assert_eq!(site.read(&mark).as_deref(), Some(text));

        // Killed in between, and an operator gave a new one: that one counts.
        site.files().put_aside().unwrap();
        site.write(&mark, "new");
        site.files().put_back().unwrap();
        assert_eq!(
            (site.read(&mark).as_deref(), site.data().as_slice()),
            (Some("new"), &one[..])
        );
        // And likewise when the next run puts it aside once more.
        site.write(&format!("data/{}", aside[0]), text);
        site.files().put_aside().unwrap();
        site.files().put_back().unwrap();
        assert_eq!(
            (site.read(&mark).as_deref(), site.data().as_slice()),
            (Some("new"), &one[..])
        );
    }
}

#[test]
fn the_slot_of_the_primary_is_the_one_that_is_named() {
    const TEMPLATE: &str = "etc/recovery.done";
    const OWN: &str = "data/recovery.conf";
    for (file, text, expected) in [
        (TEMPLATE, "", Some("slot_node101")),
        (TEMPLATE, "primary_slot_name = 'mine'\r\n", Some("mine")),
        (OWN, "standby_mode = on\n", Some("slot_node101")),
        (OWN, "Primary_Slot_Name 'mine' # why\n", Some("mine")),
        (OWN, "primary_slot_name = ''\n", None),
    ] {
        let site = Site::new(&KINGBASE, "slot");
        site.write(file, text);
        let slot = site.files().primary_slot();
        assert_eq!(slot.as_deref(), expected, "{text}");
        site.point();
        assert_eq!(site.files().primary_slot(), slot, "pointed to: {text}");
        // The server's own view.
        let own = site.read(OWN).unwrap();
        let named = settings::value(&own, SLOT).filter(|name| !name.is_empty());
        assert_eq!(named, slot, "{own}");
    }
    for (text, expected) in [
        ("", "slot_node101"),
        ("primary_slot_name = ''\n", "slot_node101"),
        ("primary_slot_name = 'mine'\n", "mine"),
    ] {
        let site = Site::new(&POSTGRES, "slot");
        site.write("data/postgresql.auto.conf", text);
        let slot = site.files().primary_slot();
        assert_eq!(slot.as_deref(), Some(expected), "{text}");
        site.point();
        assert_eq!(site.files().primary_slot(), slot, "pointed to: {text}");
    }
}

#[test]
fn an_empty_conninfo_in_the_template_is_none() {
    let site = Site::new(&KINGBASE, "empty");
    site.write("etc/recovery.done", "primary_conninfo = ''\n");
    assert_eq!(site.point(), Pointed::Changed);
    let own = site.read("data/recovery.conf").unwrap();
    assert!(own.contains("user=repl"), "{own}");
}

/// A server that is started on them takes no writes, and they are nobody's consent to a recovery.
#[test]
fn the_settings_of_a_fence_ask_for_nothing() {
    for names in [&KINGBASE, &POSTGRES] {
        let site = Site::new(names, "fence");
        let files = site.files();
        files.fence().unwrap();
        assert!(files.mark().exists() && files.are_of_a_fence());
        assert_eq!(files.follows(), None, "{}", names.server);
        // Twice is once.
        files.fence().unwrap();
        files.unfence().unwrap();
        assert!(!files.mark().exists());

        // `touch standby.signal` is consent, as ever.
        files.fence().unwrap();
        let file = fs::File::options().write(true).open(files.mark()).unwrap();
        let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        file.set_modified(later).unwrap();
        assert!(files.follows().is_some());
        fs::remove_file(files.mark()).unwrap();

        files.fence().unwrap();
        files.point_to(PRIMARY).unwrap();
        assert!(!files.are_of_a_fence());
        assert_eq!(files.follows(), Some(PRIMARY.to_string()));
        // An operator's settings stay as they are.
        files.fence().unwrap();
        files.unfence().unwrap();
        assert_eq!(files.follows(), Some(PRIMARY.to_string()));
        files.point_to_nobody().unwrap();
        assert_eq!(files.follows().as_deref(), Some(NOBODY));
    }
}

#[test]
fn what_an_included_file_says_is_the_operators() {
    let site = Site::new(&POSTGRES, "included");
    site.write(
        "data/postgresql.conf",
        "include 'standby.settings'\nprimary_slot_name = 'own_slot'\n",
    );
    site.write(
        "data/standby.settings",
        "primary_conninfo = 'host=192.168.1.103 user=own sslmode=verify-full'\n\
         recovery_target_timeline = 'current'\n",
    );
    assert_eq!(site.point(), Pointed::Changed);
    let auto = site.read("data/postgresql.auto.conf");
    assert_eq!(
        auto.as_deref(),
        Some(
            "primary_conninfo = 'host=192.168.1.102 user=own sslmode=verify-full'\n\
             recovery_target_timeline = 'latest'\n"
        )
    );
    assert_eq!(site.files().follows().as_deref(), Some("192.168.1.102"));
    assert_eq!(site.files().primary_slot().as_deref(), Some("own_slot"));
    assert_eq!(site.point(), Pointed::AlreadySo);
    assert_eq!(site.read("data/postgresql.auto.conf"), auto);
}
