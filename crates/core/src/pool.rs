//! What the pool said last: the table of `show pool_nodes`, by column name (3.6 has nine columns,
//! 4.x more).

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::clock;

/// A table of a hundred nodes is smaller.
const MAX_BYTES: u64 = 1 << 20;

/// A backend node as the pool sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolNode {
    /// Its id in the pool.
    pub id: u32,
    /// Its address, or its name where the pool is configured with names.
    pub host: String,
    /// `up`, `down`, `waiting`, `quarantine`, `unused`.
    pub status: String,
    /// Bytes (or, where the pool is told so, seconds) behind the primary; `None` if not shown.
    pub replication_delay: Option<u64>,
}

impl PoolNode {
    /// Whether clients are sent there: `waiting` has had no client yet and counts, `quarantine`
    /// does not.
    pub fn is_up(&self) -> bool {
        matches!(self.status.as_str(), "up" | "waiting")
    }

    /// Whether it is the node with this address, which the pool may know by its node name.
    pub fn is(&self, address: IpAddr, node_name: Option<&str>) -> bool {
        self.host.parse() == Ok(address) || Some(self.host.as_str()) == node_name
    }
}

/// The nodes in `file` (`KB_CLUSTER_STATUS`), which recovery writes each minute; empty if it is
/// older than `max_age` seconds or not there.
pub fn last_status(file: &Path, max_age: u64) -> io::Result<Vec<PoolNode>> {
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this is no table of nodes",
        ));
    }
    if clock::seconds_since(meta.modified()?) > max_age {
        return Ok(Vec::new());
    }
    Ok(parse_table(&String::from_utf8_lossy(&fs::read(file)?)))
}

/// Reads the table as the SQL client prints it. Rows that are none are left out.
fn parse_table(text: &str) -> Vec<PoolNode> {
    let mut columns: Vec<&str> = Vec::new();
    let mut nodes = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells.contains(&"node_id") {
            columns = cells;
            continue;
        }
        let cell = |name: &str| {
            let at = columns.iter().position(|column| *column == name)?;
            cells.get(at).copied()
        };
        let node = (|| {
            Some(PoolNode {
                id: cell("node_id")?.parse().ok()?,
                host: cell("hostname")?.to_owned(),
                status: cell("status")?.to_owned(),
                replication_delay: cell("replication_delay").and_then(|bytes| bytes.parse().ok()),
            })
        })();
        nodes.extend(node);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nine_columns_and_more_by_name() {
        let nine = "\
 node_id |   hostname    | port  | status | lb_weight |  role   | select_cnt | load_balance_node | replication_delay
---------+---------------+-------+--------+-----------+---------+------------+-------------------+-------------------
 0       | 192.168.1.101 | 54321 | down   | 0.500000  | standby | 0          | false             | 4096
 1       | 192.168.1.102 | 54321 | up     | 0.500000  | primary | 0          | true              | 0
(2 rows)
";
        let more = " node_id | hostname | port | status | pg_status | lb_weight | role | replication_delay | replication_state\n\
             2 | db3 | 5432 | waiting | up | 0.3 | standby | 1.5 second |  \n";
        let nodes = parse_table(nine);
        assert_eq!(nodes.len(), 2);
        assert_eq!((nodes[0].id, nodes[0].replication_delay), (0, Some(4096)));
        assert!(nodes[1].is_up() && !nodes[0].is_up());
        assert!(nodes[1].is("192.168.1.102".parse().unwrap(), None));
        let nodes = parse_table(more);
        assert!(nodes[0].is_up() && nodes[0].replication_delay.is_none());
        assert!(nodes[0].is("192.168.1.103".parse().unwrap(), Some("db3")));
        assert!(parse_table("junk | x\n\n|||").is_empty());
    }
}
