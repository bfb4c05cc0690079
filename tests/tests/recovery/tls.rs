//! Servers that let nobody in without TLS, and the pool likewise.

use anyhow::{Result, ensure};
use lab::layout::{DATA, POOL_ETC};
use lab::{Lab, Node, wait_for};

use crate::scene::{RECOVERY, SHORT, failed_over, recover, two_hosts, wait_until_whole};

/// Where a host has its key, its certificate, and the one that all are believed by.
const TLS: &str = "/home/kingbase/tls";

fn sh(node: &Node, script: &str) -> Result<String> {
    node.run(&["sh", "-ec", script], SHORT)?.success()
}

/// An authority for all, and a certificate for each host's address.
fn certificates(lab: &Lab) -> Result<()> {
    let first = lab.node(101);
    let make = "umask 077; mkdir -p $TLS; cd $TLS
        openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=authority -keyout ca.key -out root.crt
        for n in 101 102; do
            openssl req -newkey rsa:2048 -nodes -subj /CN=node$n -keyout $n.key -out $n.csr
            printf 'subjectAltName=IP:192.168.1.%s' $n >$n.ext
            openssl x509 -req -in $n.csr -CA root.crt -CAkey ca.key -CAcreateserial -days 1 -extfile $n.ext -out $n.crt
        done";
    sh(first, &make.replace("$TLS", TLS))?;
    let read = |file: &str| first.read(&format!("{TLS}/{file}"));
    for node in lab.nodes() {
        sh(node, &format!("mkdir -p {TLS}; chmod 755 {TLS}"))?;
        let number = node.number();
        for (file, of, mode) in [
            ("root.crt", "root.crt".to_owned(), 0o644),
            ("server.crt", format!("{number}.crt"), 0o644),
            ("server.key", format!("{number}.key"), 0o600),
        ] {
            let text = read(&of)?;
            node.write(&format!("{TLS}/{file}"), &text, mode, lab::layout::UID)?;
        }
    }
    Ok(())
}

/// From other hosts, and from this one by its address, nobody gets in without it any more.
fn only_by_tls(node: &Node) -> Result<()> {
    for (name, value) in [
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", format!("{TLS}/server.crt")),
        ("ssl_key_file", format!("{TLS}/server.key")),
    ] {
        node.psql(&format!("alter system set {name} = '{value}'"))?;
    }
    sh(
        node,
        &format!("sed -i '/192.168.1.0/s/^host /hostssl /' {DATA}/pg_hba.conf"),
    )?;
    node.psql("select pg_reload_conf()").map(drop)
}

#[test]
fn the_circle_where_nobody_gets_in_without_tls() -> Result<()> {
    Lab::with(two_hosts("recovery-tls"), |lab| {
        certificates(lab)?;
        for node in lab.nodes() {
            only_by_tls(node)?;
            node.kill_pool()?;
            let settings =
                format!("ssl = on\nssl_key = '{TLS}/server.key'\nssl_cert = '{TLS}/server.crt'\n");
            sh(
                node,
                &format!("printf %s \"{settings}\" >>{POOL_ETC}/pgpool.conf"),
            )?;
        }
        for node in lab.nodes() {
            node.start_pool()?;
        }
        wait_until_whole(lab, 101, RECOVERY)?;
        let (old, new) = (lab.node(101), lab.node(102));
        let check = |expected: &str| -> Result<()> {
            let run = new.recover(&["--dry-run"], RECOVERY)?;
            ensure!(run.to_string().contains(expected), "{run}");
            Ok(())
        };
        // As it comes, and as it must be.
        check("all is well")?;
        for node in lab.nodes() {
            node.set_config(&[("KB_SSLMODE", "disable")])?;
        }
        check("no encryption")?;
        for node in lab.nodes() {
            let root = format!("{TLS}/root.crt");
            node.set_config(&[("KB_SSLMODE", "verify-ca"), ("KB_SSLROOTCERT", &root)])?;
        }

        old.kill_database()?;
        assert_eq!(failed_over(lab, 101)?, 102);
        recover(old)?;
        wait_until_whole(lab, 102, SHORT)?;
        let by_tls = "select bool_and(ssl) from pg_stat_replication join pg_stat_ssl using (pid)";
        assert_eq!(new.psql(by_tls)?, "t");

        // A server that is not who it should be gets nothing from anybody.
        let other = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=stranger -keyout $TLS/s.key \
                     -out $TLS/root.crt";
        sh(old, &other.replace("$TLS", TLS))?;
        let run = old.recover(&[], RECOVERY)?;
        ensure!(
            run.code != Some(0) && old.recovery_log()?.contains("its certificate is not good"),
            "{run}\n{}",
            old.recovery_log()?
        );
        wait_for("it to stream all the same", SHORT, || lab.streams(101, 102))
    })
}
