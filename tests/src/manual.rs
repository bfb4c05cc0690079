//! The pages of the manual that the tests hold the tools to.

/// How a node comes back, with the table of the steps of `network_rewind`.
pub const RECOVERY: &str = include_str!("../../docs/recovery.md");
/// How a failover goes, with the tables of the steps of `failover_stream`.
pub const FAILOVER: &str = include_str!("../../docs/failover.md");

/// What stands in backquotes, and alone, in the first column of each table of a page. Of
/// [`RECOVERY`] and [`FAILOVER`] these are the steps.
pub fn first_columns(page: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`'))
        .filter(|(_, rest)| rest.starts_with(" |"))
        .map(|(line, _)| line.replace("\\|", "|"))
        .collect()
}
